"""Extreme points of a mask, of the whole object and of its parts along z.

Order everywhere: [min z, min y, min x, max z, max y, max x].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_PARTS = 6

Mask = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]


def bounds_of(mask: Mask) -> Int:
    """Return the first and last index (2, 3) of the true voxels along each axis."""
    voxels = np.argwhere(mask)
    return np.stack([voxels.min(0), voxels.max(0)])


def extreme_points(mask: Mask) -> Int:
    """Return the six extreme points (6, 3) of a mask that is not empty."""
    return points_on(mask, bounds_of(mask))


def points_on(mask: Mask, bounds: npt.NDArray[Any]) -> Int:
    """Return a voxel (6, 3) of the mask on each face of ``bounds`` (2, 3).

    On each face it is the middle one in raster order, the two axes of the face taken
    cyclically. Where the face has no voxel the next one that has decides, but the
    point keeps its place along the axis.
    """
    points = np.empty((6, 3), np.int64)
    for k, index in enumerate(np.asarray(bounds).ravel()):
        axis, others = k % 3, ((k + 1) % 3, (k + 2) % 3)
        faces = mask.transpose(axis, *others)
        nearest = next(plane for plane in faces[index:] if plane.any())
        voxels = np.argwhere(nearest)
        points[k, axis] = index
        points[k, list(others)] = voxels[len(voxels) // 2]
    return points


def count_parts(extents: Sequence[int], interval: int) -> int:
    """Return into how many parts objects of these extents along z (voxels) are cut, at most 6."""
    smallest = min(extents)
    return min(smallest // interval, MAX_PARTS) if smallest > interval else 1


def part_bounds(mask: Mask, count: int) -> tuple[Int, Mask]:
    """Return the bounds (count, 2, 3) of parts along z, and which parts hold no voxel.

    An empty part has the y and x bounds of the one before.
    """
    first, last = bounds_of(mask)[:, 0]
    step = (last - first) // count
    bounds = np.empty((count, 2, 3), np.int64)
    empty = np.zeros(count, bool)
    for k in range(count):
        start, end = first + k * step, last if k == count - 1 else first + (k + 1) * step
        part = mask[start:end]
        empty[k] = not part.any()
        bounds[k] = bounds[k - 1] if empty[k] else bounds_of(part)
        bounds[k, :, 0] = start, end
    return bounds, empty


def parts(mask: Mask, count: int) -> Int:
    """Return the extreme points (count, 6, 3) of parts along z."""
    return np.stack([points_on(mask, b) for b in part_bounds(mask, count)[0]])
