"""Boxes of organs in a Shapes layer: on every slice they reach through, in every orientation.

napari's rectangles are flat. The boxes are kept here; the layer shows where the slice in view
cuts them, and what is dragged there changes the two sides that are seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from psygnal import Signal

from napari_openmedlab.layers.geometry import finest, grid_of

Float64 = npt.NDArray[np.float64]
FEATURES = {"organ": "", "label": ""}


@dataclass
class OrganBox:
    """A box in index coordinates (z, y, x), both ends included, and how it is shown."""

    lower: Float64
    upper: Float64
    label: str
    color: str


class BoxLayer:
    """The boxes of one image.

    Notes
    -----
    Signals: ``changed(str)`` after the user dragged or resized an organ's box; ``removed(str)``
    after they deleted it; ``picked(str)`` after they selected it.
    """

    changed = Signal(str)
    removed = Signal(str)
    picked = Signal(str)

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self.viewer = viewer
        self.image = image
        self.boxes: dict[str, OrganBox] = {}
        self.layer: Shapes | None = None
        self._quiet = False
        for event in self._dims_events():
            event.connect(self.draw)

    def _dims_events(self) -> tuple[Any, ...]:
        events = self.viewer.dims.events
        return events.current_step, events.order, events.ndisplay

    def show(self, boxes: dict[str, OrganBox]) -> None:
        """Show these boxes instead of what is there."""
        self.boxes = boxes
        self.draw()

    def close(self) -> None:
        """Let go of the viewer; the layer stays unless it is removed."""
        for event in self._dims_events():
            event.disconnect(self.draw)

    def remove_layer(self) -> None:
        """Take the layer away."""
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer = None

    # --------------------------------------------------------------- drawing
    def draw(self, event: Any = None) -> None:
        """Show where the present slice cuts the boxes."""
        if self.image not in self.viewer.layers or not (self.boxes or self.layer):
            return
        layer = self._made()
        shown = [(o, b, self._rectangle(b)) for o, b in self.boxes.items() if self._is_cut(b)]
        with self._quietly():
            chosen = self.selected
            layer.selected_data = set()
            if layer.data:
                layer.selected_data = set(range(len(layer.data)))
                layer.remove_selected()
            if not shown:
                return
            layer.add_rectangles(
                [r for _, _, r in shown], edge_color=[b.color for _, b, _ in shown]
            )
            layer.features = {
                "organ": [organ for organ, _, _ in shown],
                "label": [box.label for _, box, _ in shown],
            }
            layer.selected_data = {k for k, (o, _, _) in enumerate(shown) if o == chosen}

    @property
    def selected(self) -> str | None:
        """The organ whose box is selected in the layer."""
        if self.layer is None or len(self.layer.selected_data) != 1:
            return None
        (row,) = self.layer.selected_data
        organs = list(self.layer.features.get("organ", ()))
        return str(organs[row]) if row < len(organs) else None

    def _made(self) -> Shapes:
        if self.layer is None or self.layer not in self.viewer.layers:
            self.layer = Shapes(
                ndim=3,
                name=f"{self.image.name} boxes",
                features={name: np.empty(0, object) for name in FEATURES},
                feature_defaults=FEATURES,
                edge_width=max(0.3, max(finest(self.image).shape[-2:]) / 250),
                face_color="#00000000",
                text={"string": "{label}", "size": 10, "color": "white", "anchor": "upper_left"},
                **grid_of(self.image),
            )
            self.viewer.add_layer(self.layer)
            self.layer.mode = "select"
            self.layer.events.data.connect(self._on_data)
            self.layer.events.highlight.connect(self._on_highlight)
        return self.layer

    def _across(self) -> list[int]:
        shown = [axis - self._first_axis for axis in self.viewer.dims.displayed]
        return [axis for axis in range(3) if axis not in shown]

    @property
    def _first_axis(self) -> int:
        """The viewer's axis that is the image's z; other layers may have more axes."""
        return int(self.viewer.dims.ndim) - 3

    def _slice(self, axis: int) -> float:
        here = np.asarray(self.image.world_to_data(self.viewer.dims.point), float)
        return float(np.rint(here[axis]))

    def _is_cut(self, box: OrganBox) -> bool:
        return all(
            np.rint(box.lower[axis]) <= self._slice(axis) <= np.rint(box.upper[axis])
            for axis in self._across()
        )

    def _rectangle(self, box: OrganBox) -> Float64:
        """Return the corners (4, 3) of the cut; in 3-D those of the middle axial slice."""
        across = (self._across() or [0])[0]
        at = self._slice(across) if self._across() else np.rint((box.lower[0] + box.upper[0]) / 2)
        u, v = (axis for axis in range(3) if axis != across)
        corners = np.tile(box.lower, (4, 1))
        corners[1:3, u] = box.upper[u]
        corners[2:4, v] = box.upper[v]
        corners[:, across] = at
        return corners

    # --------------------------------------------------------------- hearing
    @contextmanager
    def _quietly(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _on_data(self, event: Any) -> None:
        action = str(event.action).lower()
        if self._quiet or self.layer is None or action not in ("changed", "removed"):
            return
        if action == "removed":
            self._note_removed()
            return
        for row, organ in enumerate(self.layer.features["organ"]):
            if self._take(str(organ), np.asarray(self.layer.data[row], float)):
                self.changed.emit(str(organ))
        self.draw()

    def _take(self, organ: str, corners: Float64) -> bool:
        """Let a box have the sides drawn; return whether that changed it."""
        box, across = self.boxes[organ], self._across() or [0]
        low, high = corners.min(0), corners.max(0)
        limit = np.asarray(finest(self.image).shape) - 1
        lower, upper = box.lower.copy(), box.upper.copy()
        for axis in range(3):
            if axis not in across:
                lower[axis] = np.clip(low[axis], 0, limit[axis])
                upper[axis] = np.clip(high[axis], 0, limit[axis])
        if np.allclose(lower, box.lower, atol=1e-3) and np.allclose(upper, box.upper, atol=1e-3):
            return False
        box.lower, box.upper = lower, upper
        return True

    def _note_removed(self) -> None:
        assert self.layer is not None
        left = set(map(str, self.layer.features["organ"]))
        gone = [
            organ for organ, box in self.boxes.items() if self._is_cut(box) and organ not in left
        ]
        for organ in gone:
            self.removed.emit(organ)

    def _on_highlight(self, event: Any = None) -> None:
        organ = self.selected
        if not self._quiet and organ is not None:
            self.picked.emit(organ)

    def set_end(self, organ: str, last: bool) -> None:
        """Let a box begin, or end, at the slice in view, across the plane shown."""
        for axis in self._across():
            box, at = self.boxes[organ], self._slice(axis)
            ends = (min(box.lower[axis], at), at) if last else (at, max(box.upper[axis], at))
            box.lower[axis], box.upper[axis] = ends
            self.changed.emit(organ)
        self.draw()

    def go_to(self, organ: str) -> None:
        """Move the viewer to the middle of a box, and have it in hand there."""
        box = self.boxes[organ]
        world = self.image.data_to_world(np.rint((box.lower + box.upper) / 2))
        for axis in self._across():
            self.viewer.dims.set_point(self._first_axis + axis, world[axis])
        self.draw()
        layer = self._made()
        organs = list(map(str, layer.features["organ"]))
        self.viewer.layers.selection.active = layer
        if organ in organs:
            with self._quietly():
                layer.selected_data = {organs.index(organ)}
            self.picked.emit(organ)
