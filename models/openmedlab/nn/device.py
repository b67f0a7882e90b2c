"""Where networks run: mixed precision, no gradients, and two settings for speed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

COMPILE = "OPENMEDLAB_COMPILE"
OPENVINO = "OPENMEDLAB_OPENVINO"


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that uses bfloat16 on CUDA devices that have it, else does nothing."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


class Runner:
    """A network in place: its encoder fast and without gradients.

    Parameters
    ----------
    network
        With ``image_encoder``; moved to ``device``.
    device
        ``"cpu"``, ``"cuda"``, ...
    shape
        The encoder's only input shape.
    version
        Of the network and its weights.

    Notes
    -----
    ``OPENMEDLAB_COMPILE=1`` sends the encoder through ``torch.compile``.
    ``OPENMEDLAB_OPENVINO=FOLDER`` runs it through OpenVINO on the CPU and keeps what
    that needs in FOLDER; converting takes a minute the first time.
    """

    def __init__(self, network: Any, device: str, shape: tuple[int, ...], version: str) -> None:
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self._shape, self._version = shape, version

    @property
    def version(self) -> str:
        """The version, with what changes the encoder's last digits."""
        precision = getattr(self._encoder, "precision", None)
        return f"{self._version} openvino {precision}" if precision else self._version

    def encode(self, x: Tensor) -> Tensor:
        """Return the float32 embedding of a normalised input, on the device."""
        with torch.inference_mode(), autocast(self.device):
            return self._encoder(x.to(self.device)).float()

    @cached_property
    def _encoder(self) -> Callable[[Tensor], Tensor]:
        encoder = self.network.image_encoder
        folder = os.environ.get(OPENVINO)
        if folder and self.device.type == "cpu":
            from openmedlab.nn.openvino import OpenVinoNetwork

            return OpenVinoNetwork(encoder, self._shape, Path(folder), self._version)
        if os.environ.get(COMPILE) == "1":
            encoder.compile()
        made: Callable[[Tensor], Tensor] = encoder
        return made
