"""`ClickNet`: the bundled promptable U-Net, 2.8 million parameters.

The finest stage works on the 2 x 2 x 2 blocks of a window, which makes it eight times cheaper
than one on voxels; batch normalisation folds into the convolutions and quantises well.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from openmedlab.nn.layers import to_depth, to_space

SIDE = 64
INPUTS = 6
WIDTHS = (32, 64, 96, 128)


class _Residual(nn.Module):
    """Two 3x3x3 convolutions with batch normalisation around a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm3d(outputs)
        self.second = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm3d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(x)))
        inner = self.second_norm(self.second(inner))
        return torch.relu(inner + self.shortcut(x))


class ClickNet(nn.Module):
    """The channels of `inputs.channels` (B, 6, z, y, x) to logits (B, 1, z, y, x).

    Sides are multiples of 16; the network learned on windows of 64.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        before = (8 * INPUTS, *widths[:-1])
        self.encoder = nn.ModuleList(_Residual(a, b) for a, b in zip(before, widths, strict=True))
        coarser = widths[:0:-1]
        finer = widths[-2::-1]
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(a, b, 2, 2) for a, b in zip(coarser, finer, strict=True)
        )
        self.decoder = nn.ModuleList(_Residual(2 * b, b) for b in finer)
        self.head = nn.Conv3d(widths[0], 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skips = to_depth(x), []
        for number, stage in enumerate(self.encoder):
            x = stage(nn.functional.max_pool3d(x, 2) if number else x)
            skips.append(x)
        for up, stage, skip in zip(self.up, self.decoder, skips[-2::-1], strict=True):
            x = stage(torch.cat([up(x), skip], 1))
        return to_space(cast(Tensor, self.head(x)))
