"""Localizers by name: the one table that a further system joins by a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmedlab.core import InputError, Localizer, Promptable
from openmedlab.zoo.methods import default_device, promptable, trained
from openmedlab.zoo.registry import load_object

BUILTIN = "builtin"
MEDLAM = "medlam"


@dataclass(frozen=True)
class LocalizerChoice:
    """What makes a localizer; plain values, so that it travels to a cluster's workers.

    Attributes
    ----------
    name
        A key of `LOCALIZERS`.
    weights
        Checkpoint to use instead of the stored one.
    device
        ``"cpu"``, ``"cuda"``, ...; by default the best there is.
    parts
        MedLAM: look for an organ's slabs (the paper's sub-patches) besides the whole.
    """

    name: str = BUILTIN
    weights: Path | None = None
    device: str | None = None
    parts: bool = False

    def make(self) -> Localizer:
        """Return the localizer.

        Raises
        ------
        InputError
            The name is unknown, or weights are given to a method that has none.
        WeightsError
            The weights are not here or do not fit, or PyTorch is not installed.
        """
        self.check()
        return LOCALIZERS[self.name](self)

    def check(self) -> None:
        """Raise `InputError` for an unknown name or weights that have no use."""
        if self.name not in LOCALIZERS:
            raise InputError(
                f"There is no localizer {self.name!r}; choose from {', '.join(LOCALIZERS)}."
            )
        if self.name == BUILTIN and self.weights is not None:
            raise InputError("The built-in localizer has no weights; leave them out.")
        if self.name == BUILTIN and self.parts:
            raise InputError("The built-in localizer knows no sub-patches; use medlam for them.")


@dataclass(frozen=True)
class PromptableChoice:
    """What makes the promptable that turns boxes into masks; as `LocalizerChoice`."""

    name: str = "builtin"
    weights: Path | None = None
    device: str | None = None

    def make(self) -> Promptable:
        """Return the promptable; errors as `openmedlab.zoo.methods.promptable`."""
        return promptable(self.name, self.weights, self.device)


def _builtin(choice: LocalizerChoice) -> Localizer:
    made: Localizer = load_object("openmedlab.builtin.localizer:BuiltinLocalizer")()
    return made


def _medlam(choice: LocalizerChoice) -> Localizer:
    network, version = trained(MEDLAM, choice.weights)
    device: Any = choice.device or default_device()
    made: Localizer = load_object("openmedlab.medlam.localizer:MedLam")(
        network, device=device, version=version, parts=choice.parts
    )
    return made


LOCALIZERS: dict[str, Callable[[LocalizerChoice], Localizer]] = {
    BUILTIN: _builtin,
    MEDLAM: _medlam,
}
