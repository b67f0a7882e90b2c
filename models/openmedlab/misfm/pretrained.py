"""Starting a network of other classes from pre-trained weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from openmedlab.core import InputError


def start_from(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copy every tensor that fits and return the names of those that keep their values.

    Parameters
    ----------
    network
        Changed in place.
    tensors
        A checkpoint of the same network, made for any number of classes.

    Raises
    ------
    InputError
        More differs than the layers that depend on the classes (at most one in ten).
    """
    own = network.state_dict()
    fitting = {n: t for n, t in tensors.items() if n in own and own[n].shape == t.shape}
    left = [name for name in own if name not in fitting]
    if len(left) > len(own) / 10:
        raise InputError(
            f"These weights are of another network: {len(left)} of its {len(own)} tensors do not "
            f"fit, {left[0]} first."
        )
    network.load_state_dict({**own, **fitting})
    return left
