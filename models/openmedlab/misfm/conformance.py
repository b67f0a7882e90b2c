"""MIS-FM's networks behind the targets of the reference cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from openmedlab.misfm.fmunet import FmuNet
from openmedlab.misfm.fusion import fuse
from openmedlab.misfm.pctnet import PctNet
from openmedlab.misfm.window import sliding_window
from openmedlab.nn.conformance import Array, Arrays, Target, tensor
from openmedlab.nn.fill import fill_by_name


def targets(build: dict[str, Any]) -> dict[str, Target]:
    """Return the targets that a case's configuration allows, weights filled by name.

    Parameters
    ----------
    build
        ``network`` (``"pct-net"`` or ``"fmu-net"``) and the case's configuration.
    """
    if "cls_num" in build:
        return {"volume_fusion": _fusion(build)}
    if "window" in build:
        return {"sliding_window": torch.inference_mode()(_window(build))}
    network = _network(build)
    fill_by_name(network)
    network.eval()

    def forward(x: Array) -> Arrays:
        if not build["multiscale_pred"]:
            return {"logits": network(tensor(x)).numpy()}
        return {f"logits{k}": y.numpy() for k, y in enumerate(network.multiscale(tensor(x)))}

    made: dict[str, Target] = {"forward": torch.inference_mode()(forward)}
    if isinstance(network, PctNet):
        stage = network.pyramid_ct.convtrans_e2
        made["pyramid_ct.convtrans_e2"] = torch.inference_mode()(_module(stage))
    return made


def _network(build: Mapping[str, Any]) -> PctNet | FmuNet:
    if build["network"] == "fmu-net":
        return FmuNet(build["in_chns"], build["class_num"], build["res_mode"])
    return PctNet(
        build["in_chns"], build["class_num"], build["input_size"], build["resolution_mode"]
    )


def _module(module: nn.Module) -> Target:
    return lambda feat: {"out": module(tensor(feat)).numpy()}


def _fusion(build: Mapping[str, Any]) -> Target:
    def run(fg: Array, bg: Array, in_label: Array) -> Arrays:
        label = tensor(in_label).reshape(fg.shape)
        return {"fused": fuse(tensor(fg), tensor(bg), label, build["cls_num"]).numpy()}

    return run


def _window(build: Mapping[str, Any]) -> Target:
    size = build["window"]
    grids = torch.meshgrid(*(torch.arange(n) / n for n in size), indexing="ij")
    ramp = torch.stack(grids).sum(0)

    def network(x: Tensor) -> Tensor:
        return torch.cat([x * ramp, ramp - x], 1)

    return lambda x: {"out": sliding_window(tensor(x), network, size, build["stride"]).numpy()}
