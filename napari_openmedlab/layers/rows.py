"""Rows of the prompt layers <-> `Prompt` values; plain functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Points, Shapes

from napari_openmedlab.layers.geometry import positions
from openmedlab.core import Box, ExtremePoints, Lasso, Point, Prompt, Scribble

POINT_FEATURES = {"object": 0, "kind": "point", "positive": True, "order": 0, "step": -1}
SHAPE_FEATURES = {"object": 0, "positive": True, "order": 0, "first": np.nan, "last": np.nan}
Float64 = npt.NDArray[np.float64]


def prompts_of(number: int, points: Points | None, shapes: Shapes | None) -> list[Prompt]:
    """Return the prompts of an object, oldest first; six extreme points make one prompt."""
    ordered: list[tuple[int, Prompt]] = []
    if points is not None:
        ordered += _points(number, points)
        ordered += _extremes(number, points)
    if shapes is not None:
        ordered += _shapes(number, shapes)
    return [prompt for _, prompt in sorted(ordered, key=lambda pair: pair[0])]


def _points(number: int, layer: Points) -> list[tuple[int, Prompt]]:
    table = layer.features
    mine = np.flatnonzero((table["object"] == number) & (table["kind"] == "point"))
    where = positions(layer, layer.data)
    return [
        (int(table["order"].iloc[k]), Point(tuple(where[k]), bool(table["positive"].iloc[k])))
        for k in mine
    ]


def extreme_rows(layer: Points, number: int) -> dict[int, int]:
    """Return the rows of an object's extreme points, by step."""
    table = layer.features
    mine = np.flatnonzero((table["object"] == number) & (table["kind"] == "extreme"))
    return {int(table["step"].iloc[k]): int(k) for k in mine}


def _extremes(number: int, layer: Points) -> list[tuple[int, Prompt]]:
    rows = extreme_rows(layer, number)
    if len(rows) < 6:
        return []
    where = positions(layer, layer.data)
    order = max(int(layer.features["order"].iloc[k]) for k in rows.values())
    return [(order, ExtremePoints(tuple(tuple(where[rows[s]]) for s in range(6))))]


def _shapes(number: int, layer: Shapes) -> list[tuple[int, Prompt]]:
    table = layer.features
    out: list[tuple[int, Prompt]] = []
    for k in np.flatnonzero(table["object"] == number):
        row = table.iloc[k]
        corners = positions(layer, layer.data[k])
        depth = (float(row["first"]), float(row["last"]))
        prompt = _shape(str(layer.shape_type[k]), corners, bool(row["positive"]), depth)
        out.append((int(row["order"]), prompt))
    return out


def _shape(kind: str, corners: Float64, positive: bool, depth: tuple[float, float]) -> Prompt:
    if kind == "rectangle":
        lower, upper = corners.min(0), corners.max(0)
        if not np.isnan(depth[0]):
            axis = int((upper - lower).argmin())
            lower[axis], upper[axis] = depth
        return Box(tuple(lower), tuple(upper), positive)
    if kind in ("path", "line"):
        return Scribble.from_path(corners, positive)
    if kind == "ellipse":
        corners = _ellipse(corners)
    return Lasso(tuple(map(tuple, corners)), positive)


def _ellipse(corners: Float64) -> Float64:
    """Outline (32, 3) of the ellipse that fills a parallelogram of four corners."""
    centre = corners.mean(0)
    a, b = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)[:, None]
    return np.asarray(centre + a * np.cos(t) + b * np.sin(t))


@dataclass(frozen=True)
class Row:
    """One row to add to a prompt layer; `shape_type` None means to the Points layer."""

    data: Float64
    shape_type: str | None
    features: dict[str, Any]


def as_rows(prompt: Prompt) -> list[Row]:
    """Return the rows that show a prompt; none for kinds that have no layer."""
    match prompt:
        case Point():
            return [Row(np.array(prompt.position), None, _point_features(prompt.positive))]
        case ExtremePoints():
            return [
                Row(np.array(p), None, {**_point_features(True), "kind": "extreme", "step": step})
                for step, p in enumerate(prompt.points)
            ]
        case Box():
            return [_box_row(prompt)]
        case Scribble():
            path = np.array(prompt.points if len(prompt.points) > 1 else prompt.points * 2)
            return [Row(path, "path", _shape_features(prompt.positive))]
        case Lasso():
            corners = np.array(prompt.vertices)
            return [Row(corners, "polygon", _shape_features(prompt.positive))]
    return []


def _box_row(box: Box) -> Row:
    """Show a box as a rectangle on its middle slice (across z, or across its flat axis)."""
    axis = box.flat_axis or 0
    lower, upper = np.array(box.lower), np.array(box.upper)
    corners = np.tile(lower, (4, 1))
    corners[:, axis] = np.rint((lower[axis] + upper[axis]) / 2)
    u, v = (k for k in range(3) if k != axis)
    corners[1:3, u] = upper[u]
    corners[2:4, v] = upper[v]
    features = _shape_features(box.positive)
    if box.flat_axis is None:
        features |= {"first": lower[axis], "last": upper[axis]}
    return Row(corners, "rectangle", features)


def _point_features(positive: bool) -> dict[str, Any]:
    return {"kind": "point", "positive": positive, "step": -1}


def _shape_features(positive: bool) -> dict[str, Any]:
    return {"positive": positive, "first": np.nan, "last": np.nan}
