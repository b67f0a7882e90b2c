"""The STU-Net family: a residual 3-D U-Net whose weights transfer between data sets.

Huang Z. et al., STU-Net (2023), arXiv 2304.06716, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Factors = tuple[int, int, int]

STRIDES: tuple[Factors, ...] = ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 1, 2))
OUTPUTS = 105


@dataclass(frozen=True)
class Size:
    """Blocks per stage and channels of the six stages."""

    blocks: int
    widths: tuple[int, ...]


SIZES = {
    "small": Size(1, (16, 32, 64, 128, 256, 256)),
    "base": Size(1, (32, 64, 128, 256, 512, 512)),
    "large": Size(2, (64, 128, 256, 512, 1024, 1024)),
    "huge": Size(3, (96, 192, 384, 768, 1536, 1536)),
}


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut: (B, inputs, z, y, x) -> (B, outputs, z', y', x').

    The first block of a stage projects its shortcut, also where nothing changes in width.
    """

    def __init__(self, inputs: int, outputs: int, stride: Factors, first: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, padding=1)
        self.norm1 = nn.InstanceNorm3d(outputs, affine=True)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.InstanceNorm3d(outputs, affine=True)
        self.conv3 = nn.Conv3d(inputs, outputs, 1, stride) if first else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.leaky_relu_(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += x if self.conv3 is None else self.conv3(x)
        return functional.leaky_relu_(y)


class Upsample(nn.Module):
    """Nearest-neighbour upsampling and a 1x1x1 convolution.

    The two commute, so the convolution runs on the coarse grid.
    """

    def __init__(self, inputs: int, outputs: int, factors: Factors) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 1)
        self.factors = factors

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.conv(x), scale_factor=tuple(map(float, self.factors)))


class StuNetwork(nn.Module):
    """Image (B, inputs, z, y, x) to class logits (B, outputs, z, y, x).

    Sides must be divisible by the product of the strides (16, 16, 32 as released), with
    more than one voxel left at the bottleneck.

    Parameters
    ----------
    size
        Depth and widths.
    inputs, outputs
        Image channels, and classes with the background.
    strides
        The five downsampling factors (z, y, x); nnU-Net's ``pool_op_kernel_sizes``.
    """

    def __init__(
        self,
        size: Size,
        inputs: int = 1,
        outputs: int = OUTPUTS,
        strides: Sequence[Sequence[int]] = STRIDES,
    ) -> None:
        super().__init__()
        widths, steps = size.widths, [_factors(s) for s in strides]
        ins, firsts = (inputs, *widths[:-1]), [(1, 1, 1), *steps]
        self.conv_blocks_context = nn.ModuleList(
            _stage(size.blocks, i, o, s) for i, o, s in zip(ins, widths, firsts, strict=True)
        )
        rising = [(deep, shallow) for shallow, deep in pairwise(widths)][::-1]
        self.upsample_layers = nn.ModuleList(
            Upsample(deep, shallow, step)
            for (deep, shallow), step in zip(rising, steps[::-1], strict=True)
        )
        self.conv_blocks_localization = nn.ModuleList(
            _stage(size.blocks, 2 * shallow, shallow, (1, 1, 1)) for _, shallow in rising
        )
        self.seg_outputs = nn.ModuleList(nn.Conv3d(shallow, outputs, 1) for _, shallow in rising)
        self.strides = steps

    def decoded(self, x: Tensor) -> list[Tensor]:
        """Return the decoder's feature maps, coarsest first; the last has the image's grid."""
        skips = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            skips.append(x)
        skips.pop()
        maps = []
        for up, stage in zip(self.upsample_layers, self.conv_blocks_localization, strict=True):
            x = stage(torch.cat([up(x), skips.pop()], 1))
            maps.append(x)
        return maps

    def features(self, x: Tensor) -> Tensor:
        """Return what `head` turns into logits: (B, widths[0], z, y, x)."""
        return self.decoded(x)[-1]

    @property
    def head(self) -> nn.Conv3d:
        """The 1x1x1 convolution from `features` to logits."""
        head = self.seg_outputs[-1]
        assert isinstance(head, nn.Conv3d)
        return head

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits

    def deep_supervision(self, x: Tensor) -> list[Tensor]:
        """Return the logits of all five heads, full resolution first."""
        pairs = zip(self.seg_outputs, self.decoded(x), strict=True)
        return [head(feature) for head, feature in pairs][::-1]


def build_network(size: str, classes: int = OUTPUTS) -> StuNetwork:
    """Return the released network: one channel, 105 outputs unless told otherwise.

    Parameters
    ----------
    size
        ``"small"``, ``"base"``, ``"large"`` or ``"huge"``.
    classes
        Outputs with the background.
    """
    return StuNetwork(SIZES[size], outputs=classes)


def five_strides(strides: Sequence[Sequence[int]]) -> list[Factors]:
    """Return a plan's pooling factors as STU-Net takes them: cut or filled up to five."""
    return [_factors(s) for s in [*strides, *[(1, 1, 1)] * 5][:5]]


def _stage(blocks: int, inputs: int, outputs: int, stride: Factors) -> nn.Sequential:
    first = ResidualBlock(inputs, outputs, stride, first=True)
    rest = [ResidualBlock(outputs, outputs, (1, 1, 1), first=False) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def _factors(values: Sequence[int]) -> Factors:
    z, y, x = (int(v) for v in values)
    return z, y, x
