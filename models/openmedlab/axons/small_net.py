"""Axon-Small: the bundled network, and blocks segmented with it.

A U-Net of three convolution stages on the 2x2x2 blocks of the image, unpadded, so that every
answer depends on the 20 to 23 voxels around it and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openmedlab.axons import methods
from openmedlab.axons.statistics import VolumeStatistics
from openmedlab.blocks.files import stamp
from openmedlab.nn.layers import to_depth, to_space
from openmedlab.zoo.methods import default_device
from openmedlab.zoo.recognise import filled

WIDTHS = (24, 64)
REACH = 20
TILE = 64

Floats = npt.NDArray[np.float32]


class _Stage(nn.Sequential):
    """3x3x3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        layers: list[nn.Module] = []
        for index in range(count):
            layers += [
                nn.Conv3d(outputs if index else inputs, outputs, 3, bias=False),
                nn.BatchNorm3d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class AxonSmall(nn.Module):
    """Normalised grey values (B, 1, z, y, x) to logits (B, 1, z - 40, y - 40, x - 40).

    Sides are multiples of 4 and larger than 40.

    Parameters
    ----------
    widths
        Channels at half and at quarter resolution.
    """

    def __init__(self, widths: tuple[int, int] = WIDTHS) -> None:
        super().__init__()
        fine, coarse = widths
        self.fine = _Stage(8, fine, 2)
        self.down = nn.Conv3d(fine, coarse, 2, 2)
        self.coarse = _Stage(coarse, coarse, 3)
        self.up = nn.ConvTranspose3d(coarse, fine, 2, 2)
        self.merge = _Stage(2 * fine, fine, 2)
        self.head = nn.Conv3d(fine, 8, 1)
        nn.init.constant_(self.head.get_parameter("bias"), -3.0)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(to_depth(x))
        up = self.up(self.coarse(self.down(fine)))
        fine = fine[:, :, 6:-6, 6:-6, 6:-6]
        return to_space(self.head(self.merge(torch.cat([up, fine], 1))))


@dataclass(frozen=True)
class GreyScale:
    """How grey values of one volume become the network's input: a logarithm above the floor.

    Attributes
    ----------
    floor
        Grey value of nothing.
    unit
        How far typical tissue lies above it, or more where bright masses prevail.
    empty
        Grey value up to which nothing is looked at.
    """

    floor: float
    unit: float
    empty: float

    @classmethod
    def of(cls, statistics: VolumeStatistics) -> GreyScale:
        """Return the scale of a measured volume."""
        floor = statistics.percentile(0.1)
        mean = statistics.mean - floor
        above = (statistics.percentile(p) - floor for p in (50.0, 75.0, 90.0, 95.0, 99.0))
        typical = next((a for a in above if a > mean / 8), 1.0)
        unit = max(typical, (typical * mean / 2) ** 0.5)
        return cls(floor, unit, floor + typical / 4)

    def __call__(self, raw: npt.NDArray[Any]) -> Floats:
        """Return the input: 0 for typical tissue, 1 for twice its (slightly raised) signal."""
        above = np.subtract(raw, np.float32(self.floor), dtype=np.float32)
        above *= np.float32(1 / self.unit)
        np.maximum(above, 0, out=above)
        above += np.float32(0.25)
        np.log2(above, out=above)
        above -= np.float32(np.log2(1.25))
        return above


@dataclass(frozen=True)
class SmallSegmenter:
    """Axon-Small on one block; made by `of`.

    Attributes
    ----------
    scale
        The volume's grey scale.
    weights
        The network's file.
    """

    scale: GreyScale
    weights: Path

    halo = (REACH, REACH, REACH)
    alignment = (TILE, TILE, TILE)

    @classmethod
    def of(cls, statistics: VolumeStatistics, weights: Path | None = None) -> SmallSegmenter:
        """Make it for a measured volume, with the bundled or other weights.

        Raises
        ------
        WeightsError
            The file cannot be read or belongs to another network.
        """
        made = cls(GreyScale.of(statistics), weights or methods.BUNDLED)
        made.network("cpu")
        return made

    def network(self, device: str) -> nn.Module:
        """Return the network, loaded once for as long as its file stays the same."""
        return _network(self.weights, stamp(self.weights), device)

    def is_empty(self, block: npt.NDArray[Any]) -> bool:
        """Tell cheaply that this block, given without halo, would come out all zero."""
        return bool(block.max() <= self.scale.empty)

    def segment_block(self, block: npt.NDArray[Any], halo: tuple[int, int, int]) -> Floats:
        """Return the probabilities of the block without its halo; 0 where the image is empty.

        The network always sees tiles of one size: convolution libraries add up in another
        order for another size, and the last bits would depend on the block.
        """
        inner = block[tuple(slice(h, n - h) for h, n in zip(halo, block.shape, strict=True))]
        found = np.zeros(inner.shape, np.float32)
        near = block[tuple(slice(h - REACH, None) for h in halo)]
        for corner in product(*(range(0, n, TILE) for n in inner.shape)):
            core = tuple(slice(c, c + TILE) for c in corner)
            if self.is_empty(inner[core]):
                continue
            wide = near[tuple(slice(c, c + TILE + 2 * REACH) for c in corner)]
            target = found[core]
            target[:] = self._tile(wide)[tuple(slice(n) for n in target.shape)]
        found[inner <= self.scale.empty] = 0
        return found

    def _tile(self, raw: npt.NDArray[Any]) -> Floats:
        """Return the probabilities inside one tile; what it lacks repeats its last voxels."""
        filled = np.pad(raw, [(0, TILE + 2 * REACH - n) for n in raw.shape], mode="edge")
        device = default_device()
        x = torch.from_numpy(self.scale(filled))[None, None].to(device)
        with torch.inference_mode():
            found = self.network(device)(x).sigmoid_()
        return np.asarray(found[0, 0].cpu().numpy())


def load(path: Path) -> AxonSmall:
    """Return the network with a file's weights.

    Raises
    ------
    WeightsError
        The file cannot be read or belongs to another network.
    """
    return filled(AxonSmall(), path, "Axon-Small")


@lru_cache(maxsize=4)
def _network(path: Path, _made: object, device: str) -> nn.Module:
    """Return the network ready to run, its normalisation folded into the convolutions."""
    network = load(path).eval()
    for stage in (network.fine, network.coarse, network.merge):
        for k in range(0, len(stage), 3):
            convolution, norm = stage[k], stage[k + 1]
            assert isinstance(convolution, nn.Conv3d)
            assert isinstance(norm, nn.BatchNorm3d)
            stage[k] = nn.utils.fuse_conv_bn_eval(convolution, norm)
            stage[k + 1] = nn.Identity()
    return network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
