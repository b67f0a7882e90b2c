"""MedLSAM behind the targets of the reference cases.

The published code chooses slices by the ground truth; only here that is done too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from openmedlab.core import CancelToken, ExtremePoints, Localization, Progress, Volume
from openmedlab.engine.cache import EncodingCache
from openmedlab.engine.interaction import answer_prompts
from openmedlab.medlam import procedure
from openmedlab.medlam.conformance import localized, volume_of
from openmedlab.medlsam.boxes import corners, slice_boxes
from openmedlab.medlsam.paper import (
    PaperScene,
    PaperSlices,
    clipped_range,
    frame_box,
    stretched,
)
from openmedlab.nn.conformance import Array, Arrays, Target, tensor
from openmedlab.nn.fill import fill_by_name
from openmedlab.sam.network import build_network
from openmedlab.sam.predictor import decode

Z, SIZE = 0, 1024


def targets(build: dict[str, Any]) -> dict[str, Target]:
    """Return every target of the cases, weights filled by name; ``build`` is empty."""
    made = _Targets()
    names = [n for n in dir(made) if not n.startswith("_")]
    return {n: torch.inference_mode()(getattr(made, n)) for n in names}


@cache
def _model() -> PaperSlices:
    network = build_network("vit_b").eval()
    fill_by_name(network)
    return PaperSlices(network, "cpu", "filled", propagate=False)


@cache
def _embeddings() -> EncodingCache:
    return EncodingCache()


def _scene(volume: Volume) -> Any:
    """Return the slices encoded so far; several cases look at one scan."""
    region = volume.geometry.region
    encoding = _embeddings().encode(_model(), volume, region, Progress(), CancelToken())
    return encoding.data


def _kept(label: Array, numbers: list[int], low: float, high: float, threshold: int) -> list[int]:
    """Return the slices with more than ``threshold`` voxels of the labels."""
    voxels = np.isin(label, numbers).sum((1, 2))
    slices = range(max(int(low), 0), min(int(high), len(label)))
    return [k for k in slices if voxels[k] > threshold]


def _localization(points: Array) -> Localization:
    """Return extreme points (parts, 6, 3) as a localization."""
    parts = tuple(ExtremePoints(tuple(map(tuple, p))) for p in procedure.within_box(points))
    return Localization(parts[0], 1.0, parts)


class _Targets:
    """One public method per target, arrays in and out."""

    def prepare_slices(
        self,
        volume_zyx: Array,
        label_zyx: Array,
        label_ids: list[int],
        z_min: float,
        z_max: float,
        gt_slice_threshold: int,
    ) -> Arrays:
        volume = volume_of(volume_zyx.T, np.eye(4))
        scene = PaperScene(volume, clipped_range(volume))
        found: Arrays = {}
        for k in _kept(label_zyx, label_ids, z_min, z_max, gt_slice_threshold):
            found[f"image_{k}"] = stretched(scene.picture(Z, k)[..., 0])
            onehot = functional.one_hot(tensor(label_zyx[k].astype(np.int64))).permute(2, 0, 1)
            shares = functional.interpolate(onehot[None].float(), (SIZE, SIZE), mode="bilinear")
            found[f"label_{k}"] = shares[0].argmax(0).numpy().astype(np.uint8)
        return found

    def segment(self, query_label: Array, **given: Any) -> Arrays:
        volumes = {k: v for k, v in given.items() if k.endswith(("_image", "_label"))}
        run = localized(given, volumes)
        boxes = {organ: procedure.box_corners(p) for organ, p in run.points.items()}
        low = min(float(b[0, 0, 0]) for b in boxes.values())
        high = max(float(b[-1, 1, 0]) for b in boxes.values())
        organs, threshold = given["fg_class"], given["gt_slice_threshold"]
        kept = _kept(query_label.T, organs, low, high, threshold)
        scene = _scene(run.query)
        images = {f"slice_{k}_image": stretched(scene.picture(Z, k)[..., 0]) for k in kept[:3]}
        prompts = [
            (k, frame_box((x0, y0, x1, y1), run.query.shape[1:]))
            for organ in sorted(boxes)
            for (z0, y0, x0), (z1, y1, x1) in boxes[organ].tolist()
            for k in kept
            if z0 <= k <= z1
        ]
        return {
            "slices_kept": np.array(kept),
            "prompt_slice": np.array([k for k, _ in prompts]),
            "prompt_box": np.array([box for _, box in prompts], np.float32),
            **images,
            **{f"c{organ}_mask": self._mask(run.query, p, kept) for organ, p in run.points.items()},
        }

    def _mask(self, query: Volume, points: Array, kept: list[int]) -> Array:
        """Segment the slices kept, each with its box."""
        slabs = corners(_localization(points), query.geometry)
        boxes = [box for k, box in slice_boxes(slabs, Z).items() if k in kept]
        patch = answer_prompts(_model(), query, boxes, cache=_embeddings())
        mask = np.zeros(query.shape, bool)
        mask[patch.region.slices] = patch.mask
        return mask

    def sam_prompts(
        self, query_image: Array, affine: Any, prompts: list[Mapping[str, Any]], **_: Any
    ) -> Arrays:
        scene = _scene(volume_of(query_image, affine))
        found: Arrays = {}
        for j, prompt in enumerate(prompts):
            embedding = _model()._embedding(scene, (Z, prompt["slice"]))
            box = torch.tensor([prompt["box_xyxy_1024"]])
            logits, scores = decode(_model()._run.network, embedding, boxes=box, multimask=False)
            found |= {f"prompt{j}_logits": logits.numpy(), f"prompt{j}_iou": scores.numpy()}
            found[f"slice_{prompt['slice']}_embedding"] = embedding[:, ::8, ::5, ::5].numpy()
        return found
