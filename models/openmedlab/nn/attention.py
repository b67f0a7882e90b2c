"""Attention of ViT encoders over a grid whose window sticks out into padding.

The padding of a window is not masked in SAM: every padded token takes part with
the same key and value, the biases of the projection. Where the relative-position
score of those tokens can be summed in closed form, they act as one further key
with its own score, so only the real tokens are ever computed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split (B, N, 3 * width), ordered q | k | v, into three (B, heads, N, head width)."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return q, k, v


def relative_table(table: Tensor, queries: int, keys: int, window: int) -> Tensor:
    """Return (queries, keys, head width): row i, column z is ``table[i - z + window - 1]``."""
    i = torch.arange(queries, device=table.device)[:, None]
    z = torch.arange(keys, device=table.device)[None]
    return table[i - z + window - 1]


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Return softmax(q k / sqrt(head width) + bias) v as (B, N, heads * head width).

    q is (B, heads, N, head width), k and v (B, heads, M, head width), bias (B, heads, N, M).
    """
    attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
    return attended.transpose(1, 2).flatten(2)


def with_padding(
    k: Tensor, v: Tensor, bias: Tensor, pad_k: Tensor, pad_v: Tensor, pad_bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Append the one key that stands for all padded tokens.

    ``pad_k`` and ``pad_v`` are (heads, head width), ``pad_bias`` (B, heads, N): the
    logarithm of the sum of exp(relative-position score) over the padded tokens.
    """
    keys = torch.cat([k, pad_k[None, :, None].expand(k.shape[0], -1, -1, -1)], 2)
    values = torch.cat([v, pad_v[None, :, None].expand(v.shape[0], -1, -1, -1)], 2)
    return keys, values, torch.cat([bias, pad_bias[..., None]], -1)
