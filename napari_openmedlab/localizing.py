"""`LocalizeController`: what the *Localize* widget does, without Qt widgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from psygnal import Signal

from napari_openmedlab.background import Background, silence
from napari_openmedlab.found import FoundOrgan
from napari_openmedlab.layers.boxes import BoxLayer
from napari_openmedlab.layers.geometry import check_stack, finest, volume_of
from napari_openmedlab.organ_masks import OrganMasks
from napari_openmedlab.readers import image_layer
from napari_openmedlab.searching import Found, Searcher
from openmedlab import __version__
from openmedlab.core import (
    Cancelled,
    CancelToken,
    InputError,
    Localization,
    LogitsPatch,
    OpenMedLabError,
    Progress,
    Volume,
)
from openmedlab.engine import Ticket, home, inference_thread
from openmedlab.io import read_volume
from openmedlab.localization.methods import BUILTIN, LocalizerChoice
from openmedlab.localization.organs import organ_label
from openmedlab.localization.points import to_grid, to_world
from openmedlab.localization.review import CohortReview, Decision, Review
from openmedlab.localization.templates import TemplateLibrary

T = TypeVar("T")


class LocalizeController:
    """Organs of one scan after the other: found, looked at, decided, segmented.

    Notes
    -----
    Signals, all on the GUI thread: ``told(str, bool)`` a sentence, and whether it is an error;
    ``library_changed()``; ``scan_changed()``; ``organs_changed()``; ``picked(str)``;
    ``busy_changed(bool)``; ``progressed(int, int, str)``.
    """

    told = Signal(str, bool)
    library_changed = Signal()
    scan_changed = Signal()
    organs_changed = Signal()
    picked = Signal(str)
    busy_changed = Signal(bool)
    progressed = Signal(int, int, str)

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.library: TemplateLibrary | None = None
        self.wanted: set[str] = set()
        self.localizer = LocalizerChoice()
        self.method = BUILTIN
        self.image: Image | None = None
        self.volume: Volume | None = None
        self.organs: dict[str, FoundOrgan] = {}
        self.boxes: BoxLayer | None = None
        self.masks: OrganMasks | None = None
        self.cohort: CohortReview | None = None
        self._in_cohort = False
        self._single: Review | None = None
        self._searcher = Searcher()
        self._tickets: list[Ticket[Any]] = []
        self._background = Background(inference_thread())
        viewer.layers.events.removed.connect(self._on_layer_removed)

    # ------------------------------------------------------------- templates
    def open_library(self, folder: Path) -> None:
        """Show the templates of a folder; all its organs are wanted."""
        try:
            self.library = TemplateLibrary(folder)
        except InputError as error:
            self._fail(error)
            return
        self.wanted = set(self.library.organs)
        self.library_changed.emit()
        if not self.library.templates:
            text = f"{folder} holds no templates; mark organs in the Templates widget."
            self.told.emit(text, True)

    # ------------------------------------------------------------------ scan
    def choose(self, image: Image | None) -> None:
        """Work on an image layer."""
        if image is self.image:
            return
        self._leave()
        self._in_cohort = False
        self.image = image
        self.scan_changed.emit()
        self.organs_changed.emit()

    def _leave(self) -> None:
        """Let go of the present scan; its image and labels stay in the viewer."""
        self.cancel()
        if self.boxes is not None:
            self.boxes.close()
            self.boxes.remove_layer()
        if self.masks is not None:
            self.masks.close()
        self.boxes, self.masks, self.volume = None, None, None
        self.organs = {}

    def _on_layer_removed(self, event: Any) -> None:
        if event.value is self.image:
            self.choose(None)
        elif self.masks is not None and self.masks.lost(event.value):
            self.told.emit("The label layer was deleted; the next mask brings it back.", False)

    # --------------------------------------------------------------- finding
    def run(self) -> None:
        """Find the wanted organs in the open scan."""
        image, library = self.image, self.library
        try:
            if library is None or not self.wanted:
                raise InputError("Choose a template library and at least one organ first.")
            if image is None:
                raise InputError("Open a scan first, or choose a folder of scans.")
            check_stack(image, "organs are found in volumes")
            volume = volume_of(image)
            part = library.only(sorted(self.wanted))
        except OpenMedLabError as error:
            self._fail(error)
            return
        self._submit(
            partial(self._searcher.search, part, volume, self.localizer),
            partial(self._show_found, image, volume, part),
        )

    def _show_found(
        self, image: Image, volume: Volume, library: TemplateLibrary, found: Found
    ) -> None:
        if image is not self.image or image not in self.viewer.layers:
            return
        try:
            said = self.review
        except InputError as error:
            self._fail(error)
            return
        self.volume = volume
        codes = {t.organ: t.code for t in reversed(library.templates)}
        self.organs = {
            organ: FoundOrgan.of(organ, codes[organ], found.organs.get(organ))
            for organ in library.organs
        }
        self._recall(said, volume)
        if self.boxes is None:
            self.boxes = BoxLayer(self.viewer, image)
            self.boxes.changed.connect(self._on_box)
            self.boxes.removed.connect(self.reject)
            self.boxes.picked.connect(self.picked.emit)
        self._show_boxes()
        low = sum(o.low and o.located is not None for o in self.organs.values())
        text = f"{len(found.organs)} of {len(self.organs)} organs found"
        text += f", {low} to look at (low confidence)." if low else "."
        self.told.emit(" ".join([text, *found.remarks]), bool(found.remarks))
        first = next(iter(self.boxes.boxes), None)
        if first is not None:
            self.boxes.go_to(first)

    def _recall(self, review: Review, volume: Volume) -> None:
        """Take up what was decided on this scan before, and make those masks again."""
        for organ, said in review.of(self._key()).items():
            found = self.organs.get(organ)
            if found is None or found.located is None:
                continue
            found.decision = said.decision
            if len(said.points) == 6:
                found.take(to_grid(said.points, volume.geometry))
            if said.decision != "rejected":
                self._make_mask(found)

    def _show_boxes(self) -> None:
        if self.boxes is not None:
            boxes = {name: o.box() for name, o in self.organs.items()}
            self.boxes.show({name: box for name, box in boxes.items() if box is not None})
        self.organs_changed.emit()

    def _on_box(self, organ: str) -> None:
        """Take the box as the user dragged it; a decision on it is open again."""
        assert self.boxes is not None
        box, found = self.boxes.boxes[organ], self.organs[organ]
        found.lower, found.upper = box.lower.copy(), box.upper.copy()
        found.decision = None
        self._show_boxes()

    def go_to(self, organ: str) -> None:
        """Show the middle of an organ's box."""
        if self.boxes is not None and organ in self.boxes.boxes:
            self.boxes.go_to(organ)

    def set_end(self, organ: str, last: bool) -> None:
        """Let a box begin, or end, at the slice in view."""
        if self.boxes is not None and organ in self.boxes.boxes:
            self.boxes.set_end(organ, last)

    # -------------------------------------------------------------- deciding
    def accept(self, organ: str) -> None:
        """Take a box, as found or as corrected, and make its mask."""
        found = self.organs.get(organ)
        if found is None or found.located is None or self.volume is None:
            return
        self._decide(found, "corrected" if found.moved else "accepted")
        self._make_mask(found)

    def _make_mask(self, found: FoundOrgan) -> None:
        assert self.volume is not None
        assert found.located is not None
        organ, located = found.organ, found.located
        if found.moved:
            located = Localization(found.points, found.confidence)
        self._submit(
            partial(self._searcher.mask, self.volume, self.method, organ, located),
            partial(self._write_mask, self.volume, organ),
        )

    def accept_sure(self) -> None:
        """Accept every box of good confidence that is still open."""
        for organ, found in self.organs.items():
            if found.decision is None and not found.low:
                self.accept(organ)

    def reject(self, organ: str) -> None:
        """Refuse a box; its mask, if there is one, goes."""
        found = self.organs.get(organ)
        if found is None or found.located is None:
            return
        self._decide(found, "rejected")
        if self.masks is not None:
            self.masks.remove(self._number(organ))
        found.masked = False
        self.organs_changed.emit()

    def _decide(self, found: FoundOrgan, decision: Decision) -> None:
        assert self.volume is not None
        found.decision = decision
        points = () if decision == "rejected" else to_world(found.points, self.volume.geometry)
        self.review.decide(self._key(), found.organ, decision, found.confidence, points)
        self._show_boxes()

    def _key(self) -> str:
        """Return the name under which the open scan is reviewed."""
        if self.scan_name:
            return self.scan_name
        return self.volume.identity if self.volume is not None else ""

    def _number(self, organ: str) -> int:
        return 1 + list(self.organs).index(organ)

    @property
    def review(self) -> Review:
        """The journal of the cohort, or of single scans on this computer."""
        if self.cohort is not None and self._in_cohort:
            return self.cohort.review
        if self._single is None:
            self._single = Review(home() / "reviews" / "single_scans.jsonl")
        return self._single

    @property
    def counts(self) -> dict[Decision, int]:
        """What was decided so far, in the cohort or on single scans; nothing before a scan."""
        opened = self._single is not None or (self.cohort is not None and self._in_cohort)
        return self.review.counts if opened else {}

    def _write_mask(self, volume: Volume, organ: str, patch: LogitsPatch) -> None:
        found = self.organs.get(organ)
        if volume is not self.volume or found is None or found.decision == "rejected":
            return
        if self.masks is None:
            assert self.image is not None
            self.masks = OrganMasks(self.viewer, self.image, volume)
        number = self._number(organ)
        self.masks.write(number, organ_label(organ, found.code, number), patch)
        found.masked = True
        self.organs_changed.emit()

    def make_template(self, organ: str) -> None:
        """Let an organ as it stands become a template of the library."""
        found, library, volume = self.organs.get(organ), self.library, self.volume
        if found is None or found.located is None or library is None or volume is None:
            return
        points = to_world(found.points, volume.geometry)
        try:
            made = library.add(organ, points, volume, code=found.code, replace_old=True)
        except OpenMedLabError as error:
            self._fail(error)
            return
        self.library_changed.emit()
        self.told.emit(f"Template {made.name} was added to {library.folder}.", False)

    # ---------------------------------------------------------------- cohort
    def open_cohort(self, folder: Path) -> None:
        """Go through the scans below a folder; go on where an earlier review stopped."""
        try:
            cohort = CohortReview(folder)
        except OpenMedLabError as error:
            self._fail(error)
            return
        if self.cohort is not None:
            self.cohort.review.close()
        self.cohort = cohort
        self._open_next()

    def next_scan(self) -> None:
        """Save the masks of this scan, note that it is done, and open the next one."""
        if self.cohort is None:
            self.told.emit("Choose a folder of scans to go through first.", True)
        elif not self._in_cohort:
            self._open_next()
        elif self.busy:
            self.told.emit("Wait until the masks are there (or cancel), then go on.", True)
        elif self.masks is None:
            self._finish_scan()
        else:
            path = self.cohort.labels_path()
            work = partial(self.masks.save, path, self.method, __version__)
            self._submit(lambda _progress, _cancel: work(), lambda _path: self._finish_scan())

    def _finish_scan(self) -> None:
        assert self.cohort is not None
        self.cohort.finish()
        self._open_next()

    def _open_next(self) -> None:
        """Open the first scan that is not done; one that cannot be read is told and passed."""
        assert self.cohort is not None
        self._clear_layers()
        self._in_cohort = True
        scan = self.cohort.next()
        self.scan_changed.emit()
        self.organs_changed.emit()
        if scan is None:
            self.told.emit("There is no scan left to do in this folder.", False)
            return
        self._submit(lambda _progress, _cancel: read_volume(scan.image), self._show, self._pass)

    def _pass(self, error: Exception) -> None:
        self._fail(error)
        if not isinstance(error, Cancelled) and self.cohort is not None:
            self.cohort.pass_over()
            self._open_next()

    def _clear_layers(self) -> None:
        layers = [self.image, self.masks.layer if self.masks is not None else None]
        self._leave()
        self.image = None
        if not self._in_cohort:
            return
        for layer in layers:
            if layer is not None and layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def _show(self, volume: Volume) -> None:
        data, options, _ = image_layer(replace(volume, name=self.scan_name))
        image = Image(data, **options)
        self.viewer.add_layer(image)
        self.viewer.reset_view()
        middle = np.asarray(image.data_to_world([n // 2 for n in finest(image).shape]))
        last = self.viewer.dims.ndim
        self.viewer.dims.set_point(range(last - 3, last), middle)
        self.image = image
        self.scan_changed.emit()
        self.run()

    @property
    def scan_name(self) -> str:
        """Name of the cohort's scan in view."""
        scan = self.cohort.current if self.cohort is not None and self._in_cohort else None
        return scan.name.as_posix() if scan is not None else ""

    # --------------------------------------------------------------- running
    @property
    def busy(self) -> bool:
        """Whether something runs or waits."""
        return bool(self._tickets)

    def _submit(
        self,
        work: Callable[[Progress, CancelToken], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Run ``work(progress, cancel)`` on the inference thread; show that something runs."""
        holder: list[Ticket[T]] = []

        def end() -> None:
            self._tickets[:] = [t for t in self._tickets if t not in holder]
            self.busy_changed.emit(self.busy)

        def on_done(value: T) -> None:
            end()
            done(value)

        def on_failed(error: Exception) -> None:
            end()
            (failed or self._fail)(error)

        holder.append(self._background.submit(work, on_done, on_failed, self.progressed.emit))
        self._tickets.append(holder[0])
        self.busy_changed.emit(True)

    def cancel(self) -> None:
        """Stop what runs and waits."""
        for ticket in list(self._tickets):
            ticket.cancel()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            self.told.emit("Cancelled.", False)
        elif isinstance(error, OpenMedLabError):
            self.told.emit(str(error), True)
        else:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            self.told.emit(f"This failed ({what}); nothing was changed.", True)

    def close(self) -> None:
        """End everything and say nothing more; image and labels stay."""
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        silence(self)
        self._background.close()
        self._leave()
        for review in (self._single, self.cohort.review if self.cohort is not None else None):
            if review is not None:
                review.close()
        self.cohort, self._single = None, None
