"""The published networks on blocks of a volume of any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from openmedlab.axonseg.network import WINDOW
from openmedlab.blocks.files import stamp
from openmedlab.zoo.methods import default_device, trained
from openmedlab.zoo.store import WeightsStore

MARGIN = 20
CORE = WINDOW[0] - 2 * MARGIN

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PublishedSegmenter:
    """A published network on one block: windows of 128 on one grid over the whole volume.

    Of every window the inner 88 voxels a side are kept, as the published predictor does.
    Grey values are normalised as in the training, by mean and deviation of the volume.

    Attributes
    ----------
    name
        ``"axon-seg"`` or ``"axon-seg-unet"``.
    weights
        The checkpoint.
    mean, std
        Of the volume's grey values.
    """

    name: str
    weights: Path
    mean: float
    std: float

    halo = (MARGIN, MARGIN, MARGIN)
    alignment = (CORE, CORE, CORE)

    @classmethod
    def of(cls, name: str, mean: float, std: float, weights: Path | None) -> PublishedSegmenter:
        """Make it for a volume, with the stored or other weights.

        Raises
        ------
        WeightsError
            The weights are not here.
        """
        return cls(name, WeightsStore().require(name, weights), mean, std)

    def is_empty(self, block: npt.NDArray[Any]) -> bool:
        """Tell cheaply that this block, given without halo, would come out all zero."""
        return not block.any()

    def segment_block(self, block: npt.NDArray[Any], halo: tuple[int, int, int]) -> Floats:
        """Return the probability of axon of the block without its halo; 0 where it is 0."""
        inner = block[tuple(slice(h, n - h) for h, n in zip(halo, block.shape, strict=True))]
        near = block[tuple(slice(h - MARGIN, None) for h in halo)]
        found = np.zeros(inner.shape, np.float32)
        for corner in product(*(range(0, n, CORE) for n in inner.shape)):
            core = tuple(slice(c, c + CORE) for c in corner)
            if self.is_empty(inner[core]):
                continue
            raw = near[tuple(slice(c, c + n) for c, n in zip(corner, WINDOW, strict=True))]
            target = found[core]
            target[:] = self._window(raw)[tuple(slice(n) for n in target.shape)]
        found[inner == 0] = 0
        return found

    def _window(self, raw: npt.NDArray[Any]) -> Floats:
        """Return the probabilities in a window's core; what it lacks repeats its last voxels."""
        lacking = [(0, n - have) for n, have in zip(WINDOW, raw.shape, strict=True)]
        filled = np.pad(raw.astype(np.float32), lacking, mode="edge")
        normal = (filled - np.float32(self.mean)) / np.float32(max(self.std, 1e-8))
        device = default_device()
        with torch.inference_mode():
            logits = _network(self.name, self.weights, stamp(self.weights), device)(
                torch.from_numpy(normal)[None, None].to(device)
            )
        core = slice(MARGIN, MARGIN + CORE)
        return np.asarray(logits.softmax(1)[0, 1, core, core, core].cpu().numpy())


@lru_cache(maxsize=2)
def _network(name: str, weights: Path, _made: object, device: str) -> nn.Module:
    network, _ = trained(name, weights)
    return network.eval().to(device)
