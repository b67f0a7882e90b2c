"""The bundled network, ready to run: on a GPU, through OpenVINO, or by PyTorch on the CPU."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from openmedlab import __version__
from openmedlab.clicknet.network import INPUTS, SIDE, ClickNet
from openmedlab.clicknet.predictor import ClickNetSegmenter
from openmedlab.nn.device import autocast
from openmedlab.zoo.methods import default_device
from openmedlab.zoo.recognise import filled

BUNDLED = Path(__file__).parent / "click.safetensors"
EXAMPLES = 12
SHAPE = (1, INPUTS, SIDE, SIDE, SIDE)


def segmenter(weights: Path | None = None, device: str | None = None) -> ClickNetSegmenter:
    """Return openmedlab-click with the bundled or other weights.

    Raises
    ------
    WeightsError
        The file cannot be read or belongs to another network.
    """
    path = weights or BUNDLED
    network = load(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    version = f"openmedlab-click {__version__} {digest}"
    return predictor(network, device or default_device(), version)


def predictor(network: ClickNet, device: str, version: str) -> ClickNetSegmenter:
    """Return the network ready for clicks.

    On the CPU it runs through OpenVINO where that is installed, in the precision that a
    one-off probe found fastest.
    """
    if device == "cpu" and importlib.util.find_spec("openvino"):
        from openmedlab.nn.openvino import OpenVinoNetwork

        fast = OpenVinoNetwork(network.eval(), SHAPE, _cache(), version, examples)
        return ClickNetSegmenter(fast, f"{version} openvino {fast.precision}")
    return ClickNetSegmenter(_torch(network, torch.device(device)), version)


def load(path: Path) -> ClickNet:
    """Return the network with a file's weights, in single precision.

    Raises
    ------
    WeightsError
        The file cannot be read or belongs to another network.
    """
    return filled(ClickNet(), path, "openmedlab-click")


def _torch(network: ClickNet, device: torch.device) -> Callable[[Tensor], Tensor]:
    network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def run(x: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(device):
            logits: Tensor = network(x.to(device)).float().cpu()
            return logits

    return run


def examples() -> list[Tensor]:
    """Return inputs of the network as clicks in a phantom make them."""
    from openmedlab.clicknet.simulate import Labelled, exercise
    from openmedlab.io.phantom import phantom

    volume, labels = phantom()
    body = Labelled(volume.read(), labels.array, volume.geometry.spacing)
    return [exercise(np.random.default_rng(k), body).channels()[None] for k in range(EXAMPLES)]


def _cache() -> Path:
    from openmedlab.engine.home import home

    return home() / "openvino"
