"""Several processes that train together, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from openmedlab.core import InputError


@contextmanager
def joined(device: str | None = None) -> Iterator[str | None]:
    """Join the processes that torchrun started, if it did, and yield this one's device.

    Parameters
    ----------
    device
        What the user asked for; ``"cpu"`` keeps all of them there.

    Notes
    -----
    With GPUs every process takes the one of its local rank (NCCL), else all work on the CPU
    (gloo). Outside of torchrun nothing happens.

    Raises
    ------
    InputError
        There are more processes than GPUs.
    """
    if not torch.distributed.is_torchelastic_launched():
        yield device
        return
    if device is None or device.startswith("cuda"):
        device = _own_gpu() if torch.cuda.is_available() else "cpu"
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(torch.device(device))
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield device
    finally:
        torch.distributed.destroy_process_group()


def _own_gpu() -> str:
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        raise InputError(
            f"There are {there} GPUs for {os.environ['LOCAL_WORLD_SIZE']} processes; start as many "
            "processes as GPUs, or work on the CPU with --device cpu."
        )
    return f"cuda:{number}"
