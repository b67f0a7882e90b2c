"""SAM-Med2D's network: names and shapes of the published checkpoints.

Cheng et al., SAM-Med2D (2023): SAM's ViT-B at 256 pixels with adapters.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from openmedlab.nn.mask_decoder import MaskDecoder
from openmedlab.nn.prompt_encoder import PromptEncoder
from openmedlab.sam_med2d.encoder import ImageEncoder, resize_position, resize_table

SIZE = 256
GRID = 16
WIDTH = 256
GLOBAL_BLOCKS = (2, 5, 8, 11)
NEW_PARTS = ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")


class SamMed2DNetwork(nn.Module):
    """Image encoder, prompt encoder and mask decoder of 256 x 256 pixels."""

    def __init__(self, encoder: ImageEncoder | None = None) -> None:
        super().__init__()
        self.image_encoder = encoder or ImageEncoder()
        self.prompt_encoder = PromptEncoder(2, WIDTH, grid=GRID, size=SIZE, kinds=4)
        self.mask_decoder = MaskDecoder(2, WIDTH)

    def decode(
        self,
        embedding: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return the best mask of each prompt set and its score.

        Parameters
        ----------
        embedding
            (B or 1, 256, 16, 16).
        points, labels, boxes, masks
            (B, N, 2) as (x, y) in 256 pixels, (B, N), (B, 4), (B, 1, 64, 64) probabilities.
        multimask
            True for the best-scored of three masks, False for the single one.

        Returns
        -------
        logits, score
            (B, 1, 64, 64), (B, 1).
        """
        sparse, dense = self.prompt_encoder(points, labels, boxes, masks)
        encoding = self.prompt_encoder.dense_encoding()
        logits, scores = self.mask_decoder(embedding, encoding, sparse, dense, multimask)
        best = scores.argmax(1, keepdim=True)
        return logits.take_along_dim(best[..., None, None], 1), scores.take_along_dim(best, 1)


def build_network(adapter: bool = True) -> SamMed2DNetwork:
    """Return the network with uninitialised weights; ``adapter=False`` is the FT-SAM variant."""
    return SamMed2DNetwork(ImageEncoder(adapter=adapter))


def adapt_sam_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring original SAM ViT-B weights (1024 pixels) to the shapes of this network.

    Position embedding and the global blocks' tables are resized; the mask tokens
    and what follows them are left out, as they are trained anew.
    """
    adapted = {k: v for k, v in weights.items() if not any(part in k for part in NEW_PARTS)}
    name = "image_encoder.pos_embed"
    adapted[name] = resize_position(weights[name], GRID)
    for block in GLOBAL_BLOCKS:
        for axis in "hw":
            name = f"image_encoder.blocks.{block}.attn.rel_pos_{axis}"
            adapted[name] = resize_table(weights[name], GRID)
    return adapted
