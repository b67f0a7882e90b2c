"""The paper's scores of an axon mask: overlap, tolerant overlap, centre lines."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

ROUNDS = 5


def soft_skeleton(mask: Tensor) -> Tensor:
    """Return the paper's soft skeleton of masks (B, 1, z, y, x) in 0..1."""
    x = mask
    for _ in range(ROUNDS):
        eroded = _eroded(x)
        contour = functional.relu(functional.max_pool3d(eroded, 3, 1, 1) - eroded)
        x = functional.relu(x - contour)
    return x


def _eroded(x: Tensor) -> Tensor:
    """Return the smallest of each voxel and its six neighbours."""
    along = [((3, 1, 1), (1, 0, 0)), ((1, 3, 1), (0, 1, 0)), ((1, 1, 3), (0, 0, 1))]
    return torch.stack([-functional.max_pool3d(-x, k, 1, p) for k, p in along]).amin(0)


def _ring(mask: Tensor) -> Tensor:
    """Return the voxels that touch a mask with a face."""
    along = [((3, 1, 1), (1, 0, 0)), ((1, 3, 1), (0, 1, 0)), ((1, 1, 3), (0, 0, 1))]
    wide = torch.stack([functional.max_pool3d(mask, k, 1, p) for k, p in along]).amax(0)
    return wide - mask


def pooled(mask: Tensor, kernel: int, stride: int) -> Tensor:
    """Return presence within ``kernel`` voxels, at every ``stride``-th."""
    return functional.max_pool3d(mask, kernel, stride)


def scores(found: Tensor, wanted: Tensor) -> Mapping[str, float]:
    """Return the scores of a mask against the truth, both (B, 1, z, y, x) of 0 and 1.

    Returns
    -------
    mapping
        ``dice``, ``iou``, ``t_iou`` (voxels that touch the truth are forgiven), ``recall``,
        ``acc`` (precision), ``clrecall``, ``clacc`` and ``cldice`` along soft skeletons.
    """
    both, ring = (found * wanted).sum(), _ring(wanted)
    either = (found + wanted).clamp(max=1).sum()
    tolerant = (found * ring + found + wanted - wanted * found).sum()
    wanted_line, found_line = soft_skeleton(wanted), soft_skeleton(found)
    clrecall = (wanted_line * found).sum() / wanted_line.sum()
    clacc = (found_line * wanted).sum() / found_line.sum()
    values = {
        "dice": (2 * both + 1) / (found.sum() + wanted.sum() + 1),
        "iou": both / (either + 1e-8),
        "t_iou": (found * (wanted + ring)).sum() / tolerant,
        "recall": both / wanted.sum(),
        "acc": both / found.sum(),
        "clrecall": clrecall,
        "clacc": clacc,
        "cldice": 2 * clrecall * clacc / (clrecall + clacc),
    }
    return {name: float(torch.nan_to_num(value)) for name, value in values.items()}


def junk_ratio(found: Tensor, wanted: Tensor) -> float:
    """Return the share of the disagreement that lies in samples (B, ...) without any truth."""
    wrong = (found != wanted).flatten(1).sum(1).float()
    empty = wanted.flatten(1).sum(1) == 0
    return float((wrong * empty).sum() / wrong.sum().clamp(min=1))
