"""Prompts to tokens: the prompt encoder of SAM, for planes and volumes.

Kirillov et al., Segment Anything (2023), appendix A; SAM-Med3D uses the same with three axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmedlab.nn.layers import CONVOLUTION, ChannelNorm


class FourierEncoding(nn.Module):
    """Random Fourier features of normalised coordinates.

    The sines and cosines of 128 random projections follow each other, repeated
    and cut off at ``width``: 256 is [sin | cos], 384 is [sin | cos | sin].
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dimensions: int, width: int, frequencies: int = 128) -> None:
        super().__init__()
        matrix = torch.empty(dimensions, frequencies)
        self.register_buffer("positional_encoding_gaussian_matrix", matrix)
        self.width = width

    def forward(self, points: Tensor) -> Tensor:
        """Encode ``points`` (..., dimensions) in [0, 1] as (..., width)."""
        angles = 2 * math.pi * ((2 * points - 1) @ self.positional_encoding_gaussian_matrix)
        sine, cosine = angles.sin(), angles.cos()
        return torch.cat([sine, cosine, sine], -1)[..., : self.width]


class PromptEncoder(nn.Module):
    """Points, boxes and a mask to sparse tokens and a dense map.

    Parameters
    ----------
    dimensions
        2 or 3.
    width
        Channels of tokens and map.
    grid
        Cells of the image embedding along each axis; a mask prompt has four times as many.
    size
        Pixels of the network's input along each axis.
    kinds
        Learned point kinds: negative, positive and, where boxes are known, their two corners.
    """

    def __init__(self, dimensions: int, width: int, grid: int, size: int, kinds: int) -> None:
        super().__init__()
        conv = CONVOLUTION[dimensions]
        self.dimensions, self.width, self.grid, self.size = dimensions, width, grid, size
        self.pe_layer = FourierEncoding(dimensions, width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(kinds))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            conv(1, 4, 2, stride=2),
            ChannelNorm(4),
            nn.GELU(),
            conv(4, 16, 2, stride=2),
            ChannelNorm(16),
            nn.GELU(),
            conv(16, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def dense_encoding(self) -> Tensor:
        """Return the encoding of the grid's cells, (1, width, grid, ...).

        The first two axes are exchanged against the points': in a plane that makes
        (x, y) of (row, column); in a volume it is a slip that the weights expect.
        """
        centre = (torch.arange(self.grid, device=self._device) + 0.5) / self.grid
        axes = list(torch.meshgrid(*[centre] * self.dimensions, indexing="ij"))
        axes[0], axes[1] = axes[1], axes[0]
        return self.pe_layer(torch.stack(axes, -1)).movedim(-1, 0)[None]

    def forward(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode the prompts of B objects.

        Parameters
        ----------
        points, labels
            (B, N, dimensions) input pixels and (B, N): 1 in the object, 0 not, -1 padding.
        boxes
            (B, 2 * dimensions): first corner, second corner.
        masks
            (B, 1, 4 * grid, ...).

        Returns
        -------
        sparse, dense
            (B, M, width), (B, width, grid, ...).
        """
        given = next((t for t in (points, boxes, masks) if t is not None), None)
        batch = 1 if given is None else given.shape[0]
        tokens = [torch.zeros(batch, 0, self.width, device=self._device)]
        if points is not None and labels is not None:
            tokens.append(self._points(points, labels, pad=boxes is None))
        if boxes is not None:
            tokens.append(self._corners(boxes))
        return torch.cat(tokens, 1), self._dense(masks, batch)

    def _points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        if pad:
            points = functional.pad(points, (0, 0, 0, 1))
            labels = functional.pad(labels, (0, 1), value=-1)
        tokens = self.pe_layer((points + 0.5) / self.size)
        kind = labels[..., None]
        tokens = torch.where(kind == -1, self.not_a_point_embed.weight, tokens)
        return tokens + (kind == 0) * self._kind(0) + (kind == 1) * self._kind(1)

    def _corners(self, boxes: Tensor) -> Tensor:
        corners = self.pe_layer((boxes.unflatten(-1, (2, self.dimensions)) + 0.5) / self.size)
        return corners + torch.cat([self._kind(2), self._kind(3)])

    def _kind(self, number: int) -> Tensor:
        embedding = self.point_embeddings[number]
        assert isinstance(embedding, nn.Embedding)
        return embedding.weight

    def _dense(self, masks: Tensor | None, batch: int) -> Tensor:
        if masks is not None:
            y: Tensor = self.mask_downscaling(masks)
            return y
        ones = (1,) * self.dimensions
        empty = self.no_mask_embed.weight.view(1, self.width, *ones)
        return empty.expand(batch, -1, *(self.grid,) * self.dimensions)

    @property
    def _device(self) -> torch.device:
        return self.no_mask_embed.weight.device
