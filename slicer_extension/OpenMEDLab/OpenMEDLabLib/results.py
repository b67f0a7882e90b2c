"""Labelmaps and found places as nodes of the scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import numpy_to_vtk

from openmedlab.core import ExtremePoints, Label, LabelVolume, Region
from OpenMEDLabLib.frames import to_world
from OpenMEDLabLib.masks import grid_image
from OpenMEDLabLib.prompt_nodes import PromptNodes
from OpenMEDLabLib.terms import describe


def new_segmentation(volume: Any, name: str) -> Any:
    """Add an empty segmentation with the grid and the parent transform of ``volume``."""
    title = slicer.mrmlScene.GenerateUniqueName(name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", title)
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


def add_segment(segmentation: Any, label: Label) -> str:
    """Add an empty segment that is named, coloured and coded; return its ID."""
    segment_id = segmentation.GetSegmentation().AddEmptySegment("", label.name)
    describe(segmentation.GetSegmentation().GetSegment(segment_id), label)
    return str(segment_id)


def show_labels(labels: LabelVolume, volume: Any) -> Any:
    """Add a segmentation with one segment per structure present in ``labels``."""
    node = new_segmentation(volume, f"{volume.GetName()} {labels.method or labels.name}")
    image = grid_image(Region.whole(labels.array.shape), volume)
    array = np.ascontiguousarray(labels.array, np.uint16)
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
    logic = slicer.modules.segmentations.logic()
    logic.ImportLabelmapToSegmentationNode(image, node, "label")
    segments = node.GetSegmentation()
    for k in range(segments.GetNumberOfSegments()):
        segment = segments.GetNthSegment(k)
        number = segment.GetLabelValue()
        describe(segment, labels.labels.get(number, Label(f"label {number}")))
    return node


def show_places(
    places: Mapping[str, tuple[ExtremePoints, Label]], volume: Any, segmentation: Any
) -> dict[str, str]:
    """Give each found organ an empty segment with its six extreme points as markups.

    Returns
    -------
    dict
        Segment IDs by organ; the markups are then prompts like any that were clicked.
    """
    made = {}
    for organ, (points, label) in places.items():
        segment_id = add_segment(segmentation, label)
        markups = PromptNodes(segmentation, segment_id).node("extreme")
        for position in to_world(volume, points.positions()):
            markups.AddControlPointWorld(*position)
        made[organ] = segment_id
    return made
