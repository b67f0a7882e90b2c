"""The markups that hold a segment's prompts. They live in the scene and are saved with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer

from openmedlab.core import Prompt
from OpenMEDLabLib import marks

ROLE = "OpenMEDLab.Role"
SEGMENT = "OpenMEDLab.Segment"
SEGMENTATION = "OpenMEDLab.Segmentation"
GREEN, RED, YELLOW = (0.3, 0.9, 0.35), (0.95, 0.25, 0.2), (0.98, 0.8, 0.25)


@dataclass(frozen=True)
class Role:
    """A kind of prompt and how it is shown."""

    name: str
    sign: str
    class_name: str
    color: tuple[float, float, float]
    positive: bool = True
    most_points: int = -1


ROLES = {
    r.name: r
    for r in (
        Role("positive", "+", "vtkMRMLMarkupsFiducialNode", GREEN),
        Role("negative", "−", "vtkMRMLMarkupsFiducialNode", RED, positive=False),
        Role("extreme", "extreme points", "vtkMRMLMarkupsFiducialNode", YELLOW, most_points=6),
        Role("box", "box", "vtkMRMLMarkupsROINode", YELLOW),
        Role("stroke", "scribble +", "vtkMRMLMarkupsCurveNode", GREEN),
        Role("negative stroke", "scribble −", "vtkMRMLMarkupsCurveNode", RED, positive=False),
    )
}


class PromptNodes:
    """The markups of one segment.

    Parameters
    ----------
    segmentation, segment_id
        Whose prompts they are.
    """

    def __init__(self, segmentation: Any, segment_id: str) -> None:
        self.segmentation = segmentation
        self.segment_id = segment_id

    def all(self) -> list[Any]:
        """Return the nodes in the scene, oldest first."""
        nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsNode")
        return [n for n in nodes if n.GetAttribute(ROLE) in ROLES and self._mine(n)]

    def of(self, role: str) -> list[Any]:
        """Return the nodes of one role."""
        return [n for n in self.all() if n.GetAttribute(ROLE) == role]

    def node(self, role: str) -> Any:
        """Return the node that new points of a role go to, made where there is none."""
        found = self.of(role)
        return found[-1] if found else self.add(role)

    def add(self, role: str) -> Any:
        """Make a further node of a role (each stroke and each box is one of its own)."""
        kind = ROLES[role]
        segment = self.segmentation.GetSegmentation().GetSegment(self.segment_id)
        title = slicer.mrmlScene.GenerateUniqueName(f"{segment.GetName()} {kind.sign}")
        node = slicer.mrmlScene.CreateNodeByClass(kind.class_name)
        node.UnRegister(None)
        node.SetName(title)
        node.SetAttribute(ROLE, role)
        node.SetAttribute(SEGMENT, self.segment_id)
        node.SetNodeReferenceID(SEGMENTATION, self.segmentation.GetID())
        slicer.mrmlScene.AddNode(node)
        if kind.most_points > 0:
            node.SetMaximumNumberOfControlPoints(kind.most_points)
        node.CreateDefaultDisplayNodes()
        _dress(node.GetDisplayNode(), kind)
        return node

    def prompts(self, volume: Any) -> list[Prompt]:
        """Return all prompts on the grid of ``volume``, by kind and then by age.

        Fewer than six extreme points are not a prompt yet.

        Raises
        ------
        PromptError
            A box lies beside the volume.
        """
        found: list[Prompt] = []
        for node in self.all():
            found += _read(node, volume)
        return found

    def any_placed(self) -> bool:
        """Whether anything has been placed at all."""
        return any(n.GetNumberOfDefinedControlPoints() for n in self.all())

    def clear(self) -> None:
        """Remove all of them from the scene."""
        for node in self.all():
            slicer.mrmlScene.RemoveNode(node)

    def show(self, visible: bool) -> None:
        """Show or hide them in the views."""
        for node in self.all():
            node.SetDisplayVisibility(visible)

    def _mine(self, node: Any) -> bool:
        same = node.GetNodeReferenceID(SEGMENTATION) == self.segmentation.GetID()
        return same and node.GetAttribute(SEGMENT) == self.segment_id


def in_order(known: Sequence[Prompt], found: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Return ``found`` oldest first: those already known in their old order, then the new."""
    kept = [p for p in known if p in found]
    return (*kept, *(p for p in found if p not in kept))


def _read(node: Any, volume: Any) -> list[Prompt]:
    role = ROLES[node.GetAttribute(ROLE)]
    if role.name == "box":
        spanned = sum(length > 0 for length in node.GetSize()) > 1
        return [marks.box(node, volume)] if spanned else []
    if role.class_name == "vtkMRMLMarkupsCurveNode":
        drawn = node.GetNumberOfDefinedControlPoints() > 0
        return [marks.stroke(node, volume, role.positive)] if drawn else []
    if role.name == "extreme":
        complete = node.GetNumberOfDefinedControlPoints() == role.most_points
        return [marks.extreme_points(node, volume)] if complete else []
    return list(marks.points(node, volume, role.positive))


def _dress(display: Any, role: Role) -> None:
    display.SetColor(*role.color)
    display.SetSelectedColor(*role.color)
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    display.SetGlyphType(display.Sphere3D if role.positive else display.Diamond2D)
    display.SetUseGlyphScale(True)
    display.SetGlyphScale(1.5)
    display.SetTextScale(2)
