"""SAM-Med2D's image encoder: SAM's ViT-B over 16x16 patches with an adapter in every block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmedlab.nn.attention import attend, relative_table, split_heads, with_padding
from openmedlab.nn.layers import FeedForward, neck


class Attention(nn.Module):
    """Attention inside windows of S x S tokens, or of the whole grid where S is its side.

    The grid is cut into windows from its first corner; the last of each row and
    column stick out. Their padding takes part unmasked, so it counts here as one
    key whose score is the sum over the padded positions (`padding_score`).
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.rel_pos_h = nn.Parameter(torch.empty(2 * window - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.empty(2 * window - 1, width // heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, rows, columns, width) to the same shape."""
        qkv = self.qkv(x)
        out = torch.empty_like(x, dtype=qkv.dtype)
        for rows, columns in self._windows(x.shape[1], x.shape[2]):
            out[:, rows, columns] = self._attend(qkv[:, rows, columns])
        y: Tensor = self.proj(out)
        return y

    def _windows(self, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
        for top in range(0, rows, self.window):
            for left in range(0, columns, self.window):
                yield (
                    slice(top, min(top + self.window, rows)),
                    slice(left, min(left + self.window, columns)),
                )

    def _attend(self, qkv: Tensor) -> Tensor:
        """Attend within the real tokens (B, r, c, 3 * width) of one window: (B, r, c, width)."""
        r, c = qkv.shape[1:3]
        q, k, v = split_heads(qkv.flatten(1, 2), self.heads)
        _, pad_k, pad_v = self.qkv.bias.unflatten(0, (3, self.heads, -1))
        grid = q.unflatten(2, (r, c))
        size = self.window
        by_row = torch.einsum(
            "bhyxc,ykc->bhyxk", grid, relative_table(self.rel_pos_h, r, size, size)
        )
        by_column = torch.einsum(
            "bhyxc,xkc->bhyxk", grid, relative_table(self.rel_pos_w, c, size, size)
        )
        real = by_row[..., :r, None] + by_column[..., None, :c]
        bias = real.flatten(4).flatten(2, 3)
        if (r, c) != (size, size):
            score = padding_score(by_row, by_column, r, c).flatten(2)
            k, v, bias = with_padding(k, v, bias, pad_k, pad_v, score)
        return attend(q, k, v, bias).unflatten(1, (r, c))


def padding_score(by_row: Tensor, by_column: Tensor, r: int, c: int) -> Tensor:
    """Return log sum exp of the relative-position score over the padded keys of a window.

    The scores by key row and key column, (B, heads, r, c, S) each, add up; the
    padding is every position whose row is at least r or whose column is at least c.
    """
    h, w = by_row.float(), by_column.float()
    below = h[..., r:].logsumexp(-1) + w.logsumexp(-1)
    beside = h[..., :r].logsumexp(-1) + w[..., c:].logsumexp(-1)
    return torch.logaddexp(below, beside)


class Adapter(nn.Module):
    """Gate the channels, look around at half resolution, add: (B, rows, columns, width).

    Rows and columns must be even.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.channel = nn.Sequential(
            nn.Linear(width, width // 4, bias=False),
            nn.ReLU(),
            nn.Linear(width // 4, width, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        gated = x * self.channel(x.mean((1, 2)))[:, None, None]
        around = self._around(gated.movedim(-1, 1)).movedim(1, -1)
        y: Tensor = self.norm(x + around)
        return y

    def _around(self, gated: Tensor) -> Tensor:
        """Run `spatial` on (B, width, rows, columns); in eager mode on the CPU as products.

        There torch rearranges the weights at every call, which costs more than the
        convolution of so few positions.
        """
        if gated.device.type != "cpu" or torch.jit.is_tracing():
            y: Tensor = self.spatial(gated)
            return y
        down, up = (self.spatial.get_parameter(f"{k}.weight") for k in (0, 2))
        half = functional.relu(_convolved(gated, down))
        return functional.relu(_transposed(half, up, gated.shape[2:]))


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve (B, C, h, w) with stride 2 and padding 1, kernel 3, as one matrix product."""
    columns = functional.unfold(x, 3, stride=2, padding=1)
    return (weight.flatten(1) @ columns).unflatten(-1, (x.shape[2] // 2, x.shape[3] // 2))


def _transposed(x: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
    """Convolve transposed with stride 2 and padding 1, kernel 4, as a product, to ``size``."""
    columns = weight.flatten(1).T @ x.flatten(2)
    return functional.fold(columns, tuple(size), 4, stride=2, padding=1)


class Block(nn.Module):
    """Attention, then feed-forward and adapter side by side: (B, rows, columns, width)."""

    def __init__(self, width: int, heads: int, window: int, adapter: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, window)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, 4 * width, nn.GELU())
        if adapter:
            self.Adapter = Adapter(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        m = self.norm2(x)
        x = x + self.mlp(m)
        return x + self.Adapter(m) if hasattr(self, "Adapter") else x


class PatchEmbedding(nn.Module):
    """Cut (B, 3, size, size) into squares of 16 and project them: (B, n, n, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 16, stride=16)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x)
        return y.movedim(1, -1)


class ImageEncoder(nn.Module):
    """(B, 3, size, size) normalised image -> (B, outputs, n, n) embedding, n = size / 16.

    Every third block attends globally, the others in windows of 14 x 14.
    """

    def __init__(
        self,
        size: int = 256,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        outputs: int = 256,
        window: int = 14,
        adapter: bool = True,
    ) -> None:
        super().__init__()
        n = size // 16
        self.pos_embed = nn.Parameter(torch.empty(1, n, n, width))
        self.patch_embed = PatchEmbedding(width)
        self.blocks = nn.ModuleList(
            Block(width, heads, n if k % 3 == 2 else window, adapter) for k in range(depth)
        )
        self.neck = neck(2, width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.neck(x.movedim(-1, 1))
        return y


def resize_position(embedding: Tensor, side: int) -> Tensor:
    """Resize a position embedding (1, n, n, width) to (1, side, side, width), bilinearly."""
    first = functional.interpolate(embedding.movedim(-1, 1), size=(side, side), mode="bilinear")
    return first.movedim(1, -1)


def resize_table(table: Tensor, side: int) -> Tensor:
    """Resize a relative-position table to (2 * side - 1, head width), as a bilinear image."""
    size = (2 * side - 1, table.shape[1])
    return functional.interpolate(table[None, None], size=size, mode="bilinear")[0, 0]
