"""Points and Shapes layers <-> `Prompt` values.

One Points layer holds the points and extreme points of all objects, one Shapes layer
their boxes (rectangles), scribbles (paths) and lassos (polygons). Each row's features say
which object it belongs to, whether it is positive, and the order in which it was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes
from psygnal import Signal

from napari_openmedlab.layers.drawn import as_drawn, is_oblique
from napari_openmedlab.layers.geometry import finest, grid_of, positions, put_on_grid
from napari_openmedlab.layers.rows import (
    POINT_FEATURES,
    SHAPE_FEATURES,
    as_rows,
    extreme_rows,
    prompts_of,
)
from napari_openmedlab.tools import TOOLS, Holder, Tool
from openmedlab.core import Prompt

GREEN, RED, AMBER = "#3ddc84", "#ff5252", "#ffc83d"
Holding: TypeAlias = Points | Shapes


@dataclass(frozen=True)
class Hand:
    """What is in the user's hand while drawing: a tool, for an object."""

    tool: Tool
    number: int

    @property
    def color(self) -> str:
        """Colour of the prompts drawn with it."""
        if self.tool.name == "extreme":
            return AMBER
        return GREEN if self.tool.positive else RED


class PromptLayers:
    """The prompt layers of one image; made when first needed.

    Notes
    -----
    Signals: ``changed()`` after the user added, moved or removed a prompt.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self.viewer = viewer
        self.image = image
        self.points: Points | None = None
        self.shapes: Shapes | None = None
        self.hand = Hand(TOOLS["point+"], 1)
        self._quiet = False

    # ---------------------------------------------------------------- layers
    def layer(self, holder: Holder) -> Holding:
        """Return the layer that holds a kind of prompt, made when missing."""
        return self._make_points() if holder == "points" else self._make_shapes()

    def _make_points(self) -> Points:
        if self.points is None or self.points not in self.viewer.layers:
            self.points = Points(
                np.empty((0, self.image.ndim)),
                ndim=self.image.ndim,
                name=f"{self.image.name} points",
                features=_no_rows(POINT_FEATURES),
                feature_defaults=POINT_FEATURES,
                size=max(3.0, self._extent() / 60),
                border_color="black",
                border_width=0.1,
                **grid_of(self.image),
            )
            self._show(self.points)
        return self.points

    def _make_shapes(self) -> Shapes:
        if self.shapes is None or self.shapes not in self.viewer.layers:
            self.shapes = Shapes(
                ndim=self.image.ndim,
                name=f"{self.image.name} shapes",
                features=_no_rows(SHAPE_FEATURES),
                feature_defaults=SHAPE_FEATURES,
                edge_width=max(0.5, self._extent() / 250),
                face_color="#00000000",
                opacity=0.9,
                **grid_of(self.image),
            )
            self._show(self.shapes)
        return self.shapes

    def _extent(self) -> int:
        return int(max(finest(self.image).shape[-2:]))

    def _show(self, layer: Holding) -> None:
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(layer)
        layer.events.data.connect(self._on_data)
        self.viewer.layers.selection.active = active

    def owned(self) -> list[Holding]:
        """The prompt layers there are."""
        here = (self.points, self.shapes)
        return [layer for layer in here if layer is not None and layer in self.viewer.layers]

    def deleted(self) -> bool:
        """Whether the user deleted a prompt layer."""
        here = (self.points, self.shapes)
        return any(layer is not None and layer not in self.viewer.layers for layer in here)

    def lost(self, layer: Any) -> bool:
        """Whether ``layer``, just removed from the viewer, was one of these."""
        return layer is self.points or layer is self.shapes

    def follow_image(self) -> None:
        """Move the layers where the image went."""
        for layer in self.owned():
            put_on_grid(layer, self.image)

    def close(self) -> None:
        """Let go of the layers."""
        for layer in self.owned():
            layer.events.data.disconnect(self._on_data)

    # --------------------------------------------------------------- drawing
    def take(self, hand: Hand) -> Holding:
        """Make the next prompts ones of ``hand``; return its layer, selected, in its mode."""
        self.hand = hand
        layer = self.layer(self._holder(hand.tool))
        self._colour(layer, hand)
        self.viewer.layers.selection.active = layer
        layer.mode = hand.tool.mode
        return layer

    @staticmethod
    def _colour(layer: Holding, hand: Hand) -> None:
        layer.selected_data = set()
        if isinstance(layer, Points):
            layer.current_face_color = hand.color
            layer.current_symbol = "diamond" if hand.tool.name == "extreme" else "disc"
        else:
            layer.current_edge_color = hand.color

    def _holder(self, tool: Tool) -> Holder:
        """`move` works where the newest prompt lies; every other tool has its own layer."""
        if tool.name != "move":
            return tool.holder
        newest = {layer: max(layer.features["order"], default=0) for layer in self.owned()}
        last = max(newest, key=lambda layer: newest[layer], default=None)
        return "shapes" if isinstance(last, Shapes) else "points"

    def _on_data(self, event: Any) -> None:
        action = str(event.action).lower()
        if self._quiet or action not in ("added", "removed", "changed"):
            return
        if action == "added":
            self._stamp_new(event.source)
        self.changed.emit()

    def _stamp_new(self, layer: Holding) -> None:
        """Note whose the new rows are, and in which order they came."""
        seen = {0}
        new = []
        for row, order in enumerate(layer.features["order"].tolist()):
            if int(order) in seen:
                new.append(row)
            seen.add(int(order))
        self._quiet = True
        try:
            for row in new:
                self._stamp(layer, row)
        finally:
            self._quiet = False

    def _stamp(self, layer: Holding, row: int) -> None:
        if is_oblique(layer, self.viewer.dims):
            self._put_under_cursor(layer, row)
        values = {**self._shared_values(), "order": self._newest() + 1}
        replaced: list[int] = []
        if isinstance(layer, Points):
            values |= {"kind": "point", "step": -1}
            if self.hand.tool.name == "extreme":
                step, replaced = self._extreme_step(layer, row)
                values |= {"kind": "extreme", "step": step}
        else:
            values |= {"first": np.nan, "last": np.nan}
        for name, value in values.items():
            layer.features.loc[layer.features.index[row], name] = value
        if replaced:
            layer.remove(replaced)

    def _shared_values(self) -> dict[str, Any]:
        return {"object": self.hand.number, "positive": self.hand.tool.positive}

    def _put_under_cursor(self, layer: Holding, row: int) -> None:
        drawn = as_drawn(layer, self.viewer.dims, np.atleast_2d(layer.data[row]))
        data = list(layer.data)
        data[row] = drawn if isinstance(layer, Shapes) else drawn[0]
        layer.data = data if isinstance(layer, Shapes) else np.array(data)

    def _extreme_step(self, layer: Points, row: int) -> tuple[int, list[int]]:
        """Return the step a new extreme point takes, and the row it replaces if all are there."""
        layer.features.loc[layer.features.index[row], "kind"] = "new"
        rows = extreme_rows(layer, self.hand.number)
        missing = [step for step in range(6) if step not in rows]
        if missing:
            return missing[0], []
        away = {s: float(np.linalg.norm(layer.data[r] - layer.data[row])) for s, r in rows.items()}
        nearest = min(away, key=lambda step: away[step])
        return nearest, [rows[nearest]]

    def _newest(self) -> int:
        orders = [int(v) for layer in self.owned() for v in layer.features["order"]]
        return max(orders, default=0)

    # --------------------------------------------------------------- reading
    def read(self, number: int) -> list[Prompt]:
        """Return the prompts of an object, oldest first.

        Raises
        ------
        PromptError
            A shape is too small, not finite, or not flat.
        """
        return prompts_of(number, *self._parts())

    def _parts(self) -> tuple[Points | None, Shapes | None]:
        owned = self.owned()
        points = self.points if self.points in owned else None
        return points, self.shapes if self.shapes in owned else None

    def extreme_points(self, number: int) -> dict[int, npt.NDArray[np.float64]]:
        """Return the extreme points there are: (z, y, x) by step."""
        points, _ = self._parts()
        if points is None:
            return {}
        rows = extreme_rows(points, number)
        return {step: positions(points, points.data[row])[0] for step, row in rows.items()}

    # --------------------------------------------------------------- writing
    def write(self, prompts: Mapping[int, Sequence[Prompt]]) -> None:
        """Show prompts (of a restored session) in fresh rows, instead of what is there."""
        self._quiet = True
        try:
            for layer in self.owned():
                layer.selected_data = set(range(len(layer.data)))
                layer.remove_selected()
            for number, given in prompts.items():
                for prompt in given:
                    self._write_one(number, prompt)
        finally:
            self._quiet = False

    def _write_one(self, number: int, prompt: Prompt) -> None:
        order = self._newest() + 1
        for row in as_rows(prompt):
            layer = self.layer("points" if row.shape_type is None else "shapes")
            tool = "extreme" if row.features.get("kind") == "extreme" else "point+"
            tool = tool if row.features["positive"] else "point-"
            self._colour(layer, Hand(TOOLS[tool], number))
            data = row.data[..., 3 - layer.ndim :]
            if isinstance(layer, Points):
                layer.add(data)
            else:
                layer.add(data, shape_type=row.shape_type)
            values = {"object": number, "order": order, **row.features}
            for name, value in values.items():
                layer.features.loc[layer.features.index[-1], name] = value
            order += 1

    def drop(self, number: int) -> None:
        """Remove an object's prompts."""
        self._quiet = True
        try:
            for layer in self.owned():
                rows = np.flatnonzero(layer.features["object"].to_numpy() == number)
                layer.remove(rows.tolist())
        finally:
            self._quiet = False

    # ----------------------------------------------------------------- boxes
    def newest_box(self, number: int) -> int | None:
        """Return the row of an object's newest box in the shapes layer."""
        _, shapes = self._parts()
        if shapes is None:
            return None
        rows = [
            row
            for row, kind in enumerate(shapes.shape_type)
            if kind == "rectangle" and shapes.features["object"].iloc[row] == number
        ]
        return max(rows, key=lambda row: shapes.features["order"].iloc[row], default=None)

    def extend_box(self, row: int, first: float, last: float) -> None:
        """Let a box reach through slices ``first`` to ``last`` across its plane."""
        _, shapes = self._parts()
        assert shapes is not None
        index = shapes.features.index[row]
        shapes.features.loc[index, ["first", "last"]] = [min(first, last), max(first, last)]
        self.changed.emit()

    def box_depth(self, row: int) -> tuple[int, float, float]:
        """Return the axis across a box, and its first and last slice along it."""
        _, shapes = self._parts()
        assert shapes is not None
        corners = positions(shapes, shapes.data[row])
        axis = int(np.ptp(corners, axis=0).argmin())
        own = float(np.rint(corners[0, axis]))
        first, last = shapes.features[["first", "last"]].iloc[row].astype(float)
        return (axis, own, own) if np.isnan(first) else (axis, float(first), float(last))

    def slice_in_view(self, axis: int) -> float:
        """Return the index along ``axis`` of (z, y, x) of the slice in view."""
        here = self.image.world_to_data(self.viewer.dims.point)
        return float(np.rint(positions(self.image, here)[0, axis]))


def _no_rows(features: Mapping[str, Any]) -> pd.DataFrame:
    """Return an empty table with the types of ``features``."""
    return pd.DataFrame(dict(features), index=[0]).iloc[:0]
