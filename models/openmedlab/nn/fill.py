"""Weights derived from tensor names, so that two implementations can be compared without a file."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn


def named_values(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the float32 values that a tensor of this name and shape gets.

    Standard normal numbers z are drawn from a generator seeded with the CRC-32 of
    the name. Matrices and kernels are scaled by 1/sqrt(fan-in); vectors and scalars
    called ``...weight`` become 1 + z/10, other vectors z/10, and variances 1 + |z|/10.
    """
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        values = 1.0 + 0.1 * np.abs(z)
    elif len(shape) > 1:
        values = z / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight"):
        values = 1.0 + 0.1 * z
    else:
        values = 0.1 * z
    return np.asarray(values, np.float32)


def fill_by_name(network: nn.Module) -> None:
    """Give every floating-point entry of ``network.state_dict()`` its `named_values`."""
    import torch

    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(named_values(name, tuple(tensor.shape))))
