"""`AxonsController`: what the *Axons* widget does, without Qt widgets."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from psygnal import Signal

from napari_openmedlab.axons.checks import check_volume, levels_of, missing, source_of
from napari_openmedlab.axons.map import BlockMap
from napari_openmedlab.axons.tracing import Traced, skeleton_layer, trace
from napari_openmedlab.axons.trial import Trial, trial_layer, visible_region
from napari_openmedlab.background import Background, silence
from napari_openmedlab.layers.geometry import KEY, finest, grid_of, volume_of
from openmedlab.axons.export import write_table
from openmedlab.axons.methods import METHODS, AxonSegmenter, SegmenterChoice, default_method
from openmedlab.axons.segment import BLOCK, AxonRun, Segmented, finished, segment_volume
from openmedlab.blocks import BlockEvent, BlockGrid, ImageSource, crew
from openmedlab.core import Cancelled, CancelToken, InputError, OpenMedLabError, Progress, Volume
from openmedlab.core.region import Index3
from openmedlab.engine import InferenceThread, Ticket, TicketState, inference_thread

log = logging.getLogger(__name__)
Spacing = tuple[float, float, float]


class AxonsController:
    """Tries methods on the visible part of an image, and runs them on the whole file.

    Attributes
    ----------
    image
        The layer at hand.
    method, threshold
        What finds axons; a threshold of None is the method's own.
    voxel_size
        (z, y, x) in micrometres where the user corrected it, else None.
    workers
        Processes of a whole run; 0 works in this one.
    block
        Voxels along (z, y, x) that one task does.
    trial, trial_layer
        The last try, if any.
    run, map, labels_layer
        The whole run: its settings, how far it is, and its labels in the viewer.
    traced
        Skeletons and lengths of its labels, if they were asked for.

    Notes
    -----
    Signals, all on the GUI thread: ``told(str, bool)`` a sentence and whether it is an
    error; ``image_changed()``; ``method_changed()``; ``busy_changed()``;
    ``progressed(int, int, str)``; ``map_changed()``;
    ``traced_changed()``.
    """

    told = Signal(str, bool)
    image_changed = Signal()
    method_changed = Signal()
    busy_changed = Signal()
    progressed = Signal(int, int, str)
    map_changed = Signal()
    traced_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.image: Image | None = None
        self.method = default_method()
        self.threshold: float | None = None
        self.smallest: int | None = None
        self.voxel_size: Spacing | None = None
        self.workers = max(1, (os.cpu_count() or 2) // 2)
        self.block: Index3 = BLOCK
        self.trial: Trial | None = None
        self.trial_layer: Labels | None = None
        self.run: AxonRun | None = None
        self.map: BlockMap | None = None
        self.labels_layer: Labels | None = None
        self.traced: Traced | None = None
        self._segmenters: dict[tuple[str, str], AxonSegmenter] = {}
        self._tickets: list[Ticket[Any]] = []
        self._events: SimpleQueue[BlockEvent] = SimpleQueue()
        self._tries = Background(inference_thread())
        self._own_thread = InferenceThread("axons")
        self._runs = Background(self._own_thread)
        viewer.layers.events.removed.connect(self._on_removed)

    # ---------------------------------------------------------------- choice
    def choose_image(self, image: Image | None) -> None:
        """Work on this layer from now on; say at once if that cannot be done."""
        self.image, self.voxel_size = image, None
        self.told.emit("", False)
        self.image_changed.emit()
        if image is not None:
            self._attempt(lambda: check_volume(image))

    def choose_method(self, name: str) -> None:
        """Use another method from now on, by its own rules."""
        self.method, self.threshold, self.smallest = name, None, None
        self.method_changed.emit()
        needs = missing(self.choice)
        self.told.emit(needs, bool(needs))

    @property
    def choice(self) -> SegmenterChoice:
        """The chosen method."""
        return METHODS[self.method]

    @property
    def level(self) -> float:
        """The threshold in use."""
        return self.choice.threshold if self.threshold is None else self.threshold

    def choose_threshold(self, threshold: float) -> None:
        """Use another threshold; the try follows at once."""
        self.threshold = threshold
        self._mask_again()

    @property
    def least(self) -> int:
        """Fewest voxels of a piece."""
        return self.choice.smallest if self.smallest is None else self.smallest

    def choose_smallest(self, voxels: int) -> None:
        """Leave out pieces of fewer voxels; the try follows at once."""
        self.smallest = voxels
        self._mask_again()

    def _mask_again(self) -> None:
        if self.trial is not None and self.trial_layer is not None:
            self.trial_layer.data = self.trial.mask(self.level, self.least)

    def choose_voxel_size(self, size: Spacing) -> None:
        """Correct the voxel size (z, y, x) in micrometres; the layer is rescaled."""
        if self.image is None:
            return
        self.voxel_size = size
        self.image.metadata.get(KEY, {}).pop("geometry", None)
        self.image.units = ("um",) * self.image.ndim
        self.image.scale = size[-self.image.ndim :]

    # ------------------------------------------------------------------- try
    def try_visible(self, canvas: tuple[int, int]) -> None:
        """Find axons in what is looked at; ``canvas`` is its height and width in pixels."""

        def start() -> None:
            image, choice = self._ready()
            volume = volume_of(image)
            region = visible_region(self.viewer, image, canvas)

            def work(progress: Progress, cancel: CancelToken) -> Trial:
                segmenter = self._segmenter(volume, choice, progress, cancel)
                progress.report(0, 0, f"{choice.title} on {' x '.join(map(str, region.shape))}")
                return Trial.of(volume.array, region, choice, segmenter)

            self._submit(self._tries, work, self._show_trial, self._fail, "try")

        self._attempt(start)

    def _segmenter(
        self, volume: Volume, choice: SegmenterChoice, progress: Progress, cancel: CancelToken
    ) -> AxonSegmenter:
        """Return the method fitted to this volume's grey values; kept for the next try."""
        key = (choice.name, volume.identity)
        if key not in self._segmenters:
            statistics = choice.measure(volume.array, progress, cancel)
            self._segmenters[key] = choice.make(statistics, None)
        return self._segmenters[key]

    def _show_trial(self, trial: Trial) -> None:
        image = self.image
        if image is None:
            return
        self._drop_trial()
        self.trial = trial
        name = f"{image.name} axons (try)"
        self.trial_layer = trial_layer(trial, image, self.level, self.least, name)
        self.viewer.add_layer(self.trial_layer)
        share = float(np.mean(self.trial_layer.data))
        shape = " x ".join(map(str, trial.region.shape))
        self.told.emit(
            f"{trial.choice.title}: {100 * share:.2f} % of {shape} voxels are axon at "
            f"{self.level:.2f}. Move the threshold, then run the whole volume.",
            False,
        )

    def _drop_trial(self) -> None:
        if self.trial_layer is not None and self.trial_layer in self.viewer.layers:
            self.viewer.layers.remove(self.trial_layer)
        self.trial, self.trial_layer = None, None

    # ------------------------------------------------------------- whole run
    def settings(self) -> AxonRun:
        """Return what a whole run would do.

        Raises
        ------
        InputError
            No image, or one that is no file.
        """
        image, choice = self._ready()
        path = source_of(image)
        if path is None:
            raise InputError(
                f"{image.name!r} is no file that workers could read; save it as OME-Zarr "
                "(File, Save Selected Layers) and open that."
            )
        source = ImageSource(path, spacing=self.voxel_size)
        if tuple(source.open().shape) != tuple(finest(image).shape):
            raise InputError(
                f"{path.name} holds {source.open().shape} voxels but {image.name!r} shows "
                f"{tuple(finest(image).shape)}; open the file itself and choose that layer."
            )
        return AxonRun(
            source,
            choice.name,
            threshold=self.threshold,
            smallest=self.smallest,
            block=self.block,
        )

    @property
    def resumable(self) -> bool:
        """Whether an unfinished run of these settings waits."""
        run = self._ready_run()
        return run is not None and run.folder.exists()

    @property
    def replacing(self) -> bool:
        """Whether to begin anew would throw something away."""
        run = self._ready_run()
        return run is not None and (run.folder.exists() or run.target.exists())

    def _ready_run(self) -> AxonRun | None:
        try:
            return self.settings()
        except OpenMedLabError:
            return None

    def start(self, restart: bool = False) -> None:
        """Segment the whole file in the background, from where an earlier run stopped.

        Parameters
        ----------
        restart
            Begin anew, and replace an earlier result.
        """
        self._attempt(lambda: self._start(restart))

    def _start(self, restart: bool) -> None:
        run = self.settings()
        if not restart:
            finished(run)
        self.run = run
        self.map = BlockMap(BlockGrid(run.source.open().shape, run.block))
        self._drop_labels()
        self._take_traced(None)
        workers = self.workers

        def work(progress: Progress, cancel: CancelToken) -> Segmented:
            progress.report(0, 0, "Starting the workers")
            with crew(workers) as hands:
                return segment_volume(
                    run,
                    hands,
                    restart=restart,
                    progress=progress,
                    cancel=cancel,
                    on_block=self._events.put,
                )

        self._submit(self._runs, work, self._finish, self._end_early, "run")
        self.map_changed.emit()

    def take_in(self) -> None:
        """Take in what happened to blocks since the last call; call it now and then."""
        events: list[BlockEvent] = []
        while True:
            try:
                events.append(self._events.get_nowait())
            except Empty:
                break
        blocks = [e for e in events if e.stage == "segment"]
        if not events or self.map is None:
            return
        for event in blocks:
            if event.index == 0 and event.region.shape != self.map.grid.region(0).shape:
                self.map = BlockMap(BlockGrid(self.map.grid.shape, event.region.shape))
            self.map.note(event)
        self.map_changed.emit()
        self._show_labels()
        if self.labels_layer is not None and any(e.state == "done" for e in events):
            self.labels_layer.refresh()

    def _show_labels(self) -> None:
        """Put the labels that grow on disk into the viewer, all pyramid levels."""
        run, image = self.run, self.image
        if run is None or image is None or self.labels_layer is not None:
            return
        levels = levels_of(run.target)
        if not levels:
            return
        self.labels_layer = Labels(
            levels if len(levels) > 1 else levels[0],
            multiscale=len(levels) > 1,
            name=f"{image.name} {run.name}",
            metadata={KEY: {"method": run.method, "source": run.target}},
            **grid_of(image),
        )
        self.viewer.add_layer(self.labels_layer)
        self.labels_layer.editable = False

    def _drop_labels(self) -> None:
        if self.labels_layer is not None and self.labels_layer in self.viewer.layers:
            self.viewer.layers.remove(self.labels_layer)
        self.labels_layer = None

    def _finish(self, made: Segmented) -> None:
        self.take_in()
        self._show_labels()
        if self.labels_layer is not None:
            self.labels_layer.refresh()
        self._drop_trial()
        by = METHODS[self.run.method].title if self.run is not None else ""
        kept = "; an earlier run had made them" if made.kept else ""
        self.told.emit(
            f"{made.components:,} axon pieces by {by}, {made.voxels:,} voxels, in "
            f"{made.blocks} blocks ({made.empty} empty): {made.labels}{kept}.",
            False,
        )

    # ------------------------------------------------------------- skeletons
    def trace(self) -> None:
        """Thin the finished labels and measure lengths, in the background."""

        def start() -> None:
            labels = self.settings().target
            if not labels.exists():
                raise InputError("There are no axon labels of these settings yet; run them first.")
            workers = self.workers
            self._submit(
                self._runs,
                lambda progress, cancel: trace(labels, workers, progress, cancel),
                self._show_traced,
                self._fail,
                "trace",
            )

        self._attempt(start)

    def _take_traced(self, traced: Traced | None) -> None:
        self.traced = traced
        self.traced_changed.emit()

    def _show_traced(self, traced: Traced) -> None:
        self._take_traced(traced)
        if self.image is not None:
            self.viewer.add_layer(skeleton_layer(traced, self.image))
        self.told.emit(f"{traced.words()}. Skeletons: {traced.skeleton.skeleton}.", False)

    def export(self, path: Path) -> None:
        """Write the table of pieces as .csv or .parquet."""

        def write() -> None:
            if self.traced is None:
                raise InputError("Nothing was measured yet; press 'Skeletons and lengths'.")
            write_table(self.traced.measured.components, path)
            self.told.emit(f"Written: {path}.", False)

        self._attempt(write)

    def go_to(self, y: int, x: int) -> None:
        """Show the middle of a column of blocks."""
        if self.map is None or self.image is None:
            return
        grid = self.map.grid
        middle = (grid.shape[0] / 2, (y + 0.5) * grid.block[1], (x + 0.5) * grid.block[2])
        world = self.image.data_to_world(middle[-self.image.ndim :])
        self.viewer.scene.camera.center = tuple(np.asarray(world, float)[-3:])

    # ------------------------------------------------------------------ work
    @property
    def busy(self) -> bool:
        """Whether something waits or runs."""
        live = (TicketState.QUEUED, TicketState.RUNNING)
        self._tickets = [t for t in self._tickets if t.state in live]
        return bool(self._tickets)

    def cancel(self) -> None:
        """Stop what runs; finished blocks are kept."""
        for ticket in self._tickets:
            ticket.cancel()

    def _submit(
        self,
        background: Background,
        work: Callable[[Progress, CancelToken], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        key: str,
    ) -> None:
        def end(call: Callable[[Any], None]) -> Callable[[Any], None]:
            def ended(result: Any) -> None:
                call(result)
                self.busy_changed.emit()

            return ended

        ticket = background.submit(
            work, end(done), end(failed), self.progressed.emit, key=(id(self), key)
        )
        self._tickets.append(ticket)
        self.busy_changed.emit()

    def _ready(self) -> tuple[Image, SegmenterChoice]:
        if self.image is None:
            raise InputError("Choose an image first.")
        check_volume(self.image)
        if needs := missing(self.choice):
            raise InputError(needs)
        return self.image, self.choice

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except OpenMedLabError as error:
            self._fail(error)

    def _end_early(self, error: Exception) -> None:
        """Say how much of a whole run is kept."""
        self.take_in()
        if isinstance(error, Cancelled) and self.map is not None:
            kept = f"{self.map.finished} of {len(self.map.grid)} blocks are kept"
            self.told.emit(f"Cancelled; {kept}, and the next run goes on from there.", False)
        else:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            self.told.emit("Cancelled.", False)
        elif isinstance(error, OpenMedLabError):
            self.told.emit(str(error), True)
        else:
            log.error("Axons failed", exc_info=error)
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            self.told.emit(f"That failed ({what}).", True)

    def _on_removed(self, event: Any) -> None:
        if event.value is self.image:
            self.choose_image(None)
        elif event.value is self.trial_layer:
            self.trial, self.trial_layer = None, None
        elif event.value is self.labels_layer:
            self.labels_layer = None

    def close(self) -> None:
        """Stop everything, keeping finished blocks, and say nothing more."""
        self.cancel()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        silence(self)
        self._tries.close()
        self._runs.close()
        self._own_thread.close()
