"""Checks for real Slicer's *Reload and Test*: no server, no network, a scene made here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer

from openmedlab.core import Label, Region
from OpenMEDLabLib import frames, marks
from OpenMEDLabLib.assistant import Target
from OpenMEDLabLib.pointer import Pointer
from OpenMEDLabLib.results import add_segment, new_segmentation
from OpenMEDLabLib.terms import label_named, load_code_list
from OpenMEDLabLib.writing import ModuleEditor, write_mask

OBLIQUE = np.array(
    [[-0.8, 0.3, 0.5, 20.0], [0.4, -0.9, 0.6, -10.0], [0.2, 0.3, 1.9, 5.0], [0, 0, 0, 1]]
)
WHERE = Region((2, 3, 4), (5, 7, 9))


def _target() -> Target:
    volume = slicer.util.addVolumeFromArray(
        np.zeros((8, 10, 12), np.int16), OBLIQUE, "self test", "vtkMRMLScalarVolumeNode"
    )
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.array([[0, -1, 0, 7.0], [1, 0, 0, -4.0], [0, 0, 1, 2.0], [0, 0, 0, 1]])
    slicer.util.updateTransformMatrixFromArray(parent, matrix)
    volume.SetAndObserveTransformNodeID(parent.GetID())
    segmentation = new_segmentation(volume, "self test segmentation")
    return Target(volume, segmentation, add_segment(segmentation, Label("block")))


def check_clicks() -> None:
    """A click is read where it is seen, through the parent transform."""
    target = _target()
    markups = target.prompts.node("positive")
    markups.AddControlPointWorld(*frames.to_world(target.volume, (3, 4, 5)))
    np.testing.assert_allclose(marks.positions(markups, target.volume), [(3, 4, 5)], atol=1e-3)


def check_writing() -> None:
    """A mask enters its segment and leaves it by undo."""
    target, editor = _target(), ModuleEditor()
    mask = np.ones(WHERE.shape, bool)
    write_mask(editor, WHERE, mask, target.volume, target.segmentation, target.segment_id)
    region, found = target.mask()
    assert region == WHERE
    assert found.all()
    editor.undo()
    assert not target.mask()[0]


def check_drawing() -> None:
    """A box drawn on a slice is flat on it."""
    target, pointer = _target(), Pointer()
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed") or slicer.vtkMRMLSliceNode()
    red.SetOrientationToAxial()
    pointer.tool = "box"
    pointer.press(target.prompts, np.zeros(3), red)
    pointer.release(np.array((10.0, 6.0, 0.0)))
    (roi,) = target.prompts.of("box")
    assert min(roi.GetSize()[:2]) > 1
    assert roi.GetSize()[2] < 1


def check_codes() -> None:
    """Structures have Slicer's terminology entries and colours."""
    assert load_code_list()
    target = _target()
    segment_id = add_segment(target.segmentation, label_named("liver"))
    segment = target.segmentation.GetSegmentation().GetSegment(segment_id)
    assert "10200004" in segment.GetTerminology()


CHECKS: tuple[Callable[[], None], ...] = (
    check_clicks,
    check_writing,
    check_drawing,
    check_codes,
)
