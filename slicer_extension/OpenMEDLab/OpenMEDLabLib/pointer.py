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
DRAWN = ("stroke", "negative stroke", "box")
NEAR_PIXELS = 7.0
STEP_MM = 0.5
THIN_MM = 0.01
Position = npt.NDArray[np.float64]


class Pointer:
    """What the left button draws. Positions are world RAS.

    Attributes
    ----------
    tool
        A role of `prompt_nodes.ROLES`: points, a stroke or ``"box"``.
    """

    def __init__(self) -> None:
        self.tool = "positive"
        self._node: Any = None
        self._slice: Any = None
        self._path: list[Position] = []

    @property
    def drawing(self) -> bool:
        """Whether the button is down for a stroke or a box."""
        return self._node is not None

    def press(
        self, prompts: PromptNodes, position: Position, slice_node: Any, opposite: bool = False
    ) -> None:
        """Place a point, or begin a stroke or a box; ``opposite`` swaps + and −."""
        role = OPPOSITE.get(self.tool, self.tool) if opposite else self.tool
        if role not in DRAWN:
            prompts.node(role).AddControlPointWorld(*position)
            return
        self._node, self._slice, self._path = prompts.add(role), slice_node, [position]
        if role != "box":
            self._node.SetCurveTypeToLinear()
            self._node.SetLocked(True)
            self._node.GetDisplayNode().SetGlyphScale(0.5)
            self._node.AddControlPointWorld(*position)

    def move(self, position: Position) -> None:
        """Go on drawing."""
        if not self.drawing or np.linalg.norm(position - self._path[-1]) < STEP_MM:
            return
        self._path.append(position)
        if self._node.IsA("vtkMRMLMarkupsROINode"):
            _flat_box(self._node, self._path[0], position, self._slice)
        else:
            self._node.AddControlPointWorld(*position)

    def release(self, position: Position) -> None:
        """End the stroke or the box; a box of no size is none."""
        self.move(position)
        if self._node.IsA("vtkMRMLMarkupsROINode") and min(self._node.GetSize()[:2]) < STEP_MM:
            self.forget()
        self._node = None

    def forget(self) -> None:
        """Give up what is being drawn."""
        if self.drawing:
            slicer.mrmlScene.RemoveNode(self._node)
        self._node = None


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


def _flat_box(roi: Any, first: Position, last: Position, slice_node: Any) -> None:
    """Span an ROI that is thin across the slice it is drawn on."""
    frame = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())
    axes = frame[:3, :3] / np.linalg.norm(frame[:3, :3], axis=0)
    across = np.abs(axes.T @ (last - first))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, (first + last) / 2
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    roi.SetSize(across[0], across[1], THIN_MM)
