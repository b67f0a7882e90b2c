"""`WholeBodyController`: what the *Whole body* widget does, without Qt widgets."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels
from psygnal import Signal

from napari_openmedlab.background import Background, silence
from napari_openmedlab.layers.geometry import check_labels
from napari_openmedlab.whole_body.checks import volume_to_label
from napari_openmedlab.whole_body.result import Result, layer_of
from napari_openmedlab.whole_body.run import LabelRun
from napari_openmedlab.whole_body.saving import Saving
from napari_openmedlab.whole_body.segment import open_segment, segment_on
from openmedlab.core import InputError, Labeler, OpenMedLabError
from openmedlab.engine import Ticket, TicketState, inference_thread
from openmedlab.labeling.methods import LabelerChoice, OfferedLabeler, offered_labelers
from openmedlab.labeling.statistics import to_csv

log = logging.getLogger(__name__)


class WholeBodyController:
    """Runs labelling models on image layers and keeps what they made.

    Attributes
    ----------
    methods
        The models on offer, by name.
    method, fast
        What the next run uses.
    image
        The layer that the next run labels.
    result
        The labels being looked at, if any.

    Notes
    -----
    Signals, all on the GUI thread: ``told(str, bool)`` a sentence for the status line, and
    whether it is an error; ``methods_changed()``; ``busy_changed(bool)``;
    ``result_changed()`` other labels (or none) are looked at; ``measured()`` their
    measures were taken; ``shown_changed()`` structures were hidden or shown.
    """

    told = Signal(str, bool)
    methods_changed = Signal()
    busy_changed = Signal(bool)
    result_changed = Signal()
    measured = Signal()
    shown_changed = Signal()
    _ended = Signal(object, object)

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.methods: dict[str, OfferedLabeler] = offered_labelers()
        self.method = next(iter(self.methods))
        self.fast = False
        self.image: Image | None = None
        self.result: Result | None = None
        self.run: LabelRun | None = None
        self._ticket: Ticket[None] | None = None
        self._layer: Labels | None = None
        self._made: dict[LabelerChoice, Labeler] = {}
        self._thread = inference_thread()
        self._background = Background(self._thread)
        self._ended.connect(self._finish, thread="main")
        viewer.layers.events.removed.connect(self._on_layer_removed)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, OpenMedLabError):
            self.told.emit(str(error), True)
            return
        log.error("Whole body failed", exc_info=error)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        self.told.emit(f"That failed ({what}).", True)

    # --------------------------------------------------------------- methods
    def refresh_methods(self, changed: str = "") -> None:
        """Look again which models there are; forget the one whose weights ``changed``."""
        self.methods = offered_labelers()
        self._made = {c: made for c, made in self._made.items() if c.name != changed}
        self.methods_changed.emit()

    @property
    def offered(self) -> OfferedLabeler:
        """The chosen model."""
        return self.methods[self.method]

    def choose_method(self, name: str) -> None:
        """Use another model from now on."""
        self.method = name
        self.methods_changed.emit()

    def _labeler(self, choice: LabelerChoice) -> Labeler:
        """Return the model, kept for the next run; called on the inference thread."""
        if choice not in self._made:
            self._made.clear()
            self._made[choice] = choice.make()
        return self._made[choice]

    def choose_image(self, image: Image | None) -> None:
        """Label this layer from now on; say at once if that cannot be done."""
        self.image = image
        self.told.emit("", False)
        try:
            volume_to_label(image, self.offered.title)
        except OpenMedLabError as error:
            self._fail(error)

    # ------------------------------------------------------------------- run
    @property
    def busy(self) -> bool:
        """Whether a run waits or goes on."""
        return self.run is not None

    def start(self, names: Collection[str] | None = None) -> None:
        """Label the chosen image.

        Parameters
        ----------
        names
            Structures of the chosen model; None for all of them.
        """
        if self.busy:
            return
        offered = self.offered
        try:
            if offered.state != "ready":
                raise InputError(
                    f"{offered.title} is not ready: {offered.state} ({offered.detail}); get the "
                    "weights or choose the built-in tissues."
                )
            if names is not None and not names:
                raise InputError("Tick at least one structure to label.")
            volume = volume_to_label(self.image, offered.title)
        except OpenMedLabError as error:
            self._fail(error)
            return
        assert self.image is not None
        wanted = None if names is None else frozenset(names)
        run = LabelRun(self.image, volume, offered, wanted, self.fast)
        choice = LabelerChoice(offered.name, fast=self.fast)
        self.run = run
        self._ticket = run.submit(
            self._thread,
            partial(self._labeler, choice),
            lambda ticket: self._ended.emit(run, ticket),
        )
        self.told.emit("", False)
        self.busy_changed.emit(True)

    def cancel(self) -> None:
        """Stop the run; what is finished is kept."""
        if self._ticket is not None:
            self._ticket.cancel()

    def preview(self) -> None:
        """Show what was finished since the last look."""
        run = self.run
        if run is None or not run.has_news():
            return
        if self._layer is None:
            self._layer = layer_of(run)
            self._layer.editable = False
            if self.result is not None:
                self.result.layer.visible = False
            self.viewer.add_layer(self._layer)
        else:
            self._layer.refresh(extent=False)

    def _finish(self, run: LabelRun, ticket: Ticket[None]) -> None:
        """Keep what is finished, whatever became of the rest."""
        if run is not self.run:
            return
        self.preview()
        layer, self.run, self._ticket, self._layer = self._layer, None, None, None
        kept = layer is not None and layer in self.viewer.layers
        if layer is not None and kept:
            layer.editable = True
            layer.refresh()
            whole = ticket.state is TicketState.DONE
            self._show(Result.of_run(self.viewer, run, layer, self._thread, whole))
        self.busy_changed.emit(False)
        if ticket.state is TicketState.CANCELLED:
            told = f"{run.kept()} is finished and kept" if kept else "nothing was kept"
            self.told.emit(f"Cancelled; {told}.", False)
        elif isinstance(ticket.error, Exception):
            self._fail(ticket.error)

    # ---------------------------------------------------------------- result
    def open_labels(self, layer: Labels | None) -> None:
        """Look at the structures of a Labels layer, such as one opened from a file."""
        if layer is None:
            self._show(None)
            return
        if self.result is not None and self.result.layer is layer:
            return
        try:
            if self.image is not None:
                check_labels(layer, self.image)
        except OpenMedLabError as error:
            self._fail(error)
            self.result_changed.emit()
            return
        self._show(Result(self.viewer, layer, self.image, self._thread))

    def _show(self, result: Result | None) -> None:
        if self.result is not None:
            self.result.close()
        self.result = result
        if result is not None:
            result.measured.connect(self._on_measured)
            result.shown_changed.connect(self.shown_changed.emit)
            result.failed.connect(self._fail)
        self.result_changed.emit()

    def _on_measured(self) -> None:
        """Let *Segment*, where the user clicks, say what a click changed."""
        result = self.result
        if result is not None and result.changed:
            segment = segment_on(self.viewer, result.layer)
            if segment is not None:
                new = "".join(f" {w.text}" for w in result.new_warnings)
                segment.told.emit(f"{result.changes()}{new}", bool(new))
        self.measured.emit()

    def _on_layer_removed(self, event: Any) -> None:
        layer = event.value
        if self.run is not None and layer in (self.run.image, self._layer):
            self.cancel()
        if layer is self.image:
            self.image = None
        if self.result is not None and layer is self.result.layer:
            self._show(None)

    def show(self, numbers: Collection[int], on: bool) -> None:
        """Show or hide structures in the viewer, and in *Segment* where they are objects."""
        result = self.result
        if result is None:
            return
        segment = segment_on(self.viewer, result.layer)
        workspace = segment.workspace_on(result.layer) if segment is not None else None
        if workspace is None:
            result.show(numbers, on)
            return
        session = workspace.session
        with session.objects_changed.paused(lambda *_: ()):
            for obj in session.objects:
                if obj.number in numbers and obj.visible != on:
                    session.update_object(obj.number, visible=on)

    def go_to(self, number: int) -> None:
        """Let the viewer jump to a structure."""
        if self.result is not None:
            self.result.go_to(number)

    def refine(self, number: int) -> None:
        """Take a structure as the object of *Segment*; clicks change it alone."""
        result = self.result
        if self.busy:
            self.told.emit("Wait until the run has ended, or cancel it; then refine.", True)
        elif result is None:
            self.told.emit("There are no labels yet; press Run or choose a label layer.", True)
        elif result.image is None or result.volume() is None:
            self.told.emit("The image of these labels is not open; open it to refine them.", True)
        else:
            result.go_to(number)
            open_segment(self.viewer).open(result.image, result.layer, number=number)

    # ---------------------------------------------------------------- saving
    def save(self, path: Path) -> None:
        """Write labels with names and colours, and their manifest, off the GUI thread."""
        if self.result is None:
            return
        saving = Saving(self.result)
        self.told.emit(f"Saving {path.name} …", False)
        self._background.run(
            partial(saving.write, path),
            lambda made: self.told.emit(f"Saved {made}.", False),
            self._fail,
        )

    def export(self, path: Path) -> None:
        """Write the measures as a CSV table."""
        result = self.result
        if result is None or result.measures is None:
            self.told.emit("There is nothing measured yet; press Run first.", True)
            return
        name = result.image.name if result.image is not None else result.layer.name
        try:
            to_csv({name: result.measures.statistics}, path)
        except OpenMedLabError as error:
            self._fail(error)
            return
        self.told.emit(f"Saved {path}.", False)

    def close(self) -> None:
        """Stop the run and say nothing more; the layers stay."""
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.cancel()
        self.run = None
        if self._layer is not None:
            self._layer.editable = True
        silence(self)
        self._background.close()
        if self.result is not None:
            self.result.close()
