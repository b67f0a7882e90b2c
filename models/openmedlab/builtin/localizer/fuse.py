"""What several templates say of one organ made into one place, with a confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.localizer.evidence import AXES, Guess
from openmedlab.core import ExtremePoints, Geometry, Localization

Points = npt.NDArray[np.float64]

LEAST_VISIBLE = 0.02
ALONE: Mapping[str, float] = {"one": 0.0}
TOGETHER: Mapping[str, float] = {"one": 0.0}


def fuse(guesses: Sequence[Guess], geometry: Geometry) -> Localization | None:
    """Return the organ's place in a scan of ``geometry``, or None where it lies outside.

    Every coordinate is the median over the templates, each counted by how far it can be
    trusted alone.
    """
    trust = np.array([probability(ALONE, measures([g], g.points, geometry)) for g in guesses])
    points = _weighted_median(np.stack([g.points for g in guesses]), trust)
    said = measures(guesses, points, geometry)
    if said["visible"] < LEAST_VISIBLE:
        return None
    confidence = probability(ALONE if len(guesses) == 1 else TOGETHER, said)
    return Localization(_extreme_points(points, geometry), confidence)


def measures(guesses: Sequence[Guess], points: Points, geometry: Geometry) -> dict[str, float]:
    """Return what the confidence is made of, by name.

    ``agreement`` is the templates' mean box IoU with the box of ``points``, ``visible`` the
    share of that box in the field of view, ``small`` minus the logarithm of its side in cm.
    """
    box = np.array([points.min(0), points.max(0)])
    size = np.maximum(box[1] - box[0], 1.0)
    return {
        "one": 1.0,
        "bits": float(np.mean([g.bits for g in guesses])) / 10,
        "stretch": float(np.mean([g.stretch for g in guesses])),
        "cut": float(np.mean([g.cut for g in guesses])),
        "score": float(np.mean([g.score for g in guesses])),
        "small": -float(np.log(size / 10).mean()),
        "visible": _visible(points, geometry),
        "agreement": float(np.mean([_iou(box, g.points) for g in guesses])),
        "count": float(np.log(len(guesses))),
    }


def probability(weights: Mapping[str, float], said: Mapping[str, float]) -> float:
    """Return the logistic of the weighted sum of measures."""
    total = sum(weight * said[name] for name, weight in weights.items())
    return float(1 / (1 + np.exp(-total)))


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
