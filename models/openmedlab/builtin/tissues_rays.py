"""What a voxel sees: whether bone is met along 26 directions, within a reach."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.tissues_grid import Grid, Mask

Direction = tuple[int, int, int]
Counts = npt.NDArray[np.uint8]

_STEPS = (-1, 0, 1)
AXES: tuple[Direction, ...] = tuple(
    (z, y, x) for z, y, x in product(_STEPS, _STEPS, _STEPS) if (z, y, x) > (0, 0, 0)
)
SAGITTAL: tuple[Direction, ...] = tuple(d for d in AXES if d[2] == 0)


def sight(grid: Grid, bone: Mask, mm: float) -> tuple[Counts, Counts]:
    """Count, for every voxel, directions that meet bone and those that stay free.

    Parameters
    ----------
    grid
        For the spacing.
    bone
        Boolean (z, y, x).
    mm
        The reach. A direction that leaves the volume first counts as neither.

    Returns
    -------
    met, free
        uint8 (z, y, x); at most 26 together.
    """
    met = np.zeros(bone.shape, np.uint8)
    free = np.zeros(bone.shape, np.uint8)
    for axis in AXES:
        for hit, missed in _both_ways(grid, bone, mm, axis):
            met += hit
            free += missed
    return met, free


def see_through(grid: Grid, bone: Mask, mm: float, axes: tuple[Direction, ...] = AXES) -> Mask:
    """Whether along one of ``axes`` nothing is met within reach to either side."""
    through = np.zeros(bone.shape, bool)
    for axis in axes:
        (_, ahead), (_, behind) = _both_ways(grid, bone, mm, axis)
        through |= ahead & behind
    return through


def _both_ways(
    grid: Grid, bone: Mask, mm: float, axis: Direction
) -> tuple[tuple[Mask, Mask], tuple[Mask, Mask]]:
    z, y, x = axis
    return _look(grid, bone, mm, (z, y, x)), _look(grid, bone, mm, (-z, -y, -x))


def _look(grid: Grid, bone: Mask, mm: float, direction: Direction) -> tuple[Mask, Mask]:
    """Whether bone is met, and whether nothing is (doubling the reach at every step)."""
    step = float(np.linalg.norm(np.multiply(direction, grid.spacing)))
    reach = max(1, round(mm / step))
    hit, left = bone.copy(), np.zeros_like(bone)
    done = 0
    while done < reach:
        stride = min(done + 1, reach - done)
        hit |= _shifted(hit, direction, stride, beyond=False)
        left |= _shifted(left, direction, stride, beyond=True)
        done += stride
    return hit, ~hit & ~left


def _shifted(mask: Mask, direction: Direction, stride: int, beyond: bool) -> Mask:
    """Return what lies ``stride`` voxels ahead; ``beyond`` where that is outside the volume."""
    moved = np.full_like(mask, beyond)
    target, source = [], []
    for d, n in zip(direction, mask.shape, strict=True):
        s = max(-n, min(n, d * stride))
        target.append(slice(max(-s, 0), n - max(s, 0)))
        source.append(slice(max(s, 0), n - max(-s, 0)))
    moved[tuple(target)] = mask[tuple(source)]
    return moved
