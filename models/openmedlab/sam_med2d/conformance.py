"""SAM-Med2D behind the targets of the reference cases."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from openmedlab.nn.conformance import Array, Arrays, NetworkTargets, Target, tensor


def targets(build: dict[str, Any]) -> dict[str, Target]:
    """Return every target of the cases, weights filled by name.

    Parameters
    ----------
    build
        ``{"encoder_adapter": False}`` for the variant without adapters.
    """
    return _Targets(_network(build.get("encoder_adapter", True))).targets()


@cache
def _network(adapter: bool) -> Any:
    from openmedlab.nn.fill import fill_by_name
    from openmedlab.sam_med2d.network import build_network

    network = build_network(adapter).eval()
    fill_by_name(network)
    return network


class _Targets(NetworkTargets):
    def adapter_layer(self, x: Array, index: int) -> Arrays:
        return {"y": self.network.image_encoder.blocks[index].Adapter(tensor(x)).numpy()}

    def preprocess_predictor(self, image: Array, image_format: str = "RGB") -> Arrays:
        from openmedlab.sam_med2d.transform import to_input

        return {"x": to_input(_rgb(image, image_format)).numpy()}

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
        from openmedlab.sam_med2d.transform import to_frame, to_image, to_input

        shape = image.shape[:2]
        low, score = self.network.decode(
            self.network.image_encoder(to_input(_rgb(image, image_format))),
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
            "iou": score[0].numpy(),
            "low_res": low[0].numpy(),
        }

    def predict_boxes(self, image: Array, boxes: Array) -> Arrays:
        answers = [self.predict(image, box=box) for box in boxes]
        return {
            "logits": np.stack([a["logits"] for a in answers]),
            "iou_last": answers[-1]["iou"][None],
            "low_res_last": answers[-1]["low_res"][None],
        }

    def dataset_eval(
        self,
        image: Array,
        boxes: Array | None = None,
        point_coords: Array | None = None,
        point_labels: Array | None = None,
        mask_inputs: Array | None = None,
        multimask: bool = True,
    ) -> Arrays:
        from openmedlab.sam_med2d.evaluation import padded_input, unpadded

        x = padded_input(image)
        low, score = self.network.decode(
            self.network.image_encoder(x),
            None if point_coords is None else tensor(point_coords),
            None if point_labels is None else tensor(point_labels),
            None if boxes is None else tensor(boxes.reshape(1, 4)),
            None if mask_inputs is None else tensor(mask_inputs),
            multimask,
        )
        logits = unpadded(low, image.shape[:2])
        return {
            "x": x.numpy(),
            "low_res": low.numpy(),
            "iou": score.numpy(),
            "logits": logits.numpy(),
        }

    def boxes_from_mask(self, mask: Array) -> Arrays:
        from openmedlab.sam_med2d.evaluation import box_of_mask

        return {"boxes": box_of_mask(mask)}

    def click_sampling(self, pred: Array, gt: Array, point_num: int, numpy_seed: int) -> Arrays:
        from openmedlab.sam_med2d.evaluation import draw_clicks

        stream = np.random.RandomState(numpy_seed)
        drawn = [
            draw_clicks(p, g, point_num, stream) for p, g in zip(pred[:, 0], gt[:, 0], strict=True)
        ]
        points, labels = zip(*drawn, strict=True)
        return {"points": np.stack(points), "labels": np.stack(labels)}

    def adapt_sam_checkpoint(self, keys: list[str]) -> Arrays:
        import torch

        from openmedlab.nn.fill import named_values
        from openmedlab.sam_med2d.network import GLOBAL_BLOCKS, adapt_sam_weights

        shapes: dict[str, tuple[int, ...]] = {"image_encoder.pos_embed": (1, 64, 64, 768)}
        for block in range(12):
            side = 127 if block in GLOBAL_BLOCKS else 27
            for axis in "hw":
                shapes[f"image_encoder.blocks.{block}.attn.rel_pos_{axis}"] = (side, 64)
        original = {k: torch.from_numpy(named_values(k, s)) for k, s in shapes.items()}
        adapted = adapt_sam_weights(original)
        return {k: adapted[k].numpy() for k in keys}


def _rgb(image: Array, order: str) -> Array:
    return image if order == "RGB" else image[..., ::-1]
