"""Labelers by name: the one table that a further system joins by a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmedlab.core import InputError, Label, Labeler
from openmedlab.zoo.card import cards
from openmedlab.zoo.methods import State, default_device, model_state, trained
from openmedlab.zoo.registry import load_object
from openmedlab.zoo.store import WeightsStore
from openmedlab.zoo.tuned import class_names, tuned

BUILTIN = "builtin-tissues"


@dataclass(frozen=True)
class LabelerChoice:
    """What makes a labeler; plain values, so that it travels to a cluster's workers.

    Attributes
    ----------
    name
        A key of `LABELERS`, or the model card of a fine-tuned network.
    weights
        Checkpoint to use instead of the stored one.
    device
        ``"cpu"``, ``"cuda"``, ...; by default the best there is.
    fast
        Coarser and quicker: work at 3 mm.
    """

    name: str = BUILTIN
    weights: Path | None = None
    device: str | None = None
    fast: bool = False

    def make(self) -> Labeler:
        """Return the labeler.

        Raises
        ------
        InputError
            The name is unknown, or weights are given to a method that has none.
        WeightsError
            The weights are not here or do not fit, or PyTorch is not installed.
        """
        return self.check()(self)

    def check(self) -> Callable[[LabelerChoice], Labeler]:
        """Return what makes it; raise `InputError` for an unknown name or weights of no use."""
        card = cards().get(self.name)
        make = LABELERS.get(self.name) or TUNED.get(card.network if card else "")
        if make is None:
            raise InputError(
                f"There is no labelling model {self.name!r}; choose from {', '.join(LABELERS)}."
            )
        if self.name == BUILTIN and self.weights is not None:
            raise InputError(f"{BUILTIN} has no weights; leave them out or choose another model.")
        return make


def _tissues(choice: LabelerChoice) -> Labeler:
    made: Labeler = load_object("openmedlab.builtin.tissues:TissueLabeler")(fast=choice.fast)
    return made


def _stunet(choice: LabelerChoice) -> Labeler:
    network, version = trained(choice.name, choice.weights)
    device: Any = choice.device or default_device()
    plans = WeightsStore().plans(choice.name, choice.weights)
    plan = load_object("openmedlab.stunet.plan:Plan").from_nnunet(plans) if plans else None
    made: Labeler = load_object("openmedlab.stunet.labeler:StuNet")(
        network,
        device=device,
        version=version,
        plan=plan,
        fast=choice.fast,
        names=class_names(WeightsStore().require(choice.name, choice.weights)),
    )
    return made


def _pctnet(choice: LabelerChoice) -> Labeler:
    found = tuned(WeightsStore().require(choice.name, choice.weights))
    if not found:
        raise InputError(
            f"{choice.name} is a start for fine-tuning and labels nothing by itself; fine-tune it "
            "(openmedlab finetune) and give the new weights."
        )
    network, version = trained(choice.name, choice.weights)
    frame = load_object("openmedlab.misfm.frame:Frame")(tuple(found["frame"]["spacing"]))
    made: Labeler = load_object("openmedlab.misfm.labeler:PctNetLabeler")(
        network, found["classes"], frame, choice.device or default_device(), version
    )
    return made


LABELERS: dict[str, Callable[[LabelerChoice], Labeler]] = {
    BUILTIN: _tissues,
    "stu-net-s": _stunet,
    "stu-net-b": _stunet,
    "stu-net-l": _stunet,
    "stu-net-h": _stunet,
}

TUNED: dict[str, Callable[[LabelerChoice], Labeler]] = {
    **{name: _stunet for name in LABELERS if name != BUILTIN},
    "pct-net-volf": _pctnet,
}
"""What makes a labeler of a fine-tuned network, by the network's name."""


@dataclass(frozen=True)
class OfferedLabeler:
    """A labelling model for a menu: what it is, and what stands between the user and a run.

    Attributes
    ----------
    name
        A key of `LABELERS`.
    title
        What a menu shows.
    state
        ``"ready"``, ``"needs weights"`` or ``"needs torch"``.
    detail
        The state in words: size and licence of the weights, or what to install.
    labels
        Its structures; known before the weights are here.
    """

    name: str
    title: str
    state: State
    detail: str
    labels: tuple[Label, ...]


def offered_labelers() -> dict[str, OfferedLabeler]:
    """Return the labelling models for a menu, by name, the built-in one first."""
    from openmedlab.builtin.tissues import TISSUES
    from openmedlab.stunet.structures import structures

    title, detail = "Built-in tissues", "nothing to download"
    tissues = tuple(TISSUES.values())
    offered = {BUILTIN: OfferedLabeler(BUILTIN, title, "ready", detail, tissues)}
    released = tuple(s.label for s in structures().values())
    for info in WeightsStore().list_models():
        card = info.card
        own = tuple(Label(name) for name in card.classes)
        if card.name in LABELERS or (card.task == "labels" and card.network in TUNED):
            labels = own or released
            offered[card.name] = OfferedLabeler(card.name, card.title, *model_state(info), labels)
    return offered
