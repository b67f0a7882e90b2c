"""SAM-Med3D's image encoder: a ViT over 8^3 patches, exact without ever computing its padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from openmedlab.nn.attention import attend, relative_table, split_heads, with_padding
from openmedlab.nn.layers import FeedForward, neck


class RelativePosition(nn.Module):
    """Base that holds the three relative-position tables, each (2 * window - 1, head width).

    The published network looks all three up by the *third* coordinate of the key,
    and takes the second and third query from other places. The score of query
    (i, j, l) with key (x, y, z) gets::

        q(i, j, l) . D[i - z]  +  q(i, j, x) . H[j - z]  +  q(i, j, y) . W[y - z]
    """

    def __init__(self, head_width: int, window: int) -> None:
        super().__init__()
        self.window = window
        shape = (2 * window - 1, head_width)
        self.rel_pos_d = nn.Parameter(torch.empty(shape))
        self.rel_pos_h = nn.Parameter(torch.empty(shape))
        self.rel_pos_w = nn.Parameter(torch.empty(shape))

    def terms(self, q: Tensor, pad_q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three terms, keys running over the whole window of S = ``window``.

        Parameters
        ----------
        q
            (B, heads, n, n, n, head width), unscaled queries of the real tokens.
        pad_q
            (heads, head width), the query of every padded token.

        Returns
        -------
        a, b, c
            a[i, j, l, z], b[i, j, x, z] and c[i, j, y, z], each (B, heads, n, n, n or S, S).
        """
        n, size = q.shape[2], self.window
        padding = pad_q[:, None, None, None].expand(*q.shape[:4], size - n, -1)
        line = torch.cat([q, padding], 4)
        d = relative_table(self.rel_pos_d, n, size, size)
        h = relative_table(self.rel_pos_h, n, size, size)
        w = relative_table(self.rel_pos_w, size, size, size)
        a = torch.einsum("bhijlc,izc->bhijlz", q, d)
        b = torch.einsum("bhijxc,jzc->bhijxz", line, h)
        c = torch.einsum("bhijyc,yzc->bhijyz", line, w)
        return a, b, c


class Attention(RelativePosition):
    """Attention of an n^3 grid inside one window of S^3 positions, S >= n.

    Only real tokens are computed. For a fixed z the relative-position score of a
    padded key is a sum of a function of x and one of y, so its exponentials sum
    over the padding as products of two short sums; see `padding_score`.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__(width // heads, window)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n, n, n, width) to the same shape."""
        batch, n = x.shape[:2]
        q, k, v = split_heads(self.qkv(x.flatten(1, 3)), self.heads)
        pad_q, pad_k, pad_v = self.qkv.bias.unflatten(0, (3, self.heads, -1))
        a, b, c = self.terms(q.unflatten(2, (n, n, n)), pad_q)
        real = a[..., None, None, :n] + b[..., None, :n, None, :n] + c[..., None, None, :n, :n]
        bias = real.flatten(5).flatten(2, 4)
        if n < self.window:
            k, v, bias = with_padding(
                k, v, bias, pad_k, pad_v, padding_score(a, b, c, n).flatten(2)
            )
        y: Tensor = self.proj(attend(q, k, v, bias))
        return y.view(batch, n, n, n, -1)


def padding_score(a: Tensor, b: Tensor, c: Tensor, n: int) -> Tensor:
    """Return log sum exp of the relative-position score over the padded keys of a window.

    A key (x, y, z) is padded when x, y or z is at least n. Where z is, all (x, y)
    count; where it is not, those with a padded x and any y, or a real x and a padded y.

    Parameters
    ----------
    a, b, c
        The three terms of `RelativePosition.terms`.
    n
        Real positions along each axis.

    Returns
    -------
    Tensor
        (B, heads, n, n, n): one score for each query (i, j, l).
    """
    b, c = b.float(), c.float()
    b_real, b_pad = b[..., :n, :].logsumexp(-2), b[..., n:, :].logsumexp(-2)
    c_all, c_pad = c.logsumexp(-2), c[..., n:, :].logsumexp(-2)
    front = torch.logaddexp(b_pad + c_all, b_real + c_pad)[..., :n]
    behind = (torch.logaddexp(b_real, b_pad) + c_all)[..., n:]
    return (a.float() + torch.cat([front, behind], -1)[..., None, :]).logsumexp(-1)


class Block(nn.Module):
    """Attention and feed-forward, each after a LayerNorm and added: (B, n, n, n, width)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, window)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, 4 * width, nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class PatchEmbedding(nn.Module):
    """Cut (B, 1, size^3) into cubes of ``patch`` and project them: (B, n, n, n, width)."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x)
        return y.movedim(1, -1)


class ImageEncoder(nn.Module):
    """(B, 1, size^3) normalised image -> (B, outputs, n^3) embedding, n = size / patch.

    Every third block attends globally (a window of n^3); the others inside a
    window of 14^3, into which the grid is padded at the end of each axis.
    """

    def __init__(
        self,
        size: int = 128,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        outputs: int = 384,
        window: int = 14,
    ) -> None:
        super().__init__()
        n = size // patch
        self.pos_embed = nn.Parameter(torch.empty(1, n, n, n, width))
        self.patch_embed = PatchEmbedding(width, patch)
        self.blocks = nn.ModuleList(
            Block(width, heads, n if k % 3 == 2 else window) for k in range(depth)
        )
        self.neck = neck(3, width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.neck(x.movedim(-1, 1))
        return y
