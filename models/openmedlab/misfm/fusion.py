"""Volume Fusion, MIS-FM's pretext task (Wang et al., arXiv 2306.16925, section 3.1)."""

from __future__ import annotations

from torch import Tensor


def fuse(first: Tensor, second: Tensor, label: Tensor, classes: int = 5) -> Tensor:
    """Mix two volumes voxel by voxel: class k takes k / (classes - 1) of the ``first``."""
    share = label.to(first.dtype) / (classes - 1)
    return share * first + (1 - share) * second
