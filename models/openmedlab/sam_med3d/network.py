"""SAM-Med3D's network: names and shapes of the published checkpoints.

Wang et al., SAM-Med3D: Towards General-purpose Segmentation Models for Volumetric
Medical Images (ECCV workshops 2024). Axes of every map are (x, y, z) of a RAS+ volume.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmedlab.nn.mask_decoder import MaskDecoder
from openmedlab.nn.prompt_encoder import PromptEncoder
from openmedlab.sam_med3d.encoder import ImageEncoder

SIZE = 128
GRID = 8
LOW = 32
WIDTH = 384


class SamMed3DNetwork(nn.Module):
    """Image encoder, prompt encoder and mask decoder of one 128^3 region."""

    def __init__(self, encoder: ImageEncoder | None = None) -> None:
        super().__init__()
        self.image_encoder = encoder or ImageEncoder()
        self.prompt_encoder = PromptEncoder(3, WIDTH, grid=GRID, size=SIZE, kinds=2)
        self.mask_decoder = MaskDecoder(3, WIDTH)

    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor, previous: Tensor) -> Tensor:
        """Return the logits (1, 1, 32, 32, 32) after one round of clicks.

        Parameters
        ----------
        embedding
            (1, 384, 8, 8, 8).
        points, labels
            All clicks so far: (1, N, 3) voxels of the region, (1, N) of 1 and 0.
        previous
            The last round's logits (1, 1, 32, 32, 32); zeros in the first round.
        """
        sparse, dense = self.prompt_encoder(points, labels, masks=previous)
        encoding = self.prompt_encoder.dense_encoding()
        logits, _ = self.mask_decoder(embedding, encoding, sparse, dense, multimask=False)
        return logits


def upsample(low: Tensor) -> Tensor:
    """Bring logits (..., 32, 32, 32) to the region's resolution (..., 128, 128, 128).

    Trilinear, one axis after the other; the axes may come in any order.
    """
    unit = torch.eye(LOW, device=low.device, dtype=low.dtype)[None]
    weights = functional.interpolate(unit, SIZE, mode="linear", align_corners=False)[0]
    for axis in (-3, -2, -1):
        low = (low.movedim(axis, -1) @ weights).movedim(-1, axis)
    return low.contiguous()


def build_network() -> SamMed3DNetwork:
    """Return the network with uninitialised weights."""
    return SamMed3DNetwork()
