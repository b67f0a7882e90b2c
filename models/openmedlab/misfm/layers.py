"""Pre-activation units: batch norm, PReLU, convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sides(flat: bool, side: int) -> tuple[int, int, int]:
    """Return a kernel or pooling of ``side`` voxels, one voxel deep where ``flat``."""
    return (1 if flat else side, side, side)


def convolution(inputs: int, outputs: int, flat: bool, side: int = 3) -> nn.Conv3d:
    """Return a 3-D (or, one voxel deep, 2-D) convolution that keeps the grid."""
    z, y, x = sides(flat, side)
    return nn.Conv3d(inputs, outputs, (z, y, x), padding=(z // 2, y // 2, x // 2))


def unit(inputs: int, layer: nn.Module) -> nn.Sequential:
    """Return batch norm, PReLU and ``layer``."""
    return nn.Sequential(nn.BatchNorm3d(inputs), nn.PReLU(), layer)


class ConvBlock(nn.Module):
    """Two units with dropout between, same width and grid."""

    def __init__(self, width: int, flat: bool, dropout: float) -> None:
        super().__init__()
        self.conv_conv = nn.Sequential(
            *unit(width, convolution(width, width, flat)),
            nn.BatchNorm3d(width),
            nn.PReLU(),
            nn.Dropout(dropout),
            convolution(width, width, flat),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv_conv(x)
        return y


class Down(nn.Module):
    """Max-pooling and a unit; the convolution is 2-D where the level it leads to is."""

    def __init__(self, inputs: int, outputs: int, pool_flat: bool, flat: bool) -> None:
        super().__init__()
        self.conv = unit(inputs, convolution(inputs, outputs, flat))
        self.pool = nn.MaxPool3d(sides(pool_flat, 2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.pool(x))
        return y


class Up(nn.Module):
    """Transposed convolution, the skip in front of it, and a unit."""

    def __init__(self, inputs: int, outputs: int, flat: bool) -> None:
        super().__init__()
        factor = sides(flat, 2)
        self.up = unit(inputs, nn.ConvTranspose3d(inputs, outputs, factor, stride=factor))
        self.conv = unit(2 * outputs, convolution(2 * outputs, outputs, flat))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = self.conv(torch.cat([skip, self.up(x)], 1))
        return y


class Out(nn.Module):
    """A unit with a 1x1x1 convolution to class logits."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = unit(inputs, convolution(inputs, classes, False, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y
