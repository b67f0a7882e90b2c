"""What several templates say of one organ made into one place, with a confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.localizer.evidence import AXES, Guess
from openmedlab.core import ExtremePoints, Geometry, Localization

Points = npt.NDArray[np.float64]

LEAST_VISIBLE = 0.02
ALONE: Mapping[str, float] = {
    "one": -4.41,
    "bits": -0.31,
    "cut": -1.07,
    "score": 4.05,
    "small": -2.36,
    "visible": 2.92,
}
"""Log-odds of a box IoU of 0.4 or more per unit of each of `measures`: a logistic fit."""
TOGETHER: Mapping[str, float] = {"one": -0.55, "alone": 1.0, "agreement": 2.0}
"""The same for several templates: their mean log-odds alone, and how well they agree."""


def fuse(guesses: Sequence[Guess], geometry: Geometry) -> Localization | None:
    """Return the organ's place in a scan of ``geometry``, or None where it lies outside.

    Every coordinate is the median over the templates, each counted by how far it can be
    trusted alone.
    """
    odds = np.array([alone(g, geometry) for g in guesses])
    points = _weighted_median(np.stack([g.points for g in guesses]), _probability(odds))
    if _visible(points, geometry) < LEAST_VISIBLE:
        return None
    total = float(odds[0])
    if len(guesses) > 1:
        said = {"one": 1.0, "alone": float(odds.mean()), "agreement": agreement(guesses, points)}
        total = sum(weight * said[name] for name, weight in TOGETHER.items())
    return Localization(_extreme_points(points, geometry), float(_probability(total)))


def measures(guess: Guess, geometry: Geometry) -> dict[str, float]:
    """Return what the confidence in one template is made of, by name.

    ``visible`` is the share of the organ's box in the field of view, ``small`` minus the
    logarithm of its mean side in cm; the others as in `Guess`.
    """
    size = np.maximum(np.ptp(guess.points, axis=0), 1.0)
    return {
        "one": 1.0,
        "bits": guess.bits,
        "cut": guess.cut,
        "score": guess.score,
        "small": -float(np.log(size / 10).mean()),
        "visible": _visible(guess.points, geometry),
    }


def alone(guess: Guess, geometry: Geometry) -> float:
    """Return the log-odds that one template alone places the organ well."""
    said = measures(guess, geometry)
    return sum(weight * said[name] for name, weight in ALONE.items())


def agreement(guesses: Sequence[Guess], points: Points) -> float:
    """Return the mean IoU of the templates' boxes with the box of ``points``."""
    box = np.array([points.min(0), points.max(0)])
    return float(np.mean([_iou(box, g.points) for g in guesses]))


def _probability(odds: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(odds, -30, 30)))


def _weighted_median(points: Points, weight: Points) -> Points:
    """Return the weighted median (6, 3) of (N, 6, 3) coordinates; of two, the weighted mean."""
    if len(points) < 3:
        return np.asarray(np.average(points, axis=0, weights=weight))
    order = np.argsort(points, axis=0)
    ranked = np.take_along_axis(points, order, 0)
    share = np.cumsum(weight[order], axis=0)
    middle = share - weight[order] / 2
    half = share[-1] / 2
    out = np.empty(points.shape[1:])
    for k in np.ndindex(out.shape):
        out[k] = np.interp(half[k], middle[(slice(None), *k)], ranked[(slice(None), *k)])
    return out


def _iou(box: Points, points: Points) -> float:
    low, high = points.min(0), points.max(0)
    common = np.clip(np.minimum(high, box[1]) - np.maximum(low, box[0]), 0, None).prod()
    return float(common / max((high - low).prod() + (box[1] - box[0]).prod() - common, 1e-6))


def _on_canonical(points: Points, geometry: Geometry) -> Points:
    return geometry.reorientation(AXES).geometry.world_to_index(points)


def _visible(points: Points, geometry: Geometry) -> float:
    """Share of the points' box that lies in the field of view."""
    index = _on_canonical(points, geometry)
    shape = np.asarray(geometry.reorientation(AXES).geometry.shape)
    low, high = index.min(0), index.max(0)
    seen = np.clip(np.minimum(high, shape - 0.5) - np.maximum(low, -0.5), 0, None)
    return float((seen / np.maximum(high - low, 1e-6)).prod())


def _extreme_points(points: Points, geometry: Geometry) -> ExtremePoints:
    """Bring surface points to the centres of the outermost voxels, inside the volume."""
    canonical = geometry.reorientation(AXES).geometry
    index = canonical.world_to_index(points)
    low, high = index.min(0) + 0.5, index.max(0) - 0.5
    middle = (low + high) / 2
    index = np.clip(index, np.minimum(low, middle), np.maximum(high, middle))
    inside = np.clip(index, 0, np.asarray(canonical.shape) - 1)
    native = geometry.world_to_index(canonical.index_to_world(inside))
    exact = np.clip(native, 0, np.asarray(geometry.shape) - 1)
    return ExtremePoints(tuple((z, y, x) for z, y, x in exact.tolist()))
