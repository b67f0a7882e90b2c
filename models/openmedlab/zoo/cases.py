"""Reference cases as they lie in a folder: inputs by recipe, sampled outputs, tolerances."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.zoo.recipes import make_input

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """Whether an answer agrees, how much of the allowance it used, and both in words."""

    good: bool
    share: float
    told: str


@dataclass(frozen=True)
class Expected:
    """A stored output and how near an answer has to come.

    Attributes
    ----------
    shape
        Of the whole output.
    want
        Reads the stored values: packed bits, or a flat sample.
    offset, stride
        Which values of the flattened output were stored.
    atol, rtol
        Allowed: ``atol + rtol * |want|``.
    max_bad
        How many stored values may lie outside.
    exact
        Compare for equality (masks, label maps, zero tolerance).
    packed
        The stored values are `numpy.packbits` of a mask.
    l2
        Euclidean norm of the whole output, checked to 1e-3; None to leave it.
    unordered
        Compare the rows as a set.
    """

    shape: tuple[int, ...]
    want: Callable[[], Array]
    offset: int = 0
    stride: int = 1
    atol: float = 0.0
    rtol: float = 0.0
    max_bad: float = 0
    exact: bool = False
    packed: bool = False
    l2: float | None = None
    unordered: bool = False

    def compare(self, answer: Any) -> Comparison:
        """Compare an answer with what was stored of the output."""
        got = np.asarray(answer)
        if got.shape != self.shape:
            told = f"shape {list(got.shape)}, expected {list(self.shape)}"
            return Comparison(False, np.inf, told)
        have, want = got.ravel()[self.offset :: self.stride], self.want()
        if self.unordered:
            have, want = (_sorted_rows(a.reshape(self.shape)).ravel() for a in (got, want))
        if self.packed:
            have, want = have.astype(bool), np.unpackbits(want, count=have.size).astype(bool)
        if self.exact:
            found = self._equal(have, want)
        else:
            found = self._near(have.astype(np.float64), want.astype(np.float64))
        norm = float(np.sqrt((got.astype(np.float64) ** 2).sum()))
        if found.good and self.l2 is not None and abs(norm - self.l2) > 1e-3 * self.l2 + 1e-6:
            return Comparison(False, np.inf, f"norm {norm:.6g}, expected {self.l2:.6g}")
        return found

    def _equal(self, have: Array, want: Array) -> Comparison:
        bad = int((have != want).sum())
        told = f"{bad} of {have.size} differ, {self.max_bad:g} may"
        return Comparison(bad <= self.max_bad, bad / max(self.max_bad, 1), told)

    def _near(self, have: Array, want: Array) -> Comparison:
        allowed = self.atol + self.rtol * np.abs(want)
        error = np.abs(have - want)
        outside = int((~(error <= allowed)).sum())  # NaN lies outside
        share = float((error / allowed).max(initial=0.0))
        told = f"largest difference {error.max(initial=0.0):.3g}, {share:.0%} of what is allowed"
        if outside > self.max_bad:
            told = f"{told}; {outside} of {have.size} lie outside"
        return Comparison(outside <= self.max_bad, share, told)


@dataclass(frozen=True)
class Case:
    """One case: what to call, with what, and what has to come out."""

    name: str
    target: str
    build: Mapping[str, Any]
    inputs: Callable[[], dict[str, Any]]
    outputs: Mapping[str, Expected]
    params: Mapping[str, Any] = field(default_factory=dict)


def read_cases(folder: Path) -> list[Case]:
    """Read ``cases.json`` of a folder in any of the known layouts.

    Raises
    ------
    InputError
        The file is missing or is not such a list of cases.
    """
    path = folder / "cases.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["cases"]
        by_id = {case["id"]: case for case in listed if "id" in case}
        if by_id:
            return list(_shared_files(folder, by_id))
        return [_own_file(folder, case) for case in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no readable list of reference cases ({error!r}).") from error


def _shared_files(folder: Path, cases: Mapping[str, Any]) -> Iterator[Case]:
    """Yield the cases of the layouts whose outputs name their file and key."""
    for name, case in cases.items():
        if case["target"] == "data":  # arrays that other cases take as inputs
            continue
        yield Case(
            name=name,
            target=case["target"],
            build=case.get("build", {}),
            inputs=lambda given=case["inputs"]: {  # type: ignore[misc]
                key: _input(recipe, folder, cases) for key, recipe in given.items()
            },
            params=case.get("params", {}),
            outputs={key: _expected(spec, folder) for key, spec in case["outputs"].items()},
        )


def _expected(spec: Mapping[str, Any], folder: Path) -> Expected:
    shape = tuple(spec["shape"])
    packed = spec["store"] == "bits"
    flips = packed or "max_flips_fraction" in spec
    exact = flips or not (spec["atol"] or spec["rtol"])
    allowed = spec.get("max_flips", spec.get("max_bad", 0))
    if "max_flips_fraction" in spec:
        size = len(range(0, int(np.prod(shape)), spec["stride"]))
        allowed = spec["max_flips_fraction"] * size
    return Expected(
        shape=shape,
        want=lambda: _stored(folder / spec["file"], spec["key"]).ravel(),
        offset=spec.get("offset", 0),
        stride=spec.get("stride", 1),
        atol=spec.get("atol", 0.0),
        rtol=spec.get("rtol", 0.0),
        max_bad=allowed,
        exact=exact,
        packed=packed,
        l2=None if flips else spec.get("l2"),
        unordered="as a set" in spec.get("note", ""),
    )


def _sorted_rows(array: Array) -> Array:
    rows = array.reshape(len(array), -1)
    return rows[np.lexsort(rows.T[::-1])]


def _input(recipe: Any, folder: Path, cases: Mapping[str, Any]) -> Any:
    if not isinstance(recipe, Mapping) or "kind" not in recipe:
        return recipe
    if recipe["kind"] != "from_case":
        return make_input(recipe)
    spec = cases[recipe["case"]]["outputs"][recipe["output"]]
    array = _stored(folder / spec["file"], spec["key"])
    if spec["store"] == "bits":
        count = int(np.prod(spec["shape"]))
        array = np.unpackbits(array, count=count).astype(bool)
    array = array.reshape(spec["shape"])
    if "slice" in recipe:
        array = array[tuple(slice(*bounds) for bounds in recipe["slice"])]
    if recipe.get("sigmoid"):
        array = (1 / (1 + np.exp(-array.astype(np.float64)))).astype(np.float32)
    return array


def _own_file(folder: Path, case: Mapping[str, Any]) -> Case:
    """Return a case of the layout with one npz per case, named after what it holds."""
    build = dict(case["config"])
    target = build.pop("kind", None) or build.pop("module", None) or "forward"
    numbers = build.pop("values", {})
    path = folder / case["npz"]
    outputs = {
        name: _own_output(path, name, spec, target)
        for name, spec in case["outputs"].items()
        if name != "dummy"
    }
    outputs |= {
        name: Expected((), lambda number=number: np.array([number]), atol=1e-3)  # type: ignore[misc]
        for name, number in numbers.items()
    }
    return Case(case["name"], target, build, lambda: _own_inputs(path, case["inputs"]), outputs)


def _own_output(path: Path, name: str, spec: Mapping[str, Any], target: str) -> Expected:
    label = np.dtype(spec["dtype"]).kind in "biu"
    tiling = target == "whole_brain_tiling"
    return Expected(
        shape=tuple(spec["shape"]),
        want=lambda: _stored(path, name),
        stride=spec["stride"],
        atol=1.0 if tiling else 1e-3,
        exact=label and not tiling,
        l2=None if label else spec["l2"],
    )


def _own_inputs(path: Path, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    made = {}
    for entry in inputs:
        recipe = {k: v for k, v in entry.items() if k not in ("name", "recipe", "order")}
        stored = entry["recipe"].startswith("stored")
        made[entry["name"]] = (
            _stored(path, entry["name"])
            if stored
            else make_input({"kind": entry["recipe"], **recipe})
        )
    return made


def _stored(path: Path, key: str) -> Array:
    with np.load(path, allow_pickle=False) as file:
        array: Array = file[key]
    return array
