"""`Result`: a Labels layer of named structures, its measures, and what was changed in it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from napari_openmedlab.background import silence
from napari_openmedlab.layers.geometry import (
    KEY,
    check_labels,
    geometry_of,
    grid_of,
    transform_of,
    volume_of,
    volumetric,
)
from napari_openmedlab.layers.labels import LabelsLink
from napari_openmedlab.readers import label_layer
from napari_openmedlab.whole_body.run import LabelRun
from openmedlab.core import (
    CancelToken,
    Edit,
    InputError,
    Label,
    LabelVolume,
    Progress,
    Region,
    Volume,
)
from openmedlab.engine import InferenceThread, Ticket, TicketState
from openmedlab.labeling.measures import Changes, Measures
from openmedlab.labeling.statistics import LabelStatistics
from openmedlab.labeling.warnings import LabelWarning

log = logging.getLogger(__name__)
OPACITY = 0.55
MOST = 4
Counts = dict[int, tuple[int, int]]


def layer_of(run: LabelRun) -> Labels:
    """Return a Labels layer on a run's own array, named, coloured, on the image's grid."""
    name = f"{run.image.name} structures"
    made = LabelVolume(run.array, run.volume.geometry, run.labels, name, run.method)
    data, properties, _ = label_layer(made, run.volume.source)
    layer = Labels(data, **{**properties, **grid_of(run.image), "opacity": OPACITY})
    layer.metadata[KEY]["transform"] = transform_of(layer)
    return layer


@dataclass(frozen=True, eq=False)
class _Taken:
    """What one round of measuring came to."""

    measures: Measures
    edits: int
    counts: Counts
    changed: int


class Result:
    """What a labelling made, or a labelmap opened from a file, as the user works on it.

    Parameters
    ----------
    viewer
        Where the layers are.
    layer
        The labels; names and colours are in its metadata.
    image
        The image they belong to; None leaves the densities out.
    thread
        Measures when nothing else is to be done there.
    expected
        Names that should occur.

    Attributes
    ----------
    measures
        Statistics and warnings; None until they were taken.
    counts, changed
        Voxels that each label gained and lost since, and how many differ in all.
    made, request
        Who made the labels, in words and for a manifest.
    new_warnings
        Those that the newest change brought.

    Notes
    -----
    Signals, on the GUI thread: ``measured()``; ``shown_changed()``; ``failed(Exception)``.
    """

    measured = Signal()
    shown_changed = Signal()
    failed = Signal(Exception)
    _ended = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        layer: Labels,
        image: Image | None,
        thread: InferenceThread,
        expected: Collection[str] = (),
    ) -> None:
        self.viewer = viewer
        self.layer = layer
        self.image = image
        self.measures: Measures | None = None
        self.counts: Counts = {}
        self.changed = 0
        self.made = ""
        self.request: dict[str, Any] = {}
        self.new_warnings: tuple[LabelWarning, ...] = ()
        self._thread = thread
        self._expected = tuple(expected)
        self._pending: deque[Edit] = deque()
        self._ticket: Ticket[_Taken | None] | None = None
        self._ended.connect(self._take, thread="main")
        layer.events.colormap.connect(self._on_colormap)
        self._link()
        self._begin_anew()

    @classmethod
    def of_run(
        cls, viewer: ViewerModel, run: LabelRun, layer: Labels, thread: InferenceThread, whole: bool
    ) -> Result:
        """Return what a run came to; ``whole`` says whether it went to its end."""
        expected = run.names if whole and run.names else ()
        made = cls(viewer, layer, run.image, thread, sorted(expected))
        made.request = run.request(whole)
        part = "" if whole else f", cancelled: {run.kept()}"
        made.made = f"<b>{run.method}</b> in {run.seconds:.1f} s{part}"
        return made

    # ---------------------------------------------------------------- labels
    @property
    def labels(self) -> dict[int, Label]:
        """What the numbers mean, by the layer's metadata."""
        known = self.layer.metadata.get(KEY, {}).get("labels", {})
        return {int(n): v for n, v in known.items() if isinstance(v, Label)}

    @property
    def method(self) -> str:
        """What made the labels; empty where the file does not say."""
        return str(self.layer.metadata.get(KEY, {}).get("method", ""))

    def refined(self) -> str:
        """Name the methods that changed structures afterwards."""
        made = self.layer.metadata.get(KEY, {}).get("made", {})
        return ", ".join(sorted({str(how["method"]) for how in made.values()}))

    def row(self, number: int) -> LabelStatistics | None:
        """Return the measures of one label."""
        rows = self.measures.statistics if self.measures is not None else ()
        return next((r for r in rows if r.number == number), None)

    def changes(self) -> str:
        """Say which structures gained and lost how many voxels since they were labelled."""
        if not self.changed:
            return ""
        names = {number: label.name for number, label in self.labels.items()}
        most = sorted(self.counts.items(), key=lambda item: -sum(item[1]))[:MOST]
        told = [f"{names.get(n, f'label {n}')} +{up:,} −{down:,}" for n, (up, down) in most]
        rest = len(self.counts) - len(told)
        more = f" and {rest} more" if rest > 0 else ""
        return f"{self.changed:,} voxels changed: {', '.join(told)}{more}."

    def volume(self) -> Volume | None:
        """Return the image as it stands now, where it is still on the labels' grid."""
        if self.image is None or self.image not in self.viewer.layers:
            return None
        try:
            check_labels(self.layer, self.image)
            return volume_of(self.image)
        except InputError:
            return None

    def _link(self) -> None:
        self._labelmap = volumetric(self.layer.data)
        self.link = LabelsLink(self.layer)
        self.link.adopted.connect(self._on_edit)
        self.link.replaced.connect(self._on_replaced)

    def _begin_anew(self) -> None:
        """Measure everything, and count changes from here."""
        self._changes = Changes(self._labelmap.shape)
        self._pending.clear()
        self._ticket, self.measures = None, None
        self._measure()

    def _on_replaced(self) -> None:
        """Follow a script that gave the layer another array."""
        before, after = self._labelmap, volumetric(self.layer.data)
        self.link.close()
        self._link()
        if before.shape != after.shape:
            self._begin_anew()
            return
        edit = Edit.between(before, after.astype(before.dtype), Region.whole(before.shape))
        if edit is not None:
            self._on_edit(edit)

    # -------------------------------------------------------------- measures
    def _on_edit(self, edit: Edit) -> None:
        """Measure soon: napari announces a change before it writes it."""
        self._pending.append(edit)
        if self._ticket is None:
            self._ticket = self._thread.submit(
                lambda _progress, _cancel: None, idle=True, on_end=self._ended.emit
            )

    @property
    def measuring(self) -> bool:
        """Whether the measures are not those of the present labels."""
        return self.measures is None or bool(self._pending)

    def _measure(self) -> None:
        """Measure what changed, when the inference thread has nothing else to do."""
        if self._ticket is not None:
            return
        edits, old = tuple(self._pending), self.measures
        image = self.volume()
        geometry = image.geometry if image is not None else geometry_of(self.layer)
        labels = LabelVolume(self._labelmap, geometry, self.labels, self.layer.name)
        changes = self._changes

        def work(progress: Progress, cancel: CancelToken) -> _Taken | None:
            if old is None:
                new = Measures.of(labels, image, self._expected, progress, cancel)
            else:
                new = old.after(edits, labels, image, cancel)
            for edit in edits:
                changes.note(edit)
            counts, total = changes.count(labels.array), changes.total(labels.array)
            return _Taken(new, len(edits), counts, total)

        self._ticket = self._thread.submit(work, idle=True, on_end=self._ended.emit)

    def _take(self, ticket: Ticket[_Taken | None]) -> None:
        """Show what was measured; go on where a click came between or labels changed since."""
        if ticket is not self._ticket:
            return
        self._ticket = None
        taken = ticket.result() if ticket.state is TicketState.DONE else None
        if taken is not None:
            for _ in range(taken.edits):
                self._pending.popleft()
            known = self.measures.warnings if self.measures is not None else ()
            self.measures, self.counts = taken.measures, taken.counts
            self.new_warnings = tuple(w for w in self.measures.warnings if w not in known)
            self.changed = taken.changed
            self.measured.emit()
        elif isinstance(ticket.error, Exception) and ticket.state is TicketState.FAILED:
            log.error("Measuring failed", exc_info=ticket.error)
            self._pending.clear()
            self.failed.emit(ticket.error)
            return
        elif ticket.state is TicketState.CANCELLED:
            return
        if self.measuring:
            self._measure()

    # ------------------------------------------------------------ visibility
    def color(self, number: int) -> tuple[float, float, float]:
        """Return the RGB of a label, also while it is hidden."""
        r, g, b = self._colors().get(number, (0.6, 0.6, 0.6, 1.0))[:3]
        return float(r), float(g), float(b)

    def shown(self, number: int) -> bool:
        """Whether a label is visible."""
        return bool(self._colors().get(number, (0, 0, 0, 1.0))[3] > 0)

    def _colors(self) -> dict[int, np.ndarray]:
        colormap = self.layer.colormap
        if isinstance(colormap, DirectLabelColormap):
            return {n: c for n, c in colormap.color_dict.items() if n}
        return {n: self.layer.get_color(n) for n in self.labels if n}

    def show(self, numbers: Collection[int], on: bool) -> None:
        """Show or hide labels in the viewer."""
        colors: dict[int | None, object] = {None: (0.6, 0.6, 0.6, 1.0), 0: (0.0, 0.0, 0.0, 0.0)}
        for number, color in self._colors().items():
            alpha = float(on) if number in numbers else float(color[3])
            colors[number] = (*map(float, color[:3]), alpha)
        self.layer.colormap = DirectLabelColormap(color_dict=colors)

    def _on_colormap(self) -> None:
        self.shown_changed.emit()

    def go_to(self, number: int) -> None:
        """Let the viewer jump to the centroid of a label."""
        row = self.row(number)
        if row is None:
            return
        geometry = geometry_of(self.layer)
        index = geometry.world_to_index(row.centroid)[3 - self.layer.ndim :]
        world = np.asarray(self.layer.data_to_world(index))
        dims = self.viewer.dims
        first = dims.ndim - world.size
        for axis in dims.not_displayed:
            if axis >= first:
                dims.set_point(axis, world[axis - first])
        centre = np.zeros(3)
        shown = [axis for axis in dims.displayed if axis >= first]
        centre[3 - len(shown) :] = [world[axis - first] for axis in shown]
        self.viewer.scene.camera.center = tuple(centre)
        self.layer.selected_label = number

    def close(self) -> None:
        """Let go of the layer."""
        if self._ticket is not None:
            self._ticket.cancel()
        self._ticket = None
        silence(self)
        self.link.close()
        self.layer.events.colormap.disconnect(self._on_colormap)
