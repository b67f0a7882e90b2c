"""Losses of one sample, and how alike its masks are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def classes_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return cross entropy plus the soft Dice loss of the foreground classes.

    Parameters
    ----------
    logits
        (1, classes, z, y, x).
    label
        Class numbers (z, y, x).
    """
    wanted = label[None].long()
    entropy = functional.cross_entropy(logits.float(), wanted)
    found = logits.float().softmax(1)[0, 1:].flatten(1)
    truth = functional.one_hot(wanted[0], logits.shape[1]).movedim(-1, 0)[1:].flatten(1)
    overlap = (found * truth).sum(1)
    dice = (2 * overlap + 1) / (found.sum(1) + truth.sum(1) + 1)
    return entropy + 1 - dice.mean()


def scales_loss(scales: Sequence[Tensor], label: Tensor) -> Tensor:
    """Return the `classes_loss` of logits at several resolutions, each half as heavy, finest first.

    nnU-Net's deep supervision (Isensee et al., Nature Methods 2021).
    """
    losses = []
    for logits in scales:
        coarse = functional.interpolate(label[None, None].float(), logits.shape[2:])[0, 0]
        losses.append(classes_loss(logits, coarse))
    weights = [0.5**k for k in range(len(losses))]
    total = torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum()
    return total / sum(weights)


def mask_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return binary cross entropy plus the soft Dice loss of one object; same shapes."""
    wanted = mask.float()
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), wanted)
    found = logits.float().sigmoid()
    dice = (2 * (found * wanted).sum() + 1) / (found.sum() + wanted.sum() + 1)
    return entropy + 1 - dice
