"""The targets of the reference cases that every network of the SAM family has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
Target = Callable[..., Arrays]


def tensor(array: Array) -> Any:
    """Return a copy of ``array`` as a tensor."""
    import torch

    return torch.from_numpy(np.array(array))


class NetworkTargets:
    """One method per target, numpy in and out.

    Parameters
    ----------
    network
        With ``image_encoder``, ``prompt_encoder`` and ``mask_decoder``, in evaluation mode.
    """

    def __init__(self, network: Any) -> None:
        self.network = network

    def targets(self) -> dict[str, Target]:
        """Return the public methods by name, each run without gradients."""
        import torch

        names = [n for n in dir(self) if not n.startswith("_") and n not in ("targets", "network")]
        return {n: torch.inference_mode()(getattr(self, n)) for n in names}

    def image_encoder(self, x: Array) -> Arrays:
        return {"y": self.network.image_encoder(tensor(x)).numpy()}

    def image_encoder_trace(self, x: Array) -> Arrays:
        encoder, trace = self.network.image_encoder, {}
        y = trace["patch"] = encoder.patch_embed(tensor(x))
        y = trace["patch_pos"] = y + encoder.pos_embed
        for k, block in enumerate(encoder.blocks):
            y = trace[f"block{k}"] = block(y)
        y = y.movedim(-1, 1)
        for k, layer in enumerate(encoder.neck):
            y = trace[f"neck{k}"] = layer(y)
        return {name: value.numpy() for name, value in trace.items()}

    def encoder_block(self, x: Array, index: int) -> Arrays:
        return {"y": self.network.image_encoder.blocks[index](tensor(x)).numpy()}

    def neck(self, x: Array) -> Arrays:
        return {"y": self.network.image_encoder.neck(tensor(x)).numpy()}

    def prompt_encoder(
        self,
        points: Array | None = None,
        labels: Array | None = None,
        boxes: Array | None = None,
        masks: Array | None = None,
    ) -> Arrays:
        given = (None if a is None else tensor(a) for a in (points, labels, boxes, masks))
        sparse, dense = self.network.prompt_encoder(*given)
        return {"sparse": sparse.numpy(), "dense": dense.numpy()}

    def dense_pe(self) -> Arrays:
        return {"pe": self._dense_encoding().numpy()}

    def mask_decoder(
        self, image_embeddings: Array, sparse: Array, dense: Array, multimask: bool
    ) -> Arrays:
        low, iou = self.network.mask_decoder(
            tensor(image_embeddings),
            self._dense_encoding(),
            tensor(sparse),
            tensor(dense),
            multimask,
        )
        return {"low_res": low.numpy(), "iou": iou.numpy()}

    def output_upscaling(self, x: Array) -> Arrays:
        return {"y": self.network.mask_decoder.output_upscaling(tensor(x)).numpy()}

    def two_way_transformer(self, image_embedding: Array, image_pe: Array, tokens: Array) -> Arrays:
        transformer = self.network.mask_decoder.transformer
        queries, keys = transformer(tensor(image_embedding), tensor(image_pe), tensor(tokens))
        return {"queries": queries.numpy(), "keys": keys.numpy()}

    def _dense_encoding(self) -> Any:
        return self.network.prompt_encoder.dense_encoding()
