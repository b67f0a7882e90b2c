"""Tokens and image embedding to masks: SAM's two-way transformer and mask decoder.

Kirillov et al., Segment Anything (2023), appendix A.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmedlab.nn.layers import TRANSPOSED, ChannelNorm, FeedForward, Perceptron

MASKS = 4


class Attention(nn.Module):
    """Multi-head attention with separate projections: (B, N, width), (B, M, width) -> like q."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self._split(x) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        attended = functional.scaled_dot_product_attention(q, k, v)
        y: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return y

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, then the image to the tokens."""

    def __init__(self, width: int, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width, heads, width)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, width // 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, hidden, nn.ReLU())
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, width // 2)

    def forward(self, t: Tensor, s: Tensor, t0: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Advance tokens ``t`` (B, M, width) and image ``s`` (B, cells, width).

        ``t0`` and ``p`` are their positional terms. The first block's self-attention
        has neither positional term nor residual.
        """
        if self.first:
            t = self.norm1(self.self_attn(t, t, t))
        else:
            t = self.norm1(t + self.self_attn(t + t0, t + t0, t))
        t = self.norm2(t + self.cross_attn_token_to_image(t + t0, s + p, s))
        t = self.norm3(t + self.mlp(t))
        s = self.norm4(s + self.cross_attn_image_to_token(s + p, t + t0, t))
        return t, s


class TwoWayTransformer(nn.Module):
    """Two `TwoWayBlock`s and a last look of the tokens at the image."""

    def __init__(self, width: int, heads: int = 8, hidden: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(width, heads, hidden, first=k == 0) for k in range(2)
        )
        self.final_attn_token_to_image = Attention(width, heads, width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, image: Tensor, encoding: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (B, M, width) and image (B, cells, width).

        ``image`` and its positional ``encoding`` are (B, width, grid); ``tokens`` (B, M, width).
        """
        s, p = image.flatten(2).transpose(1, 2), encoding.flatten(2).transpose(1, 2)
        t = tokens
        for layer in self.layers:
            t, s = layer(t, s, tokens, p)
        seen = self.final_attn_token_to_image(t + tokens, s + p, s)
        return self.norm_final_attn(t + seen), s


class MaskDecoder(nn.Module):
    """Four mask logits at four times the grid's resolution, and a quality score for each."""

    def __init__(self, dimensions: int, width: int, score_hidden: int = 256) -> None:
        super().__init__()
        transposed = TRANSPOSED[dimensions]
        self.transformer = TwoWayTransformer(width)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASKS, width)
        self.output_upscaling = nn.Sequential(
            transposed(width, width // 4, 2, stride=2),
            ChannelNorm(width // 4),
            nn.GELU(),
            transposed(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Perceptron(width, width, width // 8) for _ in range(MASKS)
        )
        self.iou_prediction_head = Perceptron(width, score_hidden, MASKS)

    def forward(
        self, image: Tensor, encoding: Tensor, sparse: Tensor, dense: Tensor, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompt sets over B images, or over one.

        Parameters
        ----------
        image
            Embedding (B or 1, width, grid).
        encoding
            Of the grid's cells, (1, width, grid).
        sparse, dense
            The prompt encoder's output, (B, M, width) and (B, width, grid).
        multimask
            True for masks 1 to 3 (parts, object, whole), False for mask 0.

        Returns
        -------
        logits, scores
            (B, 3 or 1, 4 * grid, ...), (B, 3 or 1).
        """
        batch = sparse.shape[0]
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(batch, -1, -1), sparse], 1)
        t, s = self.transformer(image + dense, encoding, tokens)
        upscaled = self.output_upscaling(s.transpose(1, 2).unflatten(-1, image.shape[2:]))
        chosen = range(1, MASKS) if multimask else range(1)
        hyper = torch.stack([self.output_hypernetworks_mlps[k](t[:, 1 + k]) for k in chosen], 1)
        logits = (hyper @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[2:])
        scores = self.iou_prediction_head(t[:, 0])
        return logits, scores[:, chosen.start : chosen.stop]
