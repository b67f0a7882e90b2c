"""nnU-Net's resampling as separable matrix products.

Resizing an axis with splines is linear in the samples, so the operator that
`scipy.ndimage.zoom` (and skimage's ``resize`` on top of it) applies is found once
by resizing the unit vectors; a volume then takes three matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

Shape = tuple[int, int, int]
Float64 = npt.NDArray[np.float64]

ANISOTROPY = 3.0
SLAB = 16


@lru_cache(maxsize=64)
def spline_operator(old: int, new: int, order: int) -> Float64:
    """Return the (new, old) matrix that resizes an axis, outer edges kept.

    Equal to ``skimage.transform.resize(order=order, mode="edge", anti_aliasing=False)``
    along one axis.
    """
    if old == new:
        return np.eye(old)
    columns = [
        ndimage.zoom(unit, new / old, order=order, mode="nearest", grid_mode=True)
        for unit in np.eye(old)
    ]
    return np.stack(columns, axis=1)


@lru_cache(maxsize=16)
def nearest_operator(old: int, new: int) -> Float64:
    """Return the (new, old) matrix that takes the nearest sample, halves going up."""
    position = (np.arange(new) + 0.5) * old / new - 0.5
    index = np.clip(np.floor(position + 0.5).astype(int), 0, old - 1)
    return np.eye(old)[index]


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]
) -> Shape:
    """Return the number of voxels at the target spacing, halves to even."""
    exact = np.asarray(shape) * np.asarray(spacing, float) / np.asarray(target, float)
    z, y, x = np.rint(exact).astype(int).clip(1)
    return int(z), int(y), int(x)


def separate_axis(*spacings: Sequence[float]) -> int | None:
    """Return the axis that nnU-Net resamples apart from the others, if any.

    The first of ``spacings`` (original, then target) whose largest is more than 3
    times its smallest decides; its coarsest axis must be the only one so coarse.
    """
    for spacing in map(np.asarray, spacings):
        if spacing.max() / spacing.min() > ANISOTROPY:
            coarsest = np.flatnonzero(spacing == spacing.max())
            return int(coarsest[0]) if len(coarsest) == 1 else None
    return None


def operators(
    old: Sequence[int], new: Sequence[int], order: int, separate: int | None
) -> list[Float64]:
    """Return one matrix per axis; the separate axis takes the nearest sample."""
    return [
        nearest_operator(a, b) if axis == separate else spline_operator(a, b, order)
        for axis, (a, b) in enumerate(zip(old, new, strict=True))
    ]


def apply(matrix: Float64, block: Tensor, axis: int) -> Tensor:
    """Apply an operator along one axis of a (z, y, x) block."""
    if matrix.shape[0] == matrix.shape[1] and (matrix.diagonal() == 1).all():
        return block
    m = torch.from_numpy(matrix).to(block)
    match axis:
        case 0:
            return (m @ block.flatten(1)).unflatten(1, block.shape[1:])
        case 1:
            return m @ block
        case _:
            return block @ m.T


def resize_cubic(
    array: npt.NDArray[np.generic], new: Shape, separate: int | None, device: torch.device
) -> Tensor:
    """Resize an image as nnU-Net does before the network sees it.

    Parameters
    ----------
    array
        (z, y, x), any real type; NaN counts as 0. Read in slabs.
    new
        Wanted shape; nothing happens where it is the old one.
    separate
        Axis whose slices are resized one by one and then repeated or dropped.
    device
        Where to compute and leave the result.

    Returns
    -------
    Tensor
        float32 (z, y, x), kept inside the range of the image (of each slice).
    """
    old: Shape = (array.shape[0], array.shape[1], array.shape[2])
    axis = 0 if separate is None else separate
    if old == new:
        return torch.cat([_slab(array, k, axis, device) for k in _starts(old[axis])], axis)
    matrices = operators(old, new, 3, separate)
    parts, low, high = [], np.inf, -np.inf
    for start in _starts(old[axis]):
        slab = _slab(array, start, axis, device)
        bounds = [k for k in range(3) if k != axis]
        lowest, highest = slab.amin(bounds, True), slab.amax(bounds, True)
        low, high = min(low, float(lowest.min())), max(high, float(highest.max()))
        for other in bounds:
            slab = apply(matrices[other], slab, other)
        parts.append(slab if separate is None else slab.clamp(lowest, highest))
    resized = apply(matrices[axis], torch.cat(parts, axis), axis)
    return resized.clamp_(low, high) if separate is None else resized


def resize_mask(
    mask: npt.NDArray[np.bool_], new: Shape, separate: int | None, device: torch.device
) -> Tensor:
    """Resize a mask linearly and keep where at least half is inside; bool (z, y, x)."""
    old: Shape = (mask.shape[0], mask.shape[1], mask.shape[2])
    block = torch.from_numpy(np.ascontiguousarray(mask)).to(device, torch.float32)
    for axis, matrix in enumerate(operators(old, new, 1, separate)):
        block = apply(matrix, block, axis)
    return block > 0.5 - 1e-6


def _starts(size: int) -> range:
    return range(0, size, SLAB)


def _slab(array: npt.NDArray[np.generic], start: int, axis: int, device: torch.device) -> Tensor:
    index = [slice(None)] * 3
    index[axis] = slice(start, start + SLAB)
    part = np.array(array[tuple(index)], dtype=np.float32, order="C")
    part[np.isnan(part)] = 0
    return torch.from_numpy(part).to(device)
