"""Structures as coded, coloured segments."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer_scenes as scenes
from OpenMEDLabLib import frames, results, terms
from OpenMEDLabLib.assistant import Target

from openmedlab.core import ExtremePoints, Label, LabelVolume
from openmedlab.stunet.structures import structures


@pytest.fixture
def volume(scene):
    node = scenes.add_volume()
    scenes.add_parent(node, scenes.shift(12, -7, 30))
    return node


def every_structure(volume):
    """A labelmap with two voxels of each of the 104."""
    known = {number: s.label for number, s in structures().items()}
    array = np.zeros(frames.geometry_of(volume).shape, np.uint8)
    array.ravel()[10 : 10 + 2 * len(known)] = np.repeat(sorted(known), 2)
    return LabelVolume(array, frames.geometry_of(volume), known, "ct", "stunet")


def test_the_104_structures_become_named_coloured_coded_segments(volume):
    labels = every_structure(volume)
    node = results.show_labels(labels, volume)
    segments = node.GetSegmentation()
    assert segments.GetNumberOfSegments() == 104
    for number, one in structures().items():
        segment_id = segments.GetSegmentIdBySegmentName(one.name)
        segment = segments.GetSegment(segment_id)
        np.testing.assert_allclose(segment.GetColor(), one.color, atol=1e-6)
        assert f"SCT^{one.snomed}^" in segment.GetTerminology()
        region, mask = Target(volume, node, segment_id).mask()
        found = np.argwhere(mask) + np.array(region.start)
        np.testing.assert_array_equal(found, np.argwhere(labels.array == number))


@pytest.mark.parametrize(
    ("name", "side"), [("kidney_left", "Left"), ("rib_right_7", "Right"), ("aorta", "")]
)
def test_slicer_reads_the_entry(scene, name, side):
    assert terms.load_code_list()
    entry = slicer.vtkSlicerTerminologyEntry()
    label = next(s.label for s in structures().values() if s.name == name)
    logic = slicer.modules.terminologies.logic()
    assert logic.DeserializeTerminologyEntry(terms.entry_for(label), entry)
    assert entry.GetTypeObject().GetCodeValue() == label.code
    assert (entry.GetTypeModifierObject().GetCodeMeaning() or "") == side
    context = terms.entry_for(label).split("~")[0]
    assert logic.FindTypeInTerminologyBy3dSlicerLabel(context, name, entry)
    shown = entry.GetTypeModifierObject() if side else entry.GetTypeObject()
    expected = np.round(np.array(label.color) * 255)
    np.testing.assert_allclose(shown.GetRecommendedDisplayRGBValue(), expected)


def test_a_structure_without_a_code_has_a_name_and_a_colour(volume):
    segmentation = results.new_segmentation(volume, "ct segments")
    name = results.add_segment(segmentation, Label("lesion", (0.2, 0.4, 0.6)))
    coded = results.add_segment(segmentation, Label("spiral_organ", None, "12345"))
    segments = segmentation.GetSegmentation()
    assert segments.GetSegment(name).GetName() == "lesion"
    assert "lesion" not in segments.GetSegment(name).GetTerminology()
    assert "SCT^12345^spiral organ" in segments.GetSegment(coded).GetTerminology()


def test_found_organs_are_segments_with_six_points(volume):
    segmentation = results.new_segmentation(volume, "found")
    six = ((3, 9, 9), (10, 9, 9), (6, 2, 9), (6, 15, 9), (6, 9, 2), (6, 9, 20))
    label = Label("liver", (0.9, 0.5, 0.4), "10200004")
    made = results.show_places({"liver": (ExtremePoints(six), label)}, volume, segmentation)
    target = Target(volume, segmentation, made["liver"])
    (prompt,) = target.prompts.prompts(volume)
    np.testing.assert_allclose(prompt.points, six, atol=1e-3)
