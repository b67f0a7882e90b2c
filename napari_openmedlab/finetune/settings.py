"""What the user chose, and the models there are to choose from."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openmedlab.core import InputError
from openmedlab.tuning.data import Cohort
from openmedlab.zoo import ModelCard, State, WeightsStore, cards, model_state

if TYPE_CHECKING:
    from openmedlab.tuning.plan import Request

EPOCHS = 50


@dataclass(frozen=True)
class Tunable:
    """A model for the menu.

    Attributes
    ----------
    card
        Of the model.
    state, detail
        What stands between the user and a start from its own weights, as in the other menus.
    scratch
        Whether it can start from random weights.
    """

    card: ModelCard
    state: State
    detail: str
    scratch: bool


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes
    ----------
    model
        Name of a card.
    folder
        Of the labelled volumes.
    without
        Numbers of the labels that are not learned.
    judges
        Names of the volumes that judge; a quarter by chance where there are none.
    weights, scratch
        Where to start instead of at the model's own weights: a file, or random weights.
    few_shot
        Keep the encoder as it is.
    epochs, steps
        How long at most; ``steps`` counts if given.
    out
        Folder of the result; one beside `folder` where it is None.
    name
        Of the new model.
    """

    model: str = ""
    folder: Path | None = None
    without: frozenset[int] = frozenset()
    judges: frozenset[str] = frozenset()
    weights: Path | None = None
    scratch: bool = False
    few_shot: bool = False
    epochs: int = EPOCHS
    steps: int | None = None
    out: Path | None = None
    name: str = ""

    @property
    def called(self) -> str:
        """The new model's name, chosen or not."""
        return self.name or f"{self.model.removesuffix('-tuned')}-tuned"

    @property
    def target(self) -> Path | None:
        """Folder of the result, chosen or not; None as long as there is nothing to lie beside."""
        if self.out is not None or self.folder is None:
            return self.out
        return self.folder.parent / f"{self.folder.name}-{self.called}"

    def request(self, cohort: Cohort) -> Request:
        """Return what fine-tuning is asked for.

        Raises
        ------
        InputError
            No label is left.
        """
        from openmedlab.tuning.plan import Request

        labels = [number for number in cohort.labels if number not in self.without]
        if not labels:
            raise InputError("There is nothing to learn; tick at least one label.")
        assert self.target is not None
        return Request(
            model=self.model,
            cohort=cohort,
            out=self.target,
            labels=tuple(map(str, labels)) if self.without else (),
            weights=self.weights,
            scratch=self.scratch,
            few_shot=self.few_shot,
            epochs=self.epochs,
            steps=self.steps,
            validation=tuple(name for name in cohort.names if name in self.judges),
            name=self.called,
        )


def tunable_models() -> dict[str, Tunable]:
    """Return the models that can be fine-tuned, by name; call it off the GUI thread.

    Raises
    ------
    InputError
        PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("Fine-tuning runs on PyTorch; pip install 'napari-openmedlab[local]'.")
    from openmedlab.tuning.families import FAMILIES
    from openmedlab.tuning.plan import tunable
    from openmedlab.zoo.registry import load_object

    stored, store = cards(), WeightsStore()
    found = {}
    for name, card in tunable().items():
        state, detail = model_state(store.info(name)) if name in stored else ("ready", "bundled")
        found[name] = Tunable(card, state, detail, load_object(FAMILIES[card.network]).scratch)
    return found
