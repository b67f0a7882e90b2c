"""What fine-tuning takes in memory, found without allocating any of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openmedlab.engine.memory import available_bytes
from openmedlab.tuning.families import Family

RUNTIME = 300_000_000
WORKING = 1.25


@dataclass(frozen=True)
class Needs:
    """Parameters that learn, all of them, and the bytes of a process at most."""

    learned: int
    parameters: int
    memory: int


def measure(family: Family, few_shot: bool, samples: int) -> Needs:
    """Return what a training needs whose processes take ``samples`` of an update each.

    The weights lie in memory four times (the network, the running average, the best, and a
    copy while judging), the learned ones three times more (gradients and AdamW's moments). What
    the backward pass needs of the forward pass is counted on one made-up sample without
    memory (PyTorch's meta device); `WORKING` adds what is passing by, as measured on all
    families (within 5 %, but for STU-Net: 17 % more).
    """
    with torch.device("meta"):
        network = family.network()
        restrict(network, family, few_shot)
        kept = saved_bytes(network, family)
    weights = sum(t.nbytes for t in network.state_dict().values())
    learned = sum(p.nbytes for p in network.parameters() if p.requires_grad)
    memory = RUNTIME + 4 * weights + 3 * learned + int(WORKING * samples * kept)
    memory += family.kept_bytes if few_shot else 0
    return Needs(
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        sum(p.numel() for p in network.parameters()),
        memory,
    )


def saved_bytes(network: nn.Module, family: Family) -> int:
    """Return the bytes of one sample that wait for the backward pass, weights left out."""
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    seen: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = family.probe(network)
    total = sum(storage.nbytes() for storage in seen.values())
    del loss
    return total


def restrict(network: nn.Module, family: Family, few_shot: bool) -> None:
    """Leave gradients only to the parameters that learn: those that the loss reaches.

    In few-shot mode the encoder is left out.
    """
    unreached = {name for name, p in _probed(family, few_shot) if p.grad is None}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in unreached)


def _probed(family: Family, few_shot: bool) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters of a network without memory after one backward pass."""
    with torch.device("meta"):
        network = family.network()
        if few_shot:
            for part in family.encoder(network):
                part.requires_grad_(False)
        family.probe(network).backward()
    return list(network.named_parameters())


def free_bytes(device: str) -> int:
    """Return the bytes that are free on a device."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return available_bytes()
