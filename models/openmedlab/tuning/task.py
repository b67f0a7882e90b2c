"""Fine-tuning as a task of the loop: samples by number, windows of whole volumes to judge by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from openmedlab.tuning.cases import Case
from openmedlab.tuning.families import Family
from openmedlab.tuning.loop import rank, summed, world

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class CohortTask:
    """Learning of one family's networks on prepared volumes.

    Sample k of update s follows from the seed, s and k alone, so that any number of
    processes makes the same update.

    Parameters
    ----------
    family
        How these networks learn.
    training, validation
        Volumes to learn from and to judge by.
    batch
        Samples of an update over all processes.
    seed
        Of everything random.
    device
        Where the network is.
    """

    def __init__(
        self,
        family: Family,
        training: Sequence[Case],
        validation: Sequence[Case],
        batch: int,
        seed: int,
        device: str,
    ) -> None:
        self._family, self._training, self._validation = family, training, validation
        self._batch, self._seed, self._device = batch, seed, device

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Return the mean loss of this process's samples of an update."""
        learning(network)
        mine = range(rank(), self._batch, world())
        losses = [self._sample(network, step, index) for index in mine]
        return torch.stack(losses).mean()

    def _sample(self, network: nn.Module, step: int, index: int) -> Tensor:
        random = np.random.default_rng((self._seed, step, index))
        torch.manual_seed(int(random.integers(2**62)))
        case = self._training[int(random.integers(len(self._training)))]
        return self._family.sample(network, case, random, self._device)

    def validate(self, network: nn.Module) -> float:
        """Return the mean loss over the validation volumes."""
        return self._judge(network)[0]

    def dice(self, network: nn.Module) -> dict[str, float]:
        """Return the mean Dice over the validation volumes by label; NaN where it is in none."""
        return self._judge(network.eval())[1]

    @torch.inference_mode()
    def _judge(self, network: nn.Module) -> tuple[float, dict[str, float]]:
        """Judge every volume in one of the processes, and tell all of them."""
        names = self._family.names
        sums = torch.zeros(2, 1 + len(names), dtype=torch.float64)
        for case in self._validation[rank() :: world()]:
            loss, dice = self._family.judge(network, case, self._device)
            found: Mapping[int, float] = {0: loss, **dice}
            for number, value in found.items():
                sums[:, number] += torch.tensor([value, 1.0], dtype=torch.float64)
        totals, counts = summed(sums, self._device)
        means = totals / counts
        return float(means[0]), {n: float(v) for n, v in zip(names, means[1:], strict=True)}


def learning(network: nn.Module) -> None:
    """Bring a network into training mode; batch norms and what is frozen stay in evaluation."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        frozen = bool(parameters) and not any(p.requires_grad for p in parameters)
        if isinstance(module, NORMS) or frozen:
            module.eval()
