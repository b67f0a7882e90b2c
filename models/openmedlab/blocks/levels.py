"""Which pyramid levels blocks fill themselves, and how each is chunked."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.region import Index3, Region, _index3
from openmedlab.core.volume import Volume

MOST_CHUNK = 128
LEAST_PIECE = 8
COARSEST = 128
FAR_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    factor
        Voxels of the finest level that one voxel stands for, along (z, y, x).
    geometry
        Its grid.
    unit
        What one task writes, (z, y, x): the shard where the format has them.
    chunk
        What is compressed together; a whole number of them makes a unit.
    near
        Whether every block of the finest level fills its own whole unit here.
    """

    factor: Index3
    geometry: Geometry
    unit: Index3
    chunk: Index3
    near: bool


def check_block(block: Index3, alignment: Index3 = (1, 1, 1)) -> None:
    """Raise `InputError` unless blocks of this size can carry chunks and the method."""
    for size, step in zip(block, alignment, strict=True):
        if size < 16 or size % 16 or size % step:
            raise InputError(
                f"A block of {block} voxels cannot be used; every side must be a multiple of "
                f"{int(np.lcm(16, step))}."
            )


def plan_levels(volume: Volume, block: Index3) -> list[Level]:
    """Return the levels for labels of ``volume``: the image's own, else halvings.

    The image's levels are followed where they are whole-numbered reductions.
    """
    finest = volume.geometry
    found = [(_factor(finest, v.geometry), v.geometry) for v in volume.pyramid]
    own = [(factor, grid) for factor, grid in found if factor is not None]
    steps = [(1, 1, 1), *(factor for factor, _ in own)]
    nested = all(not np.mod(b, a).any() for a, b in pairwise(steps))
    follow = own and len(own) == len(found) and nested
    return _levels(finest, own if follow else _halvings(finest), block)


def _factor(fine: Geometry, coarse: Geometry) -> Index3 | None:
    ratio = np.asarray(coarse.spacing) / np.asarray(fine.spacing)
    factor = np.maximum(np.rint(ratio), 1).astype(int)
    fits = all(
        n // f <= m <= -(-n // f)
        for n, m, f in zip(fine.shape, coarse.shape, factor.tolist(), strict=True)
    )
    return _index3(factor) if fits and np.allclose(ratio, factor, rtol=0.05) else None


def _halvings(fine: Geometry) -> list[tuple[Index3, Geometry]]:
    """Halve the axes so that voxels grow towards cubes, until the whole fits a chunk."""
    out: list[tuple[Index3, Geometry]] = []
    factor, shape, spacing = np.ones(3, int), np.array(fine.shape), np.array(fine.spacing)
    while shape.max() > COARSEST:
        steps = np.where((spacing < 1.5 * spacing[shape > 1].min()) & (shape > 1), 2, 1)
        factor, spacing = factor * steps, spacing * steps
        shape = -(-np.array(fine.shape) // factor)
        affine = fine.affine.copy()
        affine[:3, :3] *= factor
        affine[:3, 3] = fine.index_to_world((factor - 1) / 2)
        out.append((_index3(factor), Geometry(_index3(shape), affine, fine.unit)))
    return out


def _levels(finest: Geometry, coarser: list[tuple[Index3, Geometry]], block: Index3) -> list[Level]:
    levels = []
    near = True
    for factor, geometry in [((1, 1, 1), finest), *coarser]:
        whole = all(
            b % f == 0 and b // f >= LEAST_PIECE for b, f in zip(block, factor, strict=True)
        )
        near = near and whole
        size = [b // f for b, f in zip(block, factor, strict=True)] if near else [FAR_BLOCK] * 3
        unit = _index3(size)
        levels.append(Level(factor, geometry, unit, _chunk(unit), near))
    return levels


def _chunk(unit: Index3) -> Index3:
    def part(size: int) -> int:
        pieces = -(-size // MOST_CHUNK)
        while size % pieces:
            pieces += 1
        return size // pieces

    return _index3(part(size) for size in unit)


def reduced(block: npt.NDArray[Any], factor: Index3) -> npt.NDArray[Any]:
    """Return the largest value of every cell, so that thin structures stay visible."""
    from skimage.measure import block_reduce

    return np.asarray(block_reduce(block, factor, np.max))


def coarse_region(region: Region, factor: Index3, shape: Index3) -> Region:
    """Return the voxels of a coarser level that stand for ``region``."""
    start = _index3(a // f for a, f in zip(region.start, factor, strict=True))
    stop = _index3(-(-b // f) for b, f in zip(region.stop, factor, strict=True))
    return Region(start, stop).clipped(shape)
