"""The network on a CPU through OpenVINO: twice as fast as PyTorch, equal to about 1e-4."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

from openmedlab.stunet.network import StuNetwork


def available() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoFeatures:
    """Computes `StuNetwork.features` for tiles of one shape.

    Parameters
    ----------
    network
        With its weights, on the CPU.
    """

    def __init__(self, network: StuNetwork) -> None:
        self._module = _Features(network)
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, tiles: Tensor) -> Tensor:
        """Return the features (B, F, z, y, x) of tiles (B, 1, z, y, x), float32."""
        shape = tuple(tiles.shape)
        if shape not in self._compiled:
            self._compiled[shape] = self._compile(shape)
        return torch.from_numpy(self._compiled[shape](tiles.numpy())[0])

    def _compile(self, shape: tuple[int, ...]) -> Any:
        import openvino

        model = openvino.convert_model(
            self._module, example_input=torch.zeros(1, 1, 32, 32, 64), input=list(shape)
        )
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        return openvino.Core().compile_model(model, "CPU", settings)


class _Features(nn.Module):
    def __init__(self, network: StuNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.features(x)
