"""Shifted-window attention over volumes, as PCT-Net has it (Liu et al., Swin, 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 6
MASKED = -100.0


class WindowAttention(nn.Module):
    """Attention inside windows of ``side``^3 tokens with a relative-position bias.

    The published index folds offsets with strides 3 w - 1 and 2 w - 1, so several
    offsets share a row of the table; checkpoints depend on it.
    """

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        table = torch.zeros((2 * side - 1) ** 3, heads)
        self.relative_position_bias_table = nn.Parameter(table)
        self.register_buffer("relative_position_index", _index(side))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows (B, windows, tokens, width); ``mask`` (windows, tokens, tokens)."""
        bias = self.relative_position_bias_table[self.relative_position_index].movedim(-1, 0)
        if mask is not None:
            bias = bias + mask[:, None]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        attended: Tensor = self.proj(y.transpose(2, 3).flatten(3))
        return attended


class SwinBlock(nn.Module):
    """Window attention and an MLP, each with a residual: (B, z, y, x, width)."""

    def __init__(self, width: int, heads: int, side: int, shift: int) -> None:
        super().__init__()
        self.side, self.shift = side, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, side)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(width, 4 * width))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y

    def _attend(self, x: Tensor) -> Tensor:
        grid, axes = x.shape[1:4], (1, 2, 3)
        lacking = [-n % self.side for n in grid]
        x = functional.pad(x, [0, 0, *(p for n in reversed(lacking) for p in (0, n))])
        padded, mask = x.shape[1:4], None
        if self.shift:
            x = x.roll([-self.shift] * 3, axes)
            mask = _shift_mask(padded, self.side, self.shift).to(x)
        x = _from_windows(self.attn(_windows(x, self.side), mask), padded, self.side)
        if self.shift:
            x = x.roll([self.shift] * 3, axes)
        return x[:, : grid[0], : grid[1], : grid[2]]


class SwinStage(nn.Module):
    """Two blocks, the second shifted: (B, width, z, y, x) -> same.

    On a grid (the one it was made for) with a side of 6 or less, the window shrinks to
    that side and nothing is shifted.
    """

    def __init__(self, width: int, heads: int, grid: Sequence[int]) -> None:
        super().__init__()
        side = min(WINDOW, *grid)
        shift = 0 if min(grid) <= WINDOW else WINDOW // 2
        self.blocks = nn.Sequential(
            SwinBlock(width, heads, side, 0), SwinBlock(width, heads, side, shift)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x.movedim(1, -1))
        return y.movedim(-1, 1)


def _index(side: int) -> Tensor:
    axis = torch.arange(side)
    tokens = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
    offset = tokens[:, :, None] - tokens[:, None] + side - 1
    return offset[0] * (3 * side - 1) + offset[1] * (2 * side - 1) + offset[2]


def _windows(x: Tensor, side: int) -> Tensor:
    """Cut (B, z, y, x, width) into (B, windows, side^3, width)."""
    cut = x.unflatten(3, (-1, side)).unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return cut.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def _from_windows(windows: Tensor, grid: Sequence[int], side: int) -> Tensor:
    counts = [n // side for n in grid]
    cut = windows.unflatten(2, (side,) * 3).unflatten(1, counts)
    joined = cut.permute(0, 1, 4, 2, 5, 3, 6, 7)
    return joined.reshape(len(windows), *grid, windows.shape[-1])


def _shift_mask(grid: Sequence[int], side: int, shift: int) -> Tensor:
    """Return (windows, tokens, tokens): 0 between neighbours, -100 across the rolled edge."""
    part = [
        torch.bucketize(torch.arange(n), torch.tensor([n - side, n - shift]), right=True)
        for n in grid
    ]
    z, y, x = part
    region = z[:, None, None] * 9 + y[:, None] * 3 + x
    tokens = _windows(region[None, ..., None], side)[0, ..., 0]
    return (tokens[:, None] != tokens[:, :, None]) * MASKED
