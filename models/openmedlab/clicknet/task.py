"""What the network learns: the mask after a few simulated clicks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from openmedlab.clicknet.simulate import Exercise

ROUNDS = (0.5, 0.25, 0.15, 0.1)


def play(
    network: nn.Module, batch: Sequence[Exercise], rounds: int, random: np.random.Generator
) -> Tensor:
    """Return logits (B, 1, 64, 64, 64) after ``rounds`` corrective clicks.

    Only the last answer carries gradients; the clicks of the rounds before are kept in
    ``batch``.
    """
    training = network.training
    if rounds:
        network.eval()
    for _ in range(rounds):
        with torch.no_grad():
            masks = network(_stacked(batch)) > 0
        for exercise, mask in zip(batch, masks[:, 0].cpu(), strict=True):
            exercise.correct(random, mask)
    network.train(training)
    logits: Tensor = network(_stacked(batch))
    return logits


def score(logits: Tensor, batch: Sequence[Exercise]) -> Tensor:
    """Return the mean over the windows of cross entropy plus soft Dice loss."""
    wanted = torch.stack([e.target for e in batch])[:, None].float().to(logits.device)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    found = logits.sigmoid()
    inside = tuple(range(1, logits.ndim))
    overlap = (2 * (found * wanted).sum(inside) + 1) / ((found + wanted).sum(inside) + 1)
    return (entropy.mean(inside) + 1 - overlap).mean()


def _stacked(batch: Sequence[Exercise]) -> Tensor:
    return torch.stack([e.channels() for e in batch])
