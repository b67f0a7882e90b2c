"""`Edit` <-> the undo history of a Labels layer, both ways.

Masks enter the layer as one step of its own history, so that Ctrl+Z takes back clicks
and brush strokes alike. Strokes, fills, undo and redo are found out and told to the
session. Nothing here looks at more voxels than changed.

The layer announces new steps (``events.paint``) but not undo and redo. Those refresh the
layer, and then a few voxels of the newest step are looked at: do they have the values
they had before it?
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from psygnal import Signal

from openmedlab.core import Edit, Region
from napari_openmedlab.layers.geometry import volumetric

LEVELS = 100
PROBES = 64
LARGE = 100_000
Indices = tuple[npt.NDArray[np.intp], ...]


@dataclass(frozen=True, eq=False)
class PreparedEdit:
    """An edit with everything looked up that costs time, so that writing it is quick.

    `indices` and `values` list the changed voxels; None for a large edit, which is
    written as a box (napari's `data_setitem` takes 90 ns a voxel, a box 2 ns).
    """

    edit: Edit
    indices: Indices | None
    values: npt.NDArray[Any] | None

    @classmethod
    def of(cls, edit: Edit) -> PreparedEdit:
        """Prepare; safe on any thread."""
        edit.touched  # noqa: B018 - computed here, kept for the GUI thread
        if edit.changed > LARGE:
            return cls(edit, None, None)
        return cls(edit, *edit.indices())


@dataclass(frozen=True, eq=False)
class _Step:
    """A step of the layer's history, and how to see whether it is in force."""

    edit: Edit
    probes: Indices
    before: npt.NDArray[Any]
    after: npt.NDArray[Any]

    @classmethod
    def of(cls, edit: Edit) -> _Step:
        local = np.nonzero(edit.before != edit.after)
        some = np.linspace(0, len(local[0]) - 1, min(PROBES, len(local[0]))).astype(int)
        local = tuple(axis[some] for axis in local)
        probes = tuple(a + o for a, o in zip(local, edit.region.start, strict=True))
        return cls(edit, probes, edit.before[local], edit.after[local])

    def undone(self, labelmap: npt.NDArray[Any]) -> bool:
        return bool(np.array_equal(labelmap[self.probes], self.before))

    def done(self, labelmap: npt.NDArray[Any]) -> bool:
        return bool(np.array_equal(labelmap[self.probes], self.after))


class LabelsLink:
    """Keeps a session's labelmap and a Labels layer's history in step.

    Parameters
    ----------
    layer
        Its array is the session's labelmap, not a copy.

    Notes
    -----
    Signals: ``adopted(Edit)`` when the user painted, filled, erased, undid or redid;
    ``replaced()`` when somebody gave the layer another array.
    """

    adopted = Signal(Edit)
    replaced = Signal()

    def __init__(self, layer: Labels) -> None:
        self.layer = layer
        self.labelmap = volumetric(layer.data)
        self._array = layer.data
        self._done: deque[_Step] = deque(maxlen=LEVELS)
        self._undone: deque[_Step] = deque(maxlen=LEVELS)
        self._writing = False
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self.sync)
        layer.events.data.connect(self._on_data)

    def close(self) -> None:
        """Let go of the layer."""
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.set_data.disconnect(self.sync)
        self.layer.events.data.disconnect(self._on_data)

    def write(self, prepared: PreparedEdit) -> None:
        """Apply an edit as one step of the layer's undo history."""
        self.sync()
        self._writing = True
        try:
            if prepared.indices is not None:
                where = prepared.indices[3 - self.layer.ndim :]
                self.layer.data_setitem(where, prepared.values)
            else:
                self._write_box(prepared.edit)
        finally:
            self._writing = False
        self._remember(prepared.edit)

    def _write_box(self, edit: Edit) -> None:
        """Do what `data_setitem` does for a box; a history step takes any numpy index."""
        where = edit.region.slices[3 - self.layer.ndim :]
        shape = self._array[where].shape
        before, after = edit.before.reshape(shape), edit.after.reshape(shape)
        self._array[where] = after
        self.layer._save_history((where, before, after))
        self.layer.refresh(extent=False)

    def _remember(self, edit: Edit) -> None:
        self._done.append(_Step.of(edit))
        self._undone.clear()

    def _on_paint(self, event: Any) -> None:
        if self._writing:
            return
        edit = _edit_of(self.labelmap, event.value)
        if edit is not None:
            self._remember(edit)
            self.adopted.emit(edit)

    def sync(self, event: Any = None) -> None:
        """Find out what was undone or redone since the last look."""
        if self._writing or self.layer._staged_history:
            return
        while self._done and self._done[-1].undone(self.labelmap):
            step = self._done.pop()
            self._undone.append(step)
            self.adopted.emit(step.edit.inverse())
        while self._undone and self._undone[-1].done(self.labelmap):
            step = self._undone.pop()
            self._done.append(step)
            self.adopted.emit(step.edit)

    def _on_data(self, event: Any) -> None:
        if self.layer.data is not self._array:
            self.replaced.emit()


def _edit_of(labelmap: npt.NDArray[Any], item: list[Any]) -> Edit | None:
    """Turn a step of a Labels layer's history, already applied, into an edit.

    An atom of a step is either (indices, old values, new values), or has the attributes
    ``slice_key``, ``mask`` (None: all of the box) and ``old_values``.
    """
    region = Region((0, 0, 0), (0, 0, 0))
    for atom in item:
        region = region.union(_region_of(atom))
    after = labelmap[region.slices]
    before = after.copy()
    for atom in reversed(item):
        _take_back(before, atom, region)
    return Edit.between(before, after, region)


def _region_of(atom: Any) -> Region:
    key = getattr(atom, "slice_key", None) or atom[0]
    if isinstance(key[0], slice):
        bounds = [(k.start, k.stop) for k in key]
    else:
        bounds = [(int(k.min()), int(k.max()) + 1) for k in key]
    bounds = [(0, 1)] * (3 - len(bounds)) + bounds
    return Region(tuple(a for a, _ in bounds), tuple(b for _, b in bounds))


def _take_back(before: npt.NDArray[Any], atom: Any, region: Region) -> None:
    if not hasattr(atom, "slice_key"):
        keys, old, _ = atom
        start = region.start[3 - len(keys) :]
        keys = tuple(np.asarray(k) - o for k, o in zip(keys, start, strict=True))
        before[(0,) * (3 - len(keys)) + keys] = old
        return
    box = before[_region_of(atom).relative_to(region).slices]
    flat = box[0] if len(atom.slice_key) == 2 else box
    flat[... if atom.mask is None else atom.mask] = atom.old_values
