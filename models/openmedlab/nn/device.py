"""Where networks run: the device, mixed precision, and optional compilation."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn


def pick_device(wanted: str | None = None) -> torch.device:
    """Return ``wanted``, or the best device at hand: CUDA, then Apple's MPS, then the CPU."""
    if wanted:
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that uses bfloat16 on CUDA devices that have it, else does nothing."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


def ready(network: nn.Module, device: torch.device) -> nn.Module:
    """Put ``network`` on ``device`` for inference."""
    return network.eval().requires_grad_(False).to(device)


def compiled(module: nn.Module) -> nn.Module:
    """Return ``module`` through ``torch.compile`` where OPENMEDLAB_COMPILE=1, else as it is."""
    if os.environ.get("OPENMEDLAB_COMPILE") == "1":
        module.compile()
    return module
