"""The methods on offer: the built-in one, and every promptable model with its state."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from openmedlab import __version__
from openmedlab.core.contracts import Method, Promptable
from openmedlab.zoo.card import ModelCard, cards
from openmedlab.zoo.checkpoint import read_checkpoint
from openmedlab.zoo.recognise import require_fit
from openmedlab.zoo.registry import build_network, load_object, network_of, shapes
from openmedlab.zoo.store import ModelInfo, WeightsStore, told_size
from openmedlab.zoo.tuned import outputs

if TYPE_CHECKING:
    import torch

BUILTIN = "builtin"
CLICK = "openmedlab-click"
NEEDS_TORCH = "pip install 'napari-openmedlab[local]'"

State = Literal["ready", "needs weights", "needs torch"]


@dataclass(frozen=True)
class OfferedMethod:
    """A method for a menu: what it is, and what stands between the user and a click.

    Attributes
    ----------
    method
        Name, title and how to make it.
    state
        ``"ready"``, ``"needs weights"`` or ``"needs torch"``.
    detail
        The state in words: size and licence of the weights, or what to install.
    card
        The model's card; None for the built-in method.
    """

    method: Method
    state: State
    detail: str
    card: ModelCard | None = None


def promptable(name: str, weights: Path | None = None, device: str | None = None) -> Promptable:
    """Make a promptable ready for clicks.

    Parameters
    ----------
    name
        ``"builtin"``, ``"openmedlab-click"`` or a model card's name.
    weights
        A checkpoint to use instead of the stored one.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; by default the GPU where there is one.

    Raises
    ------
    InputError
        The name is unknown.
    WeightsError
        The weights are not here or do not fit exactly, or PyTorch is not installed.
    """
    made: Promptable
    if name == BUILTIN:
        made = load_object("openmedlab.builtin.click:ClickSegmenter")()
        return made
    if name == CLICK:
        made = load_object("openmedlab.clicknet.load:segmenter")(weights, device)
        return made
    network, version = trained(name, weights)
    predictor = load_object(network_of(name).predictor)
    made = predictor(network, device=device or default_device(), version=version)
    return made


def trained(name: str, weights: Path | None = None) -> tuple[torch.nn.Module, str]:
    """Return a model card's network with its weights, and a version for manifests.

    Raises
    ------
    InputError
        The name is unknown.
    WeightsError
        The weights are not here or do not fit exactly, or PyTorch is not installed.
    """
    store = WeightsStore()
    path = store.require(name, weights)
    network = build_network(name, outputs(path))
    tensors = read_checkpoint(path)
    require_fit(tensors, cards()[name], shapes(network), path.name)
    network.load_state_dict(tensors)
    return network, f"{name} {__version__} {store.sha256(path)[:12]}"


def methods() -> dict[str, OfferedMethod]:
    """Return the methods for a menu, by name, the built-in one first."""
    offered = {BUILTIN: OfferedMethod(_method(BUILTIN, "Built-in"), "ready", "nothing to download")}
    click = _method(CLICK, "OpenMEDLab click network")
    if importlib.util.find_spec("torch") is None:
        offered[CLICK] = OfferedMethod(click, "needs torch", NEEDS_TORCH)
    else:
        offered[CLICK] = OfferedMethod(click, "ready", "bundled")
    for info in WeightsStore().list_models():
        card = info.card
        if card.task == "promptable":
            method = _method(card.name, card.title)
            offered[card.name] = OfferedMethod(method, *model_state(info), card)
    return offered


def model_state(info: ModelInfo) -> tuple[State, str]:
    """Return what stands between the user and a model, and the same in words."""
    card = info.card
    if importlib.util.find_spec("torch") is None:
        return "needs torch", NEEDS_TORCH
    if info.path is None:
        by_hand = "" if card.fetchable else ", download by hand"
        return "needs weights", f"{told_size(card)}, {card.licence}{by_hand}"
    return "ready", f"{card.licence}, {card.memory}"


def _method(name: str, title: str) -> Method:
    return Method(name, title, lambda: promptable(name))


def default_device() -> str:
    """Return the GPU where there is one, else ``"cpu"``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
