"""`Models`: what the server can run, made on the inference thread when first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from openmedlab import zoo
from openmedlab.core import Capabilities, InputError, Labeler, Localizer, Promptable
from openmedlab.labeling.methods import LabelerChoice, OfferedLabeler, offered_labelers
from openmedlab.localization import methods as localizing
from openmedlab.localization.methods import LocalizerChoice

Offer = Callable[[], Mapping[str, zoo.OfferedMethod]]


class UnknownModelError(InputError):
    """There is no model of that name."""


class NotReadyError(InputError):
    """The model's weights, or PyTorch, are missing."""


class Models:
    """Promptables, labelers and localizers by name, loaded once while the store stays the same.

    Parameters
    ----------
    offer
        Returns the promptables on offer; `zoo.methods` by default.
    """

    def __init__(self, offer: Offer = zoo.methods) -> None:
        self._offer = offer
        self._promptables: dict[str, Promptable] = {}
        self._labelers: dict[LabelerChoice, Labeler] = {}
        self._localizers: dict[LocalizerChoice, Localizer] = {}
        self._stored = zoo.WeightsStore().changed

    def offered(self) -> Mapping[str, zoo.OfferedMethod]:
        """The promptables on offer, by name."""
        return self._offer()

    def require(self, name: str) -> zoo.OfferedMethod:
        """Return a promptable that is ready.

        Raises
        ------
        UnknownModelError, NotReadyError
        """
        offered = self.offered()
        if name not in offered:
            raise UnknownModelError(
                f"There is no model {name!r}; this server has {', '.join(offered)}."
            )
        found = offered[name]
        if found.state != "ready":
            raise NotReadyError(f"{found.method.title} {found.state} ({found.detail}).")
        return found

    def promptable(self, name: str) -> Promptable:
        """Return a promptable, made on first use (call on the inference thread)."""
        self._forget_replaced()
        if name not in self._promptables:
            self._promptables[name] = self.require(name).method.make()
        return self._promptables[name]

    def capabilities(self, name: str) -> Capabilities:
        """Return what a promptable takes, from the model itself once it is loaded."""
        if (loaded := self._promptables.get(name)) is not None:
            return loaded.capabilities
        card = self.offered()[name].card
        if card is None:
            made: Promptable = self.promptable(name)
            return made.capabilities
        return Capabilities(frozenset(card.prompts), dimensions=card.dimensionality)

    def labelers(self) -> Mapping[str, OfferedLabeler]:
        """The labelling models on offer, by name; fine-tuned ones from the weights store too."""
        return offered_labelers()

    def require_labeler(self, choice: LabelerChoice) -> None:
        """Raise when a labeler is unknown or its weights are not here."""
        offered = self.labelers()
        if choice.name not in offered:
            raise UnknownModelError(
                f"There is no labelling model {choice.name!r}; this server has "
                f"{', '.join(offered)}."
            )
        found = offered[choice.name]
        _require_ready(found.name, found.state, found.detail)

    def labeler(self, choice: LabelerChoice) -> Labeler:
        """Return a labeler, made on first use (call on the inference thread)."""
        self._forget_replaced()
        if choice not in self._labelers:
            self._labelers[choice] = choice.make()
        return self._labelers[choice]

    def require_localizer(self, choice: LocalizerChoice) -> None:
        """Raise when a localizer is unknown or its weights are not here."""
        known = localizing.LOCALIZERS
        if choice.name not in known:
            raise UnknownModelError(
                f"There is no localizer {choice.name!r}; this server has {', '.join(known)}."
            )
        _require_ready(choice.name, *localizer_state(choice.name))

    def localizer(self, choice: LocalizerChoice) -> Localizer:
        """Return a localizer, made on first use (call on the inference thread)."""
        self._forget_replaced()
        if choice not in self._localizers:
            self._localizers[choice] = choice.make()
        return self._localizers[choice]

    def _forget_replaced(self) -> None:
        """Let go of what is loaded once weights came, went or were replaced, by any program."""
        if (changed := zoo.WeightsStore().changed) != self._stored:
            self._stored = changed
            for loaded in (self._promptables, self._labelers, self._localizers):
                loaded.clear()

    def describe(self) -> list[dict[str, Any]]:
        """Return one row of plain values for every model."""
        rows = [self._promptable_row(n, found) for n, found in self.offered().items()]
        rows += [_labeler_row(found) for found in self.labelers().values()]
        return rows + [_localizer_row(name) for name in localizing.LOCALIZERS]

    def _promptable_row(self, name: str, found: zoo.OfferedMethod) -> dict[str, Any]:
        takes = self.capabilities(name)
        return {
            "name": name,
            "title": found.method.title,
            "task": "promptable",
            "state": found.state,
            "detail": found.detail,
            "licence": found.card.licence if found.card else "Apache-2.0",
            "capabilities": {
                "prompts": sorted(takes.prompts),
                "negative": takes.negative,
                "dimensions": takes.dimensions,
                "refines": takes.refines,
            },
            "classes": None,
        }


def localizer_state(name: str) -> tuple[str, str]:
    """Return what stands between the user and a localizer, and the same in words."""
    if name == localizing.BUILTIN:
        return "ready", "nothing to download"
    return zoo.model_state(zoo.WeightsStore().info(name))


def _require_ready(name: str, state: str, detail: str) -> None:
    if state != "ready":
        raise NotReadyError(f"{name} {state} ({detail}).")


def _labeler_row(found: OfferedLabeler) -> dict[str, Any]:
    classes = {str(n): label.name for n, label in enumerate(found.labels, 1)}
    return _row(found.name, "labels", (found.state, found.detail), found.title, classes)


def _localizer_row(name: str) -> dict[str, Any]:
    return _row(name, "localize", localizer_state(name), "Built-in localizer", None)


def _row(
    name: str, task: str, state: tuple[str, str], title: str, classes: dict[str, str] | None
) -> dict[str, Any]:
    card = zoo.cards().get(name)
    return {
        "name": name,
        "title": card.title if card else title,
        "task": task,
        "state": state[0],
        "detail": state[1],
        "licence": card.licence if card else "Apache-2.0",
        "capabilities": None,
        "classes": classes,
    }
