"""`Edit` <-> the undo history of a Labels layer, both ways.

Masks enter the layer as one step of its own history, so that Ctrl+Z takes back clicks
and brush strokes alike. Strokes, fills, undo and redo are found out and told to the
session. Nothing here looks at more voxels than changed.

The layer announces new steps (``events.paint``) but not undo and redo; those refresh it,
and the lengths of its two stacks then tell what happened. This is the one module that
reads napari's private history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from psygnal import Signal

from napari_openmedlab.layers.geometry import volumetric
from openmedlab.core import Edit, Region

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
        self._done = _edits_of(self.labelmap, layer._undo_history)
        self._undone = _edits_of(self.labelmap, layer._redo_history, step=-1)
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
        with self._own_step():
            if prepared.indices is not None:
                where = prepared.indices[3 - self.layer.ndim :]
                self.layer.data_setitem(where, prepared.values)
            else:
                self._write_box(prepared.edit)
        self._remember(prepared.edit)

    @contextmanager
    def _own_step(self) -> Iterator[None]:
        """Take what the layer announces as part of a step that is known already."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    def _write_box(self, edit: Edit) -> None:
        """Do what `data_setitem` does for a box; a history step takes any numpy index."""
        where = edit.region.slices[3 - self.layer.ndim :]
        shape = self._array[where].shape
        before, after = edit.before.reshape(shape), edit.after.reshape(shape)
        self._array[where] = after
        self.layer._save_history((where, before, after))
        self.layer.refresh(extent=False)

    def _remember(self, edit: Edit | None) -> None:
        self._done.append(edit)
        self._undone.clear()

    def _on_paint(self, event: Any) -> None:
        if self._writing:
            return
        edit = _edit_of(self.labelmap, event.value)
        self._remember(edit)
        self._tell(edit)

    def sync(self, event: Any = None) -> None:
        """Find out what was undone or redone since the last look."""
        layer = self.layer
        if self._writing or layer._staged_history:
            return
        if not layer._undo_history and not layer._redo_history:
            self._done.clear()
            self._undone.clear()
        while len(self._undone) < len(layer._redo_history):
            edit = self._done.pop()
            self._undone.append(edit)
            self._tell(edit.inverse() if edit is not None else None)
        while len(self._undone) > len(layer._redo_history):
            edit = self._undone.pop()
            self._done.append(edit)
            self._tell(edit)

    def _tell(self, edit: Edit | None) -> None:
        if edit is not None:
            with self._own_step():
                self.adopted.emit(edit)

    def _on_data(self, event: Any) -> None:
        if self.layer.data is not self._array:
            self.replaced.emit()


def _edits_of(labelmap: npt.NDArray[Any], history: deque[Any], step: int = 1) -> deque[Edit | None]:
    """Turn a history into edits; ``step=-1`` for redo, whose items are kept backwards."""
    return deque([_edit_of(labelmap, item[::step]) for item in history], history.maxlen)


def _edit_of(labelmap: npt.NDArray[Any], item: list[Any]) -> Edit | None:
    """Turn a step of a Labels layer's history, applied or about to be, into an edit.

    An atom of a step is either (indices, old values, new values), or has the attributes
    ``slice_key``, ``mask`` (None: all of the box), ``old_values`` and ``new_value``.
    """
    region = Region((0, 0, 0), (0, 0, 0))
    for atom in item:
        region = region.union(_region_of(atom))
    before = labelmap[region.slices].copy()
    for atom in reversed(item):
        _replay(before, atom, region, undo=True)
    after = before.copy()
    for atom in item:
        _replay(after, atom, region, undo=False)
    return Edit.between(before, after, region)


def _region_of(atom: Any) -> Region:
    key = atom.slice_key if hasattr(atom, "slice_key") else atom[0]
    if isinstance(key[0], slice):
        bounds = [(k.start, k.stop) for k in key]
    else:
        bounds = [(int(k.min()), int(k.max()) + 1) for k in key]
    bounds = [(0, 1)] * (3 - len(bounds)) + bounds
    return Region(tuple(a for a, _ in bounds), tuple(b for _, b in bounds))


def _replay(labels: npt.NDArray[Any], atom: Any, region: Region, *, undo: bool) -> None:
    """Write an atom's old or new values into ``labels``, which lie at ``region``."""
    if not hasattr(atom, "slice_key"):
        keys, old, new = atom
        if isinstance(keys[0], slice):
            box = labels[_region_of(atom).relative_to(region).slices]
            box[:] = old if undo else new
            return
        start = region.start[3 - len(keys) :]
        where = tuple(np.asarray(k) - o for k, o in zip(keys, start, strict=True))
        labels[(0,) * (3 - len(keys)) + where] = old if undo else new
        return
    box = labels[_region_of(atom).relative_to(region).slices]
    flat = box[0] if len(atom.slice_key) == 2 else box
    flat[... if atom.mask is None else atom.mask] = atom.old_values if undo else atom.new_value
