"""Where networks run: mixed precision, no gradients, optional compilation."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that uses bfloat16 on CUDA devices that have it, else does nothing."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


class Runner:
    """A network in place: its encoder in mixed precision, without gradients.

    Parameters
    ----------
    network
        With ``image_encoder``; moved to ``device``. With OPENMEDLAB_COMPILE=1 the
        encoder goes through ``torch.compile``.
    device
        ``"cpu"``, ``"cuda"``, ...
    """

    def __init__(self, network: Any, device: str) -> None:
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self._encoder = self.network.image_encoder
        if os.environ.get("OPENMEDLAB_COMPILE") == "1":
            self._encoder.compile()

    def encode(self, x: Tensor) -> Tensor:
        """Return the float32 embedding of a normalised input, on the device."""
        with torch.inference_mode(), autocast(self.device):
            embedding: Tensor = self._encoder(x.to(self.device))
        return embedding.float()
