"""Axon-Seg's published networks: nnU-Net's 3-D U-Net, with and without axial attention.

Li Z. et al., D-LMBmap, Nature Methods 20, 1593-1604 (2023); Isensee F. et al., nnU-Net, Nature
Methods 18, 203-211 (2021); Ho J. et al., Axial attention, arXiv 1912.12180 (2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (32, 64, 128, 256, 320, 320)
CLASSES = 2
HEADS = 2
HEAD_WIDTH = 8
WINDOW = (128, 128, 128)


class Unit(nn.Module):
    """3x3x3 convolution, instance norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride, padding=1)
        self.instnorm = nn.InstanceNorm3d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu_(self.instnorm(self.conv(x)))


class Stack(nn.Module):
    """Units in a row; the first may change width and grid."""

    def __init__(self, inputs: int, outputs: int, count: int, stride: int = 1) -> None:
        super().__init__()
        rest = [Unit(outputs, outputs) for _ in range(count - 1)]
        self.blocks = nn.Sequential(Unit(inputs, outputs, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


class SelfAttention(nn.Module):
    """Attention within sequences (N, length, channels), no norm and no shortcut of its own."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.to_q = nn.Linear(channels, heads * width, bias=False)
        self.to_kv = nn.Linear(channels, 2 * heads * width, bias=False)
        self.to_out = nn.Linear(heads * width, channels)

    def forward(self, x: Tensor) -> Tensor:
        count, length, _ = x.shape
        q, k, v = (
            part.view(count, length, self.heads, self.width).transpose(1, 2)
            for part in (self.to_q(x), *self.to_kv(x).chunk(2, -1))
        )
        found = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.to_out(found.transpose(1, 2).reshape(count, length, -1))
        return out


class AlongAxis(nn.Module):
    """A `SelfAttention` along one axis of (B, C, z, y, x); the other axes join the batch."""

    def __init__(self, axis: int, fn: SelfAttention) -> None:
        super().__init__()
        self.axis, self.fn = axis, fn

    def forward(self, x: Tensor) -> Tensor:
        turned = x.movedim((1, self.axis), (-1, -2))
        out: Tensor = self.fn(turned.flatten(0, 2)).view(turned.shape)
        return out.movedim((-1, -2), (1, self.axis))


class AxialAttention(nn.Module):
    """Attention along z, of that along y, of that along x."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.axial_attentions = nn.ModuleList(
            AlongAxis(axis, SelfAttention(channels, heads, width)) for axis in (2, 3, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        for attention in self.axial_attentions:
            x = attention(x)
        return x


class AxialEmbedding(nn.Module):
    """Adds what was learned for every place along z, y and x; the grid's size is fixed."""

    def __init__(self, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        z, y, x = grid
        self.param_0 = nn.Parameter(torch.zeros(1, channels, z, 1, 1))
        self.param_1 = nn.Parameter(torch.zeros(1, channels, 1, y, 1))
        self.param_2 = nn.Parameter(torch.zeros(1, channels, 1, 1, x))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.param_0 + self.param_1 + self.param_2


class AxonSegNetwork(nn.Module):
    """Normalised grey values (B, 1, z, y, x) to logits (B, 2, z, y, x): background, axon.

    Parameters
    ----------
    window
        With attention: the size (z, y, x) of every input, multiples of 32. None: no
        attention, and any multiple of 32 of at least 64.
    """

    def __init__(self, window: Sequence[int] | None = None) -> None:
        super().__init__()
        *rising, _ = levels = list(zip((1, *WIDTHS), WIDTHS, strict=False))
        self.conv_blocks_localization = nn.ModuleList(
            nn.Sequential(Stack(2 * w, w, 1), Stack(w, w, 1)) for w in WIDTHS[-2::-1]
        )
        context: list[nn.Module] = [
            Stack(i, o, 2, 1 if level == 0 else 2) for level, (i, o) in enumerate(rising)
        ]
        deep_in, deep_out = levels[-1]
        context.append(nn.Sequential(Stack(deep_in, deep_out, 1, 2), Stack(deep_out, deep_out, 1)))
        self.conv_blocks_context = nn.ModuleList(context)
        self.tu = nn.ModuleList(
            nn.ConvTranspose3d(deep, shallow, 2, 2, bias=False)
            for deep, shallow in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        )
        self.seg_outputs = nn.ModuleList(
            nn.Conv3d(w, CLASSES, 1, bias=False) for w in WIDTHS[-2::-1]
        )
        if window is not None:
            depths = range(len(WIDTHS) - 2, 0, -1)
            self.axial_embedding = nn.ModuleList(
                AxialEmbedding(WIDTHS[d], [n >> d for n in window]) for d in depths
            )
            self.axial_attention = nn.ModuleList(
                AxialAttention(WIDTHS[d], HEADS << d, HEAD_WIDTH << d) for d in depths
            )
        self.window = None if window is None else tuple(window)

    def decoded(self, x: Tensor) -> list[Tensor]:
        """Return the decoder's feature maps, coarsest first; the last has the input's grid."""
        skips = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            skips.append(x)
        skips.pop()
        maps = []
        for level, (up, stage) in enumerate(
            zip(self.tu, self.conv_blocks_localization, strict=True)
        ):
            x = up(x)
            if self.window is not None and level < len(self.axial_attention):
                x = x + self.attended(x, level)
            x = stage(torch.cat([x, skips.pop()], 1))
            maps.append(x)
        return maps

    def attended(self, x: Tensor, level: int) -> Tensor:
        """Return the attention block of a decoder level, without its shortcut."""
        out: Tensor = self.axial_attention[level](self.axial_embedding[level](x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.seg_outputs[-1](self.decoded(x)[-1])
        return logits

    def deep_supervision(self, x: Tensor) -> list[Tensor]:
        """Return the logits of all five heads, full resolution first."""
        pairs = zip(self.seg_outputs, self.decoded(x), strict=True)
        return [head(feature) for head, feature in pairs][::-1]


def build_network(attention: bool) -> AxonSegNetwork:
    """Return the released network: windows of 128 voxels a side, two classes."""
    return AxonSegNetwork(WINDOW if attention else None)
