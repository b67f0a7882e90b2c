"""Six extreme points of an organ: put in order, taken from a mask, brought to another grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core import ExtremePoints, Geometry, InputError, PromptError, Region

DIRECTIONS = ("inferior", "anterior", "right", "superior", "posterior", "left")
"""What each of a template's six points is the most of, in their order.

In words of the canonical grid, whose (z, y, x) grow to superior, posterior and left
(``"SPL"``, the axes of LPS world): min z, min y, min x, max z, max y, max x.
"""
MAX_PARTS = 6
PART_MM = 6.0
_WORLD_AXIS = (2, 1, 0, 2, 1, 0)
_SIGN = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)

Float64 = npt.NDArray[np.float64]


def checked_points(points: npt.ArrayLike) -> Float64:
    """Return ``points`` as (6, 3) numbers; `PromptError` says what else they are."""
    found = np.array(points, np.float64)
    if found.shape != (6, 3):
        raise PromptError(f"A template needs six points of three coordinates, not {found.shape}.")
    if not np.isfinite(found).all():
        raise PromptError("A point of the template has a coordinate that is not a number.")
    return found


def ordered_points(points: npt.ArrayLike) -> Float64:
    """Return six LPS points (6, 3) in the order of `DIRECTIONS`, each used once.

    Of all assignments of points to directions the one whose points reach furthest in total.
    """
    from scipy.optimize import linear_sum_assignment

    given = checked_points(points)
    reach = given[:, _WORLD_AXIS] * _SIGN
    chosen, direction = linear_sum_assignment(reach, maximize=True)
    return np.asarray(given[chosen[np.argsort(direction)]])


def points_of_mask(mask: npt.NDArray[Any], geometry: Geometry) -> Float64:
    """Return the extreme points (6, 3) of a mask in LPS world, ordered as `DIRECTIONS`.

    On the first and the last slice along each axis the voxel of the mask nearest to
    the middle of the mask there is taken.

    Raises
    ------
    InputError
        The mask is empty.
    """
    solid = np.asarray(mask) != 0
    box = Region.of_mask(solid)
    if box is None:
        raise InputError("The mask is empty, so it has no extreme points.")
    crop = solid[box.slices]
    ends = [(axis, end) for axis in range(3) for end in (0, crop.shape[axis] - 1)]
    voxels = [_middle_voxel(crop, axis, end) for axis, end in ends]
    return ordered_points(geometry.index_to_world(np.array(voxels) + box.start))


def parts_of_mask(mask: npt.NDArray[Any], geometry: Geometry) -> Float64:
    """Return the extreme points (n, 6, 3) of a mask cut into slabs, from inferior to superior.

    Up to six slabs of the same thickness, at least 6 mm each, as the sub-patches of MedLAM
    (Lei et al., 2023); none, (0, 6, 3), where the mask is too thin or has a gap.
    """
    axis = geometry.reorientation("SPL").order[0]
    solid = np.asarray(mask) != 0
    box = Region.of_mask(solid)
    slices = 0 if box is None else box.shape[axis]
    count = min(int(slices * geometry.spacing[axis] // PART_MM), slices, MAX_PARTS)
    if box is None or count < 2:
        return np.empty((0, 6, 3))
    parts = []
    for planes in np.array_split(np.arange(slices) + box.start[axis], count):
        slab = np.zeros_like(solid)
        within = [slice(None)] * 3
        within[axis] = slice(int(planes[0]), int(planes[-1]) + 1)
        slab[tuple(within)] = solid[tuple(within)]
        if not slab.any():
            return np.empty((0, 6, 3))
        parts.append(points_of_mask(slab, geometry))
    return np.array(sorted(parts, key=lambda points: float(points[:, 2].mean())))


def to_grid(points: npt.ArrayLike, geometry: Geometry) -> ExtremePoints:
    """Return LPS points (6, 3) as extreme points on ``geometry``, clipped to its voxels.

    The order is that of `core.prompts.EXTREME_STEPS`: first z, last z, first y ...
    """
    last = np.asarray(geometry.shape) - 1
    found = np.clip(geometry.world_to_index(checked_points(points)), 0, last)
    frame = geometry.reorientation("SPL")
    steps = [
        frame.order.index(axis) + 3 * (frame.flips[frame.order.index(axis)] ^ last_end)
        for axis in range(3)
        for last_end in (False, True)
    ]
    return ExtremePoints(tuple(tuple(found[k]) for k in steps))


def to_world(points: ExtremePoints, geometry: Geometry) -> Float64:
    """Return extreme points of ``geometry`` in LPS world (6, 3), ordered as `DIRECTIONS`."""
    return ordered_points(geometry.index_to_world(points.positions()))


def _middle_voxel(crop: npt.NDArray[np.bool_], axis: int, end: int) -> Float64:
    found = np.argwhere(crop.take([end], axis=axis)).astype(float)
    found[:, axis] = end
    nearest = np.argmin(np.square(found - found.mean(0)).sum(1))
    return np.asarray(found[nearest])
