"""stub"""

from typing import Any

from torch import Tensor


def decode(
    network: Any,
    embedding: Tensor,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    boxes: Tensor | None = None,
    masks: Tensor | None = None,
    multimask: bool = True,
) -> tuple[Tensor, Tensor]:
    clicks = None if points is None else (points, labels)
    sparse, dense = network.prompt_encoder(clicks, boxes, masks)
    encoding = network.prompt_encoder.get_dense_pe()
    logits, scores = network.mask_decoder(embedding, encoding, sparse, dense, multimask)
    return logits, scores
