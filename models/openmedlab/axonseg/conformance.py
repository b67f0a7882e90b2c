"""Axon-Seg's networks, labels, scores and tiling behind the targets of the reference cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from openmedlab.axonseg import annotate
from openmedlab.axonseg.metrics import junk_ratio, pooled, scores, soft_skeleton
from openmedlab.axonseg.network import AxonSegNetwork
from openmedlab.axonseg.older import OlderNetwork
from openmedlab.axonseg.wholebrain import WholeBrain
from openmedlab.nn.conformance import Array, Arrays, Target, tensor
from openmedlab.nn.fill import fill_by_name


def targets(build: Mapping[str, Any]) -> dict[str, Target]:
    """Return every target of the cases, weights filled by name.

    Parameters
    ----------
    build
        A case's configuration: ``net`` and its options, or those of one of the tools.
    """
    made = _Networks(build) if "net" in build else _Tools(build)
    return {name: torch.inference_mode()(f) for name, f in made.targets().items()}


class _Networks:
    def __init__(self, build: Mapping[str, Any]) -> None:
        self._network = _network(build)
        self._deep = build.get("do_ds", False)
        fill_by_name(self._network)
        self._network.eval()

    def targets(self) -> dict[str, Target]:
        blocks = {
            f"axial_attention.{u}(axial_embedding.{u}(feat))": self._attention(u) for u in range(4)
        }
        return {"forward": self._forward, **blocks}

    def _forward(self, x: Array) -> Arrays:
        if self._deep:
            heads = self._network.deep_supervision(tensor(x))
            return {f"logits_ds{k}": y.numpy() for k, y in enumerate(heads)}
        return {"logits": self._network(tensor(x)).numpy()}

    def _attention(self, level: int) -> Target:
        return lambda feat: {"out": self._network.attended(tensor(feat), level).numpy()}


def _network(build: Mapping[str, Any]) -> Any:
    if build["net"] == "unet":
        return OlderNetwork(build["n_classes"])
    return AxonSegNetwork(build.get("volume_shape"))


class _Tools:
    def __init__(self, build: Mapping[str, Any]) -> None:
        self._build = build

    def targets(self) -> dict[str, Target]:
        return {
            "metrics": self._metrics,
            "augmentation": self._weaken,
            "preprocess": self._highpass,
            "label": self._fine_label,
            "whole_brain_tiling": self._tiling,
        }

    def _metrics(self, in_pred: Array, in_target: Array) -> Arrays:
        found, wanted = (tensor(a).float()[None, None] for a in (in_pred, in_target))
        plain = dict(scores(found, wanted))
        line = plain.pop("cldice")
        answers = {
            **plain,
            "cldice_f1": line,
            "soft_cldice_loss": -line,
            "junk_ratio": junk_ratio(found, wanted),
        }
        kernel = self._build["pool_kernel"]
        for word, stride in (("s1", 1), ("sk", kernel)):
            pair = (pooled(mask, kernel, stride) for mask in (found, wanted))
            answers |= {f"pool_{word}_{name}": value for name, value in scores(*pair).items()}
        skeleton = soft_skeleton(wanted)[0, 0].numpy()
        return {"soft_skeleton_target": skeleton, **{k: np.array(v) for k, v in answers.items()}}

    def _weaken(self, volume: Array) -> Arrays:
        """Weaken around (z, y, y): the published third axis is the second coordinate."""
        points = [(z, y, y) for z, y, _ in self._build["mid_points"]]
        radius, strength = self._build["rad"], self._build["sigma"]
        return {"volume_out": annotate.weaken_contrast(volume, points, radius, strength)}

    def _highpass(self, volume: Array) -> Arrays:
        return {"highpass": annotate.highpass(volume)}

    def _fine_label(self, in_rough: Array) -> Arrays:
        smallest = self._build["min_voxels"]
        kept = annotate.clean(in_rough, smallest)
        return {
            "kept": kept,
            "skeleton": annotate.skeleton(kept),
            "fine": annotate.fine_label(in_rough, smallest),
        }

    def _tiling(self, stack: Array) -> Arrays:
        plan = WholeBrain(
            tuple(self._build["start_point_xyz"]),
            tuple(self._build["end_point_xyz"]),
            self._build["input_dim"],
            self._build["overlap"],
        )
        stub = _STUBS[self._build["stub"]]
        return {"prob": plan.predict(list(stack), stub)}


def _pointwise(window: Array) -> Array:
    return _axon(window)


def _position(window: Array) -> Array:
    n = len(window)
    ramp = np.indices(window.shape).sum(0)
    return _axon(window + 0.02 * ramp - 0.03 * (n - 1))


def _axon(logits: Array) -> Array:
    pair = np.stack([np.zeros_like(logits), logits])
    return np.asarray(torch.from_numpy(pair.astype(np.float32)).softmax(0)[1].numpy())


_STUBS = {
    "logits = cat([0, x], channel)": _pointwise,
    "logits = cat([0, x + 0.02*(iz+iy+ix) - 0.03*(n-1)]) with n = input_dim and "
    "iz,iy,ix the index inside the window": _position,
}
