"""SAM-Med3D behind the targets of the reference cases."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from openmedlab.core import Geometry, Region, Volume
from openmedlab.nn.conformance import Array, Arrays, NetworkTargets, Target, tensor
from openmedlab.sam_med3d.clicks import next_click
from openmedlab.sam_med3d.frame import SIZE, Frame, normalised, window


def targets(build: dict[str, Any]) -> dict[str, Target]:
    """Return every target of the cases, weights filled by name.

    Parameters
    ----------
    build
        ``{"no_network": True}`` for the cases that need none.
    """
    plain: dict[str, Target] = {
        "preprocess": _preprocess,
        "postprocess": _postprocess,
        "next_click": _next_click,
    }
    return plain if build.get("no_network") else {**plain, **_Targets(_network()).targets()}


@cache
def _network() -> Any:
    from openmedlab.nn.fill import fill_by_name
    from openmedlab.sam_med3d.network import build_network

    network = build_network().eval()
    fill_by_name(network)
    return network


class _Targets(NetworkTargets):
    """The targets that run the network."""

    def roi_infer(
        self,
        roi_image: Array,
        points: Array,
        labels: Array,
        prev_low_res: Array | None = None,
        newest_only: bool = False,
    ) -> Arrays:
        import torch

        from openmedlab.sam_med3d.network import LOW, upsample

        embedding = self.network.image_encoder(tensor(roi_image))
        clicks, signs = tensor(points)[None], tensor(labels)[None]
        low = torch.zeros(1, 1, LOW, LOW, LOW) if prev_low_res is None else tensor(prev_low_res)
        for k in range(len(points)):
            so_far = slice(k if newest_only else 0, k + 1)
            low = self.network.decode(embedding, clicks[:, so_far], signs[:, so_far], low)
        logits = upsample(low)
        return {
            "low_res": low.numpy(),
            "logits": logits.numpy(),
            "mask": (logits[0, 0] > 0).numpy(),
        }

    def roi_infer_no_gt(self, roi_image: Array) -> Arrays:
        middle = np.full((1, 3), SIZE / 2, np.float32)
        return self.roi_infer(roi_image, middle, np.ones(1, np.int64))

    def roi_infer_last_click_only(self, roi_image: Array, points: Array, labels: Array) -> Arrays:
        return self.roi_infer(roi_image, points, labels, newest_only=True)

    def full_infer(self, points: Array, labels: Array, **case: Any) -> Arrays:
        answer = self.roi_infer(_preprocess(**case)["roi"], points, labels)
        mask = _postprocess(answer["mask"], **case)["mask"]
        return {"low_res": answer["low_res"], "roi_mask": answer["mask"], "mask": mask}

    def validate_pair(self, label: Array, num_clicks: int, seed: int, **case: Any) -> Arrays:
        """Click ``num_clicks`` times into every label, ascending; later labels overwrite."""
        stream = np.random.RandomState(seed)
        out, clicks, signs = np.zeros(label.shape, int), [], []
        values = np.unique(label[label > 0])
        for value in values:
            ready = _preprocess(label=label, category=value, **case)
            target, mask = ready["roi_label"][0, 0], np.zeros((SIZE,) * 3, bool)
            mine: list[tuple[Array, bool]] = []
            for _ in range(num_clicks):
                mine.append(next_click(mask, target, "random", stream))
                answer = self.roi_infer(
                    ready["roi"],
                    np.array([p for p, _ in mine], np.float32),
                    np.array([s for _, s in mine], np.int64),
                )
                mask = answer["mask"]
            clicks += [p for p, _ in mine]
            signs += [s for _, s in mine]
            pasted = _postprocess(mask, label=label, category=value, **case)["mask"]
            out[pasted] = value
        found = {f"label{v}": out == v for v in values}
        return {"clicks": np.array(clicks), "click_labels": np.array(signs, np.int64), **found}


def _next_click(prev: Array, gt: Array, method: str, numpy_seed: int) -> Arrays:
    stream = np.random.RandomState(numpy_seed)
    point, positive = next_click(prev > 0, gt > 0, method, stream)
    return {"point": point[None, None], "label": np.array([[positive]], np.int64)}


def _frame(label: Array, spacing: Array, origin: Array, direction: Array) -> Frame:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(direction, (3, 3)) * spacing
    matrix[:3, 3] = origin
    return Frame(Geometry.from_ijk_to_lps(label.shape, matrix))


def _placed(frame: Frame, label: Array, category: int) -> tuple[Array, Region]:
    """Return the label on the canonical grid and the window around it."""
    canonical = frame.resample_label(label == category)
    box = Region.of_mask(canonical) or frame.geometry.region
    return canonical, window(frame.window_start(box))


def _preprocess(
    image: Array, label: Array, spacing: Array, origin: Array, direction: Array, category: int
) -> Arrays:
    frame = _frame(label, spacing, origin, direction)
    canonical, area = _placed(frame, label, category)
    roi = normalised(frame.sample(Volume(image, frame.native), area.start))
    roi_label = np.zeros((SIZE,) * 3, bool)
    inside = area.clipped(canonical.shape)
    roi_label[inside.relative_to(area).slices] = canonical[inside.slices]
    return {
        "roi": _to_network(roi),
        "roi_label": _to_network(roi_label),
        "roi_affine": frame.geometry.crop(area).ijk_to_ras,
        "canonical_shape": np.array(frame.geometry.shape[::-1]),
        "canonical_affine": frame.geometry.ijk_to_ras,
    }


def _postprocess(
    roi_mask: Array,
    image: Array,
    label: Array,
    spacing: Array,
    origin: Array,
    direction: Array,
    category: int,
) -> Arrays:
    frame = _frame(label, spacing, origin, direction)
    _, area = _placed(frame, label, category)
    region, values = frame.paste(roi_mask.T > 0, area.start, area)
    mask = np.zeros(label.shape, bool)
    mask[region.slices] = values
    return {"mask": mask}


def _to_network(canonical: Array) -> Array:
    """Canonical (z, y, x) to the network's (1, 1, x, y, z)."""
    return np.ascontiguousarray(canonical.T)[None, None]
