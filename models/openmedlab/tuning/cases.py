"""Volumes made ready for the network once, kept on disk, and cut into windows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openmedlab.core import CancelToken, InputError, Progress, Region
from openmedlab.engine.manifest import fingerprint
from openmedlab.io.atomic import replacing
from openmedlab.tuning.data import Pair
from openmedlab.tuning.families import Family, Floats, Labels
from openmedlab.tuning.loop import barrier, rank

if TYPE_CHECKING:
    from openmedlab.tuning.plan import Plan

PLACES = 2000
FOCUSED = 2 / 3

Triple = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Case:
    """A prepared volume.

    Attributes
    ----------
    name
        Of its pair.
    image, label
        (z, y, x) on the network's grid, read from disk where they are touched; labels count
        from 1 in the order of the names.
    places
        Voxels (N, 3) of every label in it.
    """

    name: str
    image: Floats
    label: Labels
    places: Mapping[int, npt.NDArray[np.int64]]

    def window(self, start: Triple, shape: Triple, outside: float) -> tuple[Floats, Labels]:
        """Return a window that may stick out: ``outside`` and background there."""
        area = Region(start, (start[0] + shape[0], start[1] + shape[1], start[2] + shape[2]))
        image, label = np.full(shape, outside, np.float32), np.zeros(shape, np.uint8)
        inside = area.clipped(self.label.shape)
        if inside:
            into = inside.relative_to(area).slices
            image[into], label[into] = self.image[inside.slices], self.label[inside.slices]
        return image, label

    def draw(self, random: np.random.Generator, shape: Triple) -> Triple:
        """Return the start of a random window; two of three hold a voxel of a random label."""
        size = np.array(self.label.shape)
        span = np.maximum(size - shape, 0)
        if random.random() < FOCUSED:
            number = random.choice(sorted(self.places))
            voxel = random.choice(self.places[int(number)])
            start = np.clip(voxel - random.integers(0, shape), 0, span)
        else:
            start = random.integers(0, span + 1)
        return self._middled(start, shape)

    def tiles(self, shape: Triple) -> list[Triple]:
        """Return the starts of windows that cover every label, side by side."""
        size = np.array(self.label.shape)
        low, high = self._extent.start, self._extent.stop
        lines = []
        for a, b, n, whole in zip(low, high, shape, size, strict=True):
            count = max(1, -(-(b - a) // n))
            first = (a + b - count * n) // 2
            most = max(int(whole) - n, 0)
            lines.append(sorted({min(max(first + k * n, 0), most) for k in range(count)}))
        z, y, x = (np.ravel(g) for g in np.meshgrid(*lines, indexing="ij"))
        return [self._middled(np.array(s), shape) for s in zip(z, y, x, strict=True)]

    @cached_property
    def _extent(self) -> Region:
        return Region.around(np.concatenate(list(self.places.values())))

    def _middled(self, start: npt.NDArray[Any], shape: Triple) -> Triple:
        """Return ``start``, or one that puts a volume smaller than the window in its middle."""
        lacking = np.minimum(np.array(self.label.shape) - shape, 0)
        z, y, x = (int(v) for v in np.where(lacking < 0, lacking // 2, start))
        return z, y, x


def prepared_cases(
    plan: Plan, family: Family, progress: Progress, cancel: CancelToken
) -> dict[str, Case]:
    """Return every volume of the plan by name, prepared in the plan's folder where it was not yet.

    Raises
    ------
    InputError
        A volume holds none of the labels, or cannot be used by the network.
    Cancelled
        ``cancel`` was raised between two volumes.
    """
    folder = plan.request.out / "prepared"
    pairs = [
        p
        for p in plan.request.cohort.pairs
        if p.name in (*plan.split.training, *plan.split.validation)
    ]
    if rank() == 0:
        for done, pair in enumerate(pairs):
            cancel.check()
            progress.report(done, len(pairs), f"preparing {pair.name}")
            _prepare(folder, pair, plan, family)
    barrier()
    return {pair.name: _case(folder, pair) for pair in pairs}


def _prepare(folder: Path, pair: Pair, plan: Plan, family: Family) -> None:
    image, label, note = _files(folder, pair)
    wanted = {
        "files": [fingerprint(pair.image), fingerprint(pair.label)],
        "family": family.fingerprint,
        "labels": sorted(plan.labels.items()),
    }
    told = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    if note.exists() and json.loads(note.read_text(encoding="utf-8"))["made"] == told:
        return
    volume, labels = pair.read()
    numbers = np.zeros(int(labels.array.max()) + 1, np.uint8)
    for k, number in enumerate(plan.labels, 1):
        if number < len(numbers):
            numbers[number] = k
    made = family.prepare(volume, numbers[labels.array])
    places = _places(made[1])
    if not places:
        raise InputError(
            f"{pair.label.name} holds none of {', '.join(plan.labels.values())}; label them there "
            "or leave the volume out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    np.save(image, made[0])
    np.save(label, made[1])
    with replacing(note) as partial:
        partial.write_text(json.dumps({"made": told, "places": places}), encoding="utf-8")


def _places(label: Labels) -> dict[int, list[list[int]]]:
    """Return up to `PLACES` voxels of every label, by chance but always the same."""
    random, found = np.random.default_rng(0), {}
    for number in range(1, int(label.max(initial=0)) + 1):
        flat = np.flatnonzero(label == number)
        if len(flat):
            flat = np.sort(random.choice(flat, min(PLACES, len(flat)), replace=False))
            found[number] = np.stack(np.unravel_index(flat, label.shape), 1).tolist()
    return found


def _case(folder: Path, pair: Pair) -> Case:
    image, label, note = _files(folder, pair)
    places = json.loads(note.read_text(encoding="utf-8"))["places"]
    return Case(
        pair.name,
        np.load(image, mmap_mode="c"),
        np.load(label, mmap_mode="c"),
        {int(n): np.array(found) for n, found in places.items()},
    )


def _files(folder: Path, pair: Pair) -> Sequence[Path]:
    return [folder / f"{pair.name}{end}" for end in ("_image.npy", "_label.npy", ".json")]
