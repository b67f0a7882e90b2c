"""SAM ViT-B behind the targets of the reference cases."""

from __future__ import annotations

from functools import cache
from typing import Any

from openmedlab.nn.conformance import Array, Arrays, NetworkTargets, Target, tensor


def targets(build: dict[str, Any]) -> dict[str, Target]:
    """Return every target of the cases, weights filled by name.

    Parameters
    ----------
    build
        Empty: the cases are made with ViT-B.
    """
    return _Targets(_network()).targets()


@cache
def _network() -> Any:
    from openmedlab.nn.fill import fill_by_name
    from openmedlab.sam.network import build_network

    network = build_network("vit_b").eval()
    fill_by_name(network)
    return network


class _Targets(NetworkTargets):
    def prompt_encoder(
        self,
        points: Array | None = None,
        labels: Array | None = None,
        boxes: Array | None = None,
        masks: Array | None = None,
    ) -> Arrays:
        sparse, dense = self.network.prompt_encoder(
            None if points is None or labels is None else (tensor(points), tensor(labels)),
            None if boxes is None else tensor(boxes),
            None if masks is None else tensor(masks),
        )
        return {"sparse": sparse.numpy(), "dense": dense.numpy()}

    def preprocess(self, image: Array, image_format: str = "RGB") -> Arrays:
        from openmedlab.sam.transform import resized, to_input

        rgb = image if image_format == "RGB" else image[..., ::-1]
        return {"resized": resized(rgb)[0].permute(1, 2, 0).numpy(), "x": to_input(rgb).numpy()}

    def predict(
        self,
        image: Array,
        point_coords: Array | None = None,
        point_labels: Array | None = None,
        box: Array | None = None,
        mask_input: Array | None = None,
        image_format: str = "RGB",
        multimask: bool = True,
    ) -> Arrays:
        from openmedlab.sam.predictor import decode
        from openmedlab.sam.transform import to_frame, to_image

        shape = image.shape[:2]
        low, scores = decode(
            self.network,
            self._embedding(image, image_format),
            None if point_coords is None else to_frame(point_coords, shape)[None],
            None if point_labels is None else tensor(point_labels)[None],
            None if box is None else to_frame(box.reshape(1, 2, 2), shape).flatten(1),
            None if mask_input is None else tensor(mask_input)[None],
            multimask,
        )
        logits = to_image(low, shape)[0].numpy()
        return {
            "logits": logits,
            "mask": logits > 0,
            "iou": scores[0].numpy(),
            "low_res": low[0].numpy(),
        }

    def predict_boxes(self, image: Array, boxes: Array, multimask: bool = False) -> Arrays:
        from openmedlab.sam.predictor import decode
        from openmedlab.sam.transform import to_frame, to_image

        shape = image.shape[:2]
        corners = to_frame(boxes.reshape(-1, 2, 2), shape).flatten(1)
        embedding = self._embedding(image, "RGB")
        low, scores = decode(self.network, embedding, boxes=corners, multimask=multimask)
        return {
            "logits": to_image(low, shape).numpy(),
            "iou": scores.numpy(),
            "low_res": low.numpy(),
        }

    def _embedding(self, image: Array, image_format: str) -> Any:
        """Embed an image; the last one is remembered, as several cases share one."""
        key = (image.tobytes(), image_format)
        if _LAST.get("key") != key:
            from openmedlab.sam.transform import to_input

            rgb = image if image_format == "RGB" else image[..., ::-1]
            _LAST.update(key=key, embedding=self.network.image_encoder(to_input(rgb)))
        return _LAST["embedding"]

    def _dense_encoding(self) -> Any:
        return self.network.prompt_encoder.get_dense_pe()


_LAST: dict[str, Any] = {}
