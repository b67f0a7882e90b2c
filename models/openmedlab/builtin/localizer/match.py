"""Matching of two scans on one grid: the cost of every small displacement, and a smooth choice.

After M. Heinrich et al. (MICCAI 2014, "Non-parametric discrete registration with convex
optimisation"): choose the best displacement of every cell, smooth, choose again near
the smooth one, with a growing pull; here the choice is a soft minimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openmedlab.builtin.localizer.codes import Codes

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

UNSEEN_BITS = 16
CELL = 2


@dataclass(frozen=True)
class Search:
    """How far and how smoothly to search.

    Attributes
    ----------
    radius
        Largest displacement along each axis, in voxels.
    pulls
        Weight of the squared distance to the smooth displacement, one per round.
    smooth
        Sigma of the smoothing in cells.
    softness
        Bits by which a displacement may be worse and still count.
    """

    radius: int
    pulls: tuple[float, ...]
    smooth: float
    softness: float = 0.5


@dataclass(frozen=True, eq=False)
class Matched:
    """What a search found, per cell of two voxels' edge.

    Attributes
    ----------
    shift
        (3, z, y, x) displacement in voxels from the template's cell into the query.
    weight
        (z, y, x) how much the cell says: tissue in it, and how far the best match stands out.
    bits
        (z, y, x) mean bits that differ at ``shift``'s nearest whole displacement.
    """

    shift: Float
    weight: Float
    bits: Float


def match(template: Codes, tissue: Float, query: Codes, seen: Mask, search: Search) -> Matched:
    """Find where the cells of ``template`` lie in ``query``.

    Parameters
    ----------
    template
        (z, y, x), each a multiple of the cell's edge.
    tissue
        (z, y, x) share of tissue in every voxel.
    query, seen
        Codes, and whether the scan sees them; the same grid, larger by ``search.radius``
        at every face.
    """
    radius = search.radius
    steps = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1)] * 3, indexing="ij"), -1)
    steps = steps.reshape(-1, 3)
    cost = _costs(template, query, seen, steps + radius)
    least = cost.min(0)
    weight = cell_mean(tissue) * np.maximum(cost.mean(0) - least, 0) + 1e-3
    shift = _smooth_choice(cost, steps.astype(np.float32), weight, search)
    whole = np.clip(np.rint(shift), -radius, radius).astype(int) + radius
    flat = np.ravel_multi_index(tuple(whole), (2 * radius + 1,) * 3)
    bits = np.take_along_axis(cost, flat[None], 0)[0]
    return Matched(shift, weight, bits)


def cell_mean(array: npt.NDArray[np.generic]) -> Float:
    """Return the mean over every cell."""
    z, y, x = (n // CELL for n in array.shape)
    return array.reshape(z, CELL, y, CELL, x, CELL).mean((1, 3, 5), dtype=np.float32)


def _costs(template: Codes, query: Codes, seen: Mask, corners: npt.NDArray[np.integer]) -> Float:
    """Return the mean bits that differ (N, cells) with the query read from each corner on."""
    shape = template.shape
    out = np.empty((len(corners), *(n // CELL for n in shape)), np.float32)
    whole = bool(seen.all())
    for row, corner in zip(out, corners, strict=True):
        part = tuple(slice(int(c), int(c) + n) for c, n in zip(corner, shape, strict=True))
        bits = np.bitwise_count(template ^ query[part])
        if not whole:
            bits = np.where(seen[part], bits, np.uint8(UNSEEN_BITS))
        bits = bits[0::2].astype(np.uint16) + bits[1::2]
        bits = bits[:, 0::2] + bits[:, 1::2]
        row[:] = bits[:, :, 0::2] + bits[:, :, 1::2]
    out /= CELL**3
    return out


def _smooth_choice(cost: Float, steps: Float, weight: Float, search: Search) -> Float:
    """Alternate between the soft minimum of cost and pull, and weighted smoothing."""
    shape = cost.shape[1:]
    flat = cost.reshape(len(steps), -1)
    squares = (steps**2).sum(1)[:, None]
    shift = np.zeros((3, *shape), np.float32)
    total = ndimage.gaussian_filter(weight, search.smooth)
    for pull in search.pulls:
        near = flat + (pull * squares - (2 * pull * steps) @ shift.reshape(3, -1))
        near -= near.min(0)
        share = np.exp(near / -search.softness)
        share /= share.sum(0)
        chosen = (steps.T @ share).reshape(3, *shape)
        for axis in range(3):
            blurred = ndimage.gaussian_filter(chosen[axis] * weight, search.smooth)
            shift[axis] = blurred / total
    return shift
