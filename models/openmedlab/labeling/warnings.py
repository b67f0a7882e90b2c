"""What deserves a second look: sides swapped, sizes no adult has, parts missing or broken up."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from openmedlab.core import LabelVolume
from openmedlab.labeling.statistics import LabelStatistics

Kind = Literal["laterality", "volume", "missing", "fragmented"]
MAIN_SHARE = 0.8


@dataclass(frozen=True)
class LabelWarning:
    """One doubt: its kind, the structure, and a sentence for the user."""

    kind: Kind
    name: str
    text: str


@dataclass(frozen=True)
class Plausible:
    """Bounds of an adult's volume in ml, and whether it is one piece."""

    low: float
    high: float
    single: bool


@cache
def plausible() -> dict[str, Plausible]:
    """Return the table by structure name (``plausible.toml`` says where it comes from)."""
    text = Path(__file__).with_name("plausible.toml").read_text(encoding="utf-8")
    return {name: Plausible(**row) for name, row in tomllib.loads(text)["structures"].items()}


def label_warnings(
    statistics: Sequence[LabelStatistics],
    labels: LabelVolume | None = None,
    expected: Collection[str] = (),
    pieces_of: Collection[str] | None = None,
) -> list[LabelWarning]:
    """Look for swapped sides, implausible volumes, missing and broken-up structures.

    Parameters
    ----------
    statistics
        Of `label_statistics`.
    labels
        The labelmap, to look for structures in several pieces.
    expected
        Names that should occur.
    pieces_of
        Names to look for in several pieces, which takes the longest; all by default.
    """
    by_name = {s.name: s for s in statistics}
    found = [_missing(name) for name in expected if name not in by_name]
    for name, own in by_name.items():
        twin = by_name.get(name.replace("_left", "_right"))
        if "_left" in name and twin is not None and own.centroid[0] < twin.centroid[0]:
            found.append(_swapped(own, twin))
        bounds = plausible().get(name)
        if bounds is None:
            continue
        found += _volume(own, bounds)
        looked_at = pieces_of is None or name in pieces_of
        if bounds.single and labels is not None and looked_at:
            found += _pieces(own, labels)
    return found


def _missing(name: str) -> LabelWarning:
    return LabelWarning("missing", name, f"{name} was not found.")


def _swapped(left: LabelStatistics, right: LabelStatistics) -> LabelWarning:
    return LabelWarning(
        "laterality",
        left.name,
        f"{left.name} lies to the right of {right.name}; the sides may be swapped.",
    )


def _volume(own: LabelStatistics, bounds: Plausible) -> list[LabelWarning]:
    """Too large always counts; too small only where no border cuts the structure."""
    if own.ml > bounds.high:
        said = f"more than the {bounds.high:g} ml"
    elif own.ml < bounds.low and not own.touches_border:
        said = f"less than the {bounds.low:g} ml"
    else:
        return []
    text = f"{own.name} has {own.ml:.3g} ml, {said} plausible in an adult."
    return [LabelWarning("volume", own.name, text)]


def _pieces(own: LabelStatistics, labels: LabelVolume) -> list[LabelWarning]:
    import SimpleITK

    mask = (labels.array[own.region.slices] == own.number).view(np.uint8)
    parts = SimpleITK.GetArrayFromImage(
        SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(np.ascontiguousarray(mask)), True)
    )
    sizes = np.bincount(parts.ravel())[1:]
    share = sizes.max() / sizes.sum()
    if share >= MAIN_SHARE:
        return []
    text = f"{own.name} is in {sizes.size} pieces; the largest is {share:.0%} of it."
    return [LabelWarning("fragmented", own.name, text)]
