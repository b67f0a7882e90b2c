"""PyMIC's sliding window: regular steps, the last ones pushed back inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from scipy import ndimage
from torch import Tensor


def sliding_window(
    x: Tensor, network: Callable[[Tensor], Tensor], window: Sequence[int], stride: Sequence[int]
) -> Tensor:
    """Average logits over windows, weighted by a Gaussian of sigma = window / 8.

    Parameters
    ----------
    x
        (B, channels, z, y, x), no axis shorter than the window.
    network
        (B, channels, *window) to logits (B, classes, *window).
    window, stride
        Along z, y and x. Starts are multiples of the stride, clamped to the last valid
        one, which then counts more than once.

    Returns
    -------
    Tensor
        (B, classes, z, y, x).
    """
    shape = x.shape[2:]
    weights = _weights(window).to(x)
    total = torch.zeros(shape, device=x.device)
    out: Tensor | None = None
    steps = [range(0, n, s) for n, s in zip(shape, stride, strict=True)]
    for start in product(*steps):
        part = tuple(
            slice(min(a, n - w), min(a, n - w) + w)
            for a, n, w in zip(start, shape, window, strict=True)
        )
        logits = network(x[:, :, *part])
        if out is None:
            out = x.new_zeros(*logits.shape[:2], *shape)
        out[:, :, *part] += logits * weights
        total[part] += weights
    assert out is not None
    return out / total


def _weights(window: Sequence[int]) -> Tensor:
    delta = torch.zeros(*window, dtype=torch.float64)
    delta[tuple(w // 2 for w in window)] = 1
    blurred = ndimage.gaussian_filter(delta.numpy(), [w / 8 for w in window], mode="constant")
    return torch.from_numpy(blurred)
