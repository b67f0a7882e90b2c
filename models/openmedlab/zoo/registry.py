"""From names to networks: the one table that a further system joins."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from openmedlab.core.errors import InputError
from openmedlab.zoo.card import cards
from openmedlab.zoo.errors import WeightsError

if TYPE_CHECKING:
    import torch

Signature = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Network:
    """How a network and its predictor are made.

    Attributes
    ----------
    build
        ``"module:function"`` returning the network, called with ``arguments``.
    predictor
        ``"module:class"`` called as ``(network, device=, version=)``; empty for networks
        that are a start for fine-tuning.
    arguments
        Keyword arguments of ``build``.
    """

    build: str
    predictor: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _sam(variant: str, predictor: str = "Sam") -> Network:
    return Network(
        "openmedlab.sam.network:build_network",
        f"openmedlab.sam.predictor:{predictor}",
        {"variant": variant},
    )


def _stunet(size: str) -> Network:
    return Network(
        "openmedlab.stunet.network:build_network",
        "openmedlab.stunet.labeler:StuNet",
        {"size": size},
    )


NETWORKS: dict[str, Network] = {
    "sam-med3d": Network(
        "openmedlab.sam_med3d.network:build_network", "openmedlab.sam_med3d.predictor:SamMed3D"
    ),
    "sam-med2d": Network(
        "openmedlab.sam_med2d.network:build_network", "openmedlab.sam_med2d.predictor:SamMed2D"
    ),
    "sam-vit-b": _sam("vit_b"),
    "sam-vit-l": _sam("vit_l"),
    "sam-vit-h": _sam("vit_h"),
    "medsam": _sam("vit_b", "MedSam"),
    "openmedlab-click": Network(
        "openmedlab.clicknet.network:ClickNet", "openmedlab.clicknet.load:predictor"
    ),
    "stu-net-s": _stunet("small"),
    "stu-net-b": _stunet("base"),
    "stu-net-l": _stunet("large"),
    "stu-net-h": _stunet("huge"),
    "medlam": Network(
        "openmedlab.medlam.network:build_network", "openmedlab.medlam.localizer:MedLam"
    ),
    "pct-net": Network("openmedlab.misfm.pctnet:build_network"),
    "fmu-net": Network("openmedlab.misfm.fmunet:build_network"),
    "pct-net-volf": Network("openmedlab.misfm.pctnet:build_network", arguments={"classes": 5}),
    "fmu-net-volf": Network("openmedlab.misfm.fmunet:build_network", arguments={"classes": 5}),
    "axon-seg": Network("openmedlab.axonseg.network:build_network", arguments={"attention": True}),
    "axon-seg-unet": Network(
        "openmedlab.axonseg.network:build_network", arguments={"attention": False}
    ),
}


def network_of(name: str) -> Network:
    """Return the table's entry for a network or a model card of that name.

    Raises
    ------
    InputError
        Neither exists.
    """
    card = cards().get(name)
    entry = NETWORKS.get(card.network if card else name)
    if entry is None:
        known = ", ".join(sorted({*NETWORKS, *cards()}))
        raise InputError(f"There is no network {name!r}; known: {known}.")
    return entry


def build_network(name: str, classes: int | None = None) -> torch.nn.Module:
    """Return the network of that name or model card, uninitialised by any checkpoint.

    Parameters
    ----------
    name
        ``"sam-med3d"``, ``"sam-med2d"``, ``"sam-vit-b"``, ... or a model card's name.
    classes
        Outputs with the background, where not those of the published weights.

    Raises
    ------
    InputError
        The name is unknown.
    WeightsError
        PyTorch is not installed.
    """
    entry = network_of(name)
    own = {} if classes is None else {"classes": classes}
    network: torch.nn.Module = load_object(entry.build)(**{**entry.arguments, **own})
    return network


def load_object(reference: str) -> Any:
    """Import ``"module:name"``; a missing PyTorch is said in one sentence."""
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "segment_anything", "monai"):
            raise WeightsError(
                f"This model runs on PyTorch and {error.name} is not installed; "
                "install it with: pip install 'napari-openmedlab[local]'."
            ) from error
        raise


@cache
def signature(network: str, classes: int | None = None) -> Signature:
    """Return names and shapes of the network's state dict, without allocating its tensors."""
    import torch

    with torch.device("meta"):
        return shapes(build_network(network, classes))


def shapes(network: torch.nn.Module) -> Signature:
    """Return names and shapes of a network's state dict."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
