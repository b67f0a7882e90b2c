"""Mouse strokes in a slice view become markups: points, scribbles, flat boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from OpenMEDLabLib.prompt_nodes import PromptNodes

OPPOSITE = {
    "positive": "negative",
    "negative": "positive",
    "stroke": "negative stroke",
    "negative stroke": "stroke",
}
STROKES = ("stroke", "negative stroke")
NEAR_PIXELS = 7.0
STEP_MM = 0.5
THIN_MM = 0.01
Position = npt.NDArray[np.float64]


class Pointer:
    """What the left button draws. Positions are world RAS.

    Attributes
    ----------
    tool
        A role of `prompt_nodes.ROLES`: a point, a stroke or ``"box"``.
    """

    def __init__(self) -> None:
        self.tool = "positive"
        self._role = ""
        self._path: list[Position] = []

    @property
    def drawing(self) -> bool:
        """Whether the button is down for a stroke or a box."""
        return bool(self._path)

    def press(self, prompts: PromptNodes, position: Position, opposite: bool = False) -> None:
        """Place a point, or begin a stroke or a box; ``opposite`` swaps + and −."""
        self._role = OPPOSITE.get(self.tool, self.tool) if opposite else self.tool
        if self._role in STROKES or self._role == "box":
            self._path = [np.asarray(position, float)]
        else:
            prompts.node(self._role).AddControlPointWorld(*position)

    def move(self, position: Position) -> None:
        """Go on drawing."""
        if self._path and np.linalg.norm(position - self._path[-1]) >= STEP_MM:
            self._path.append(np.asarray(position, float))

    def release(self, prompts: PromptNodes, position: Position, slice_node: Any) -> None:
        """End the stroke or the box; a box of no size is none."""
        if not self._path:
            return
        self.move(position)
        path, self._path = self._path, []
        if self._role == "box":
            _flat_box(prompts, path[0], np.asarray(position, float), slice_node)
        else:
            _stroke(prompts.add(self._role), path)

    def forget(self) -> None:
        """Give up what is being drawn."""
        self._path = []


def near_a_point(prompts: PromptNodes, xy: tuple[int, int], slice_node: Any) -> bool:
    """Whether the mouse is on a control point, which then is to be moved and not added to."""
    to_view = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(slice_node.GetXYToRAS(), to_view)
    for node in prompts.all():
        for k in range(0 if node.GetLocked() else node.GetNumberOfControlPoints()):
            x, y, depth, _one = to_view.MultiplyPoint((*node.GetNthControlPointPositionWorld(k), 1))
            if np.hypot(x - xy[0], y - xy[1]) < NEAR_PIXELS and abs(depth) < 1:
                return True
    return False


def position_of(xy: tuple[int, int], slice_node: Any) -> Position:
    """Return where a pixel of a slice view stands in the world."""
    return np.array(slice_node.GetXYToRAS().MultiplyPoint((*xy, 0, 1))[:3])


def _stroke(node: Any, path: list[Position]) -> None:
    points = vtk.vtkPoints()
    for position in path:
        points.InsertNextPoint(*position)
    node.SetCurveTypeToLinear()
    node.SetLocked(True)
    node.SetControlPointPositionsWorld(points)
    node.GetDisplayNode().SetGlyphScale(0.5)


def _flat_box(prompts: PromptNodes, first: Position, last: Position, slice_node: Any) -> None:
    """Add an ROI that is thin across the slice it was drawn on."""
    frame = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())
    axes = frame[:3, :3] / np.linalg.norm(frame[:3, :3], axis=0)
    across = np.abs(axes.T @ (last - first))
    if min(across[:2]) < STEP_MM:
        return
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, (first + last) / 2
    node = prompts.add("box")
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.SetSize(across[0], across[1], THIN_MM)
