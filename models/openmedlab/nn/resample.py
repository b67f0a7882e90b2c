"""Separable resampling of the part of a volume that a network wants to see.

Agrees with ITK's linear interpolation of whole volumes (x first, then y, then z,
in double precision; whole numbers are kept by truncation toward zero), but reads
and computes only what the wanted positions need.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from openmedlab.core import Geometry, Region, Volume

Array = npt.NDArray[Any]
Positions = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]
SLAB = 16
ITK_ORDER = (2, 1, 0)


def sample_linear(volume: Volume, positions: Positions) -> Array:
    """Return the volume at a grid of continuous indices, in the volume's own type.

    Parameters
    ----------
    volume
        Read in slabs along z; only the voxels around the positions are touched.
    positions
        Indices along (z, y, x), each within half a voxel of the volume.

    Returns
    -------
    ndarray
        (len(z), len(y), len(x)); uint8 for a boolean volume, float32 for half precision.
    """
    dtype = _working_type(volume.dtype)
    out = np.empty(tuple(len(p) for p in positions), dtype)
    z, y, x = positions
    for first in range(0, len(z), SLAB):
        part = slice(first, first + SLAB)
        slab: Positions = (z[part], y, x)
        region = _needed(slab, volume.shape)
        block = volume.read(region).astype(dtype, copy=False)
        local = [p - a for p, a in zip(slab, region.start, strict=True)]
        block, local[0] = _only_needed(block, local[0], 0)
        block, local[1] = _only_needed(block, local[1], 1)
        values = lerp_grid(block, (local[0], local[1], local[2]), order=ITK_ORDER)
        out[part] = np.trunc(values) if dtype.kind in "iu" else values
    return out


def lerp_grid(
    array: Array, positions: Positions, order: tuple[int, ...] = (0, 1, 2)
) -> npt.NDArray[np.float64]:
    """Return ``array`` at a grid of continuous indices along (z, y, x), its edge repeated.

    ``order`` says which axis comes first; it shows in the last digits only.
    """
    out = array
    for axis in order:
        out = _lerp(out, positions[axis], axis)
    return out


def itk_positions(source: Geometry, target: Geometry) -> Positions:
    """Return the index in ``source`` of every index of ``target``, along each axis.

    Both grids have the same directions. SimpleITK does the arithmetic that its
    resampler does, so that truncation and ties fall the same way as in a resampled
    whole volume: along x it interpolates between the ends of the line.
    """
    grids = [_tiny_image(g) for g in (source, target)]
    if source.is_sheared:
        grids = [_straight_image(g, source) for g in (source, target)]

    def position(axis: int, index: int) -> float:
        voxel = [0, 0, 0]
        voxel[axis] = index
        world = grids[1].TransformIndexToPhysicalPoint(voxel)
        return float(grids[0].TransformPhysicalPointToContinuousIndex(world)[axis])

    length = target.shape[2]
    first, end = position(0, 0), position(0, length)
    x = first + np.arange(length) / length * (end - first)
    y = np.array([position(1, k) for k in range(target.shape[1])])
    z = np.array([position(2, k) for k in range(target.shape[0])])
    return z, y, x


def _tiny_image(geometry: Geometry) -> SimpleITK.Image:
    """Return an image of one voxel that has this grid's origin, spacing and direction."""
    image = SimpleITK.Image(1, 1, 1, SimpleITK.sitkUInt8)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction[:, ::-1].ravel().tolist())
    return image


def _straight_image(geometry: Geometry, source: Geometry) -> SimpleITK.Image:
    """Like `_tiny_image`, in a world in which the sheared ``source`` has right angles."""
    image = SimpleITK.Image(1, 1, 1, SimpleITK.sitkUInt8)
    image.SetSpacing(geometry.spacing[::-1])
    origin = source.world_to_index(geometry.origin) * source.spacing
    image.SetOrigin(origin[::-1].tolist())
    return image


def nearest_indices(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the nearest whole index of each continuous one; halves go up, as in ITK."""
    return np.floor(positions + 0.5).astype(np.int64)


def gather(array: Array, indices: tuple[npt.NDArray[np.int64], ...]) -> Array:
    """Return ``array`` at the grid of whole indices along each of its axes."""
    for axis, index in enumerate(indices):
        array = array.take(index, axis)
    return array


def _working_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize < 4:
        return np.dtype(np.float32)
    return dtype.newbyteorder("=")


def _needed(positions: Positions, shape: tuple[int, int, int]) -> Region:
    low = [int(np.floor(p.min())) for p in positions]
    high = [int(np.floor(p.max())) + 2 for p in positions]
    return Region((low[0], low[1], low[2]), (high[0], high[1], high[2])).clipped(shape)


def _only_needed(
    block: Array, positions: npt.NDArray[np.float64], axis: int
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Drop the planes that no position lies next to, and renumber the positions."""
    low = np.floor(positions)
    planes = np.unique(np.clip(np.concatenate([low, low + 1]), 0, block.shape[axis] - 1))
    if len(planes) == block.shape[axis]:
        return block, positions
    inside = np.clip(low, 0, block.shape[axis] - 1)
    kept = np.searchsorted(planes, inside) + (low - inside)
    return block.take(planes.astype(np.int64), axis), kept + (positions - low)


def _lerp(block: Array, positions: npt.NDArray[np.float64], axis: int) -> Array:
    last = block.shape[axis] - 1
    low = np.floor(positions)
    index = low.astype(np.int64)
    weight = (positions - low).reshape([-1 if k == axis else 1 for k in range(3)])
    a = block.take(np.clip(index, 0, last), axis).astype(np.float64)
    b = block.take(np.clip(index + 1, 0, last), axis)
    return a + (b - a) * weight
