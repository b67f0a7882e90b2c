"""`FinetuneController`: what the *Fine-tune* widget does, without Qt widgets."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from psygnal import Signal

from napari_openmedlab.background import Background, silence
from napari_openmedlab.finetune.layers import labelled_images, writing
from napari_openmedlab.finetune.ready import CHECKPOINT, Ready
from napari_openmedlab.finetune.settings import Settings, Tunable, tunable_models
from napari_openmedlab.finetune.training import Training, told
from openmedlab.core import Cancelled, CancelToken, InputError, OpenMedLabError, Progress
from openmedlab.engine import InferenceThread, Ticket
from openmedlab.tuning.data import Cohort, read_cohort
from openmedlab.zoo import ModelCard, WeightsStore

if TYPE_CHECKING:
    from openmedlab.tuning.finetune import Result

log = logging.getLogger(__name__)


class FinetuneController:
    """Looks at a folder of labelled volumes, plans, trains, and hands the result on.

    Attributes
    ----------
    models
        What can be fine-tuned, by name; empty until it was looked up.
    settings
        What the user chose; changed by `change`.
    cohort, looking, wrong
        The volumes of the folder; how far looking at them is; what is wrong with them.
    ready, lacking
        The plan of these settings; why it cannot start, or why there is none.
    training
        What was trained last, or is being trained.
    result
        What came of it.

    Notes
    -----
    Signals, all on the GUI thread: ``told(str, bool)`` a sentence and whether it is an
    error; ``models_changed()``; ``cohort_changed()``; ``planned()`` the plan, or what it
    lacks, changed; ``busy_changed()`` a training began or ended; ``stored(ModelCard)`` the
    result became a model of the store.
    """

    told = Signal(str, bool)
    models_changed = Signal()
    cohort_changed = Signal()
    planned = Signal()
    busy_changed = Signal()
    stored = Signal(ModelCard)

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.models: dict[str, Tunable] = {}
        self.settings = Settings()
        self.cohort: Cohort | None = None
        self.looking, self.wrong, self.lacking = "", "", ""
        self.ready: Ready | None = None
        self.training: Training | None = None
        self.result: Result | None = None
        self._ticket: Ticket[Any] | None = None
        self._thread = InferenceThread("finetune")
        self._background = Background(self._thread)
        self.refresh_models()

    # --------------------------------------------------------------- choices
    def refresh_models(self, _changed: str = "") -> None:
        """Look again which models there are and which of them have their weights."""
        self._background.submit(
            lambda *_: tunable_models(), self._take_models, self._lack, key="models"
        )

    def _take_models(self, models: dict[str, Tunable]) -> None:
        self.models = models
        if self.settings.model not in models:
            ready = (name for name, model in models.items() if model.state == "ready")
            self.settings = replace(self.settings, model=next(ready, next(iter(models))))
        self.models_changed.emit()
        self._plan()

    def change(self, **chosen: Any) -> None:
        """Choose otherwise (fields of `Settings`); the plan follows."""
        settings = replace(self.settings, **chosen)
        if settings != self.settings:
            self.settings = settings
            self._plan()

    def choose_folder(self, folder: Path) -> None:
        """Look at the labelled volumes of a folder, in the background."""
        if folder != self.settings.folder:
            self.settings = replace(
                self.settings, folder=folder, out=None, without=frozenset(), judges=frozenset()
            )
        self.cohort, self.wrong, self.looking = None, "", f"Looking at {folder.name} …"
        self.told.emit("", False)
        self.cohort_changed.emit()
        self._plan()

        def work(progress: Progress, cancel: CancelToken) -> Cohort:
            return read_cohort(folder, progress, cancel)

        take = partial(self._take_cohort, folder)
        self._background.submit(work, take, self._no_cohort, self._note_looking, key="cohort")

    def _note_looking(self, done: int, total: int, text: str) -> None:
        if self.cohort is None:
            self.looking = f"{text} ({done + 1} of {total})"
            self.cohort_changed.emit()

    def _take_cohort(self, folder: Path, cohort: Cohort) -> None:
        if folder == self.settings.folder:
            self.cohort, self.looking = cohort, ""
            self.cohort_changed.emit()
            self._plan()

    def _no_cohort(self, error: Exception) -> None:
        if not isinstance(error, Cancelled):
            self.looking, self.wrong = "", _sentence(error)
            self.cohort_changed.emit()

    def add_layers(self, folder: Path) -> None:
        """Write the labelled images that are open into a folder, and look at it again."""
        try:
            cohort = self.cohort if folder == self.settings.folder else None
            if cohort is not None and any(pair.image.parent != folder for pair in cohort.pairs):
                raise InputError(
                    f"{folder.name} keeps its volumes in sub-folders; choose another folder for "
                    "those that are open."
                )
            names, write = writing(labelled_images(self.viewer), folder)
        except OpenMedLabError as error:
            self._fail(error)
            return

        def done(_: object) -> None:
            self.choose_folder(folder)
            self.told.emit(f"Added {', '.join(names)} to {folder}.", False)

        self.told.emit(f"Writing {', '.join(names)} …", False)
        self._background.submit(lambda *_: write(), done, self._fail, key="add")

    # ------------------------------------------------------------------ plan
    def _plan(self) -> None:
        """Plan anew what the settings ask for."""
        self.ready, self.lacking = None, ""
        cohort, settings = self.cohort, self.settings
        if cohort is not None and settings.model:
            self._background.submit(
                lambda *_: Ready.of(settings, cohort), self._take_plan, self._lack, key="plan"
            )
        self.planned.emit()

    def _take_plan(self, ready: Ready) -> None:
        if ready.settings == self.settings and ready.plan.request.cohort is self.cohort:
            self.ready, self.lacking = ready, ready.lacking
            self.planned.emit()

    def _lack(self, error: Exception) -> None:
        if not isinstance(error, Cancelled):
            self.lacking = _sentence(error)
            self.planned.emit()

    # -------------------------------------------------------------- training
    @property
    def busy(self) -> bool:
        """Whether a training waits or goes on."""
        return self._ticket is not None

    @property
    def can_start(self) -> bool:
        """Whether there is a plan that can be carried out."""
        return not self.busy and self.ready is not None and not self.ready.lacking

    def start(self, restart: bool = False) -> None:
        """Train as planned, from where an earlier training in the same folder stopped.

        Parameters
        ----------
        restart
            Throw that one away.
        """
        ready = self.ready
        if ready is None or not self.can_start:
            return
        if restart:
            (ready.plan.request.out / CHECKPOINT).unlink(missing_ok=True)
        self.training, self.result = Training(ready.plan), None
        self._ticket = self._background.submit(
            self.training.work, self._finish, self._end_early, key="train"
        )
        self.told.emit("", False)
        self.busy_changed.emit()

    def cancel(self) -> None:
        """Stop after the present update; the work so far is kept."""
        if self._ticket is not None and self.training is not None:
            self.training.stopping = True
            self._ticket.cancel()

    def _finish(self, result: Result) -> None:
        assert self.training is not None
        self.result, self._ticket = result, None
        self.training.points = list(result.curve)
        self.busy_changed.emit()
        self.told.emit(told(self.training.plan, result), False)
        self._plan()

    def _end_early(self, error: Exception) -> None:
        assert self.training is not None
        self._ticket, training = None, self.training
        self.busy_changed.emit()
        if not isinstance(error, Cancelled):
            self._fail(error)
        elif training.resumed_from is None:
            self.told.emit("Cancelled before the first update; prepared volumes are kept.", False)
        else:
            self.told.emit(
                f"Cancelled after update {training.done}; it is kept in "
                f"{training.plan.request.out}, and the next start goes on from there.",
                False,
            )
        self._plan()

    # ---------------------------------------------------------------- result
    def store(self) -> None:
        """Take the result into the weights store, where all widgets find it."""
        result = self.result
        if result is None:
            return

        def work(_: Progress, cancel: CancelToken) -> ModelCard:
            return WeightsStore().import_checkpoint(result.weights, cancel=cancel).card

        self._background.submit(work, self._take_stored, self._fail, key="store")

    def _take_stored(self, card: ModelCard) -> None:
        self.told.emit(f"{card.title} is among the models now.", False)
        self.stored.emit(card)

    # ------------------------------------------------------------------ work
    def _fail(self, error: Exception) -> None:
        if not isinstance(error, Cancelled):
            self.told.emit(_sentence(error), True)

    def close(self) -> None:
        """Stop what runs, keeping the work so far, and say nothing more."""
        silence(self)
        self._background.close()
        self._thread.close()


def _sentence(error: Exception) -> str:
    if isinstance(error, OpenMedLabError):
        return str(error)
    log.error("Fine-tuning failed", exc_info=error)
    return f"That failed ({f'{type(error).__name__}: {error}'.splitlines()[0]})."
