"""Questions, answers and edits on real MRML, with a server that is a stand-in."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer_scenes as scenes
import vtk
from fake_server import FakeClient
from OpenMEDLabLib import frames
from OpenMEDLabLib.assistant import Assistant, Listener, Target
from OpenMEDLabLib.prompt_nodes import PromptNodes
from OpenMEDLabLib.remote import Remote
from OpenMEDLabLib.writing import ModuleEditor, editor_node
from vtk.util.numpy_support import vtk_to_numpy

from openmedlab.core import InputError, MaskPrompt, Point, PromptError


class Desk:
    """An assistant with a fake server, and what it said."""

    def __init__(self, until):
        self.client = FakeClient()
        self.assistant = Assistant(Remote(lambda *_: self.client))
        self.assistant.address = "somewhere"
        self.editor = ModuleEditor()
        self.done, self.failed, self.reports = [], [], []
        self.until = until

    def ask(self, target, **options):
        listener = Listener(
            self.done.append, self.failed.append, lambda *news: self.reports.append(news)
        )
        self.assistant.segment(target, self.editor, listener, **options)

    def answer(self, target, **options):
        self.ask(target, **options)
        self.until(lambda: not self.assistant.background.busy)


@pytest.fixture
def desk(scene, until):
    desk = Desk(until)
    yield desk
    desk.client.gate.set()
    desk.assistant.close()


@pytest.fixture
def target(scene):
    volume = scenes.add_volume()
    inner, _ = scenes.add_parent(volume, scenes.shift(12, -7, 30))
    segmentation, (first, _) = scenes.add_segmentation(volume, "one", "two", parent=inner)
    return Target(volume, segmentation, first)


def other(target):
    second = target.segmentation.GetSegmentation().GetNthSegmentID(1)
    return Target(target.volume, target.segmentation, second)


def click(target, index, role="positive"):
    node = target.prompts.node(role)
    node.AddControlPointWorld(*frames.to_world(target.volume, index))
    return node


def whole(target):
    """Return the segment on the whole grid of the volume."""
    region, mask = target.mask()
    array = np.zeros(frames.geometry_of(target.volume).shape, bool)
    array[region.slices] = mask
    return array


def cube(*centre):
    array = np.zeros(scenes.SHAPE, bool)
    array[tuple(slice(c - 2, c + 3) for c in centre)] = True
    return array


def segment_voxels_ras(target):
    """Return where the segment's own voxels stand in the world, read from its labelmap."""
    image = slicer.vtkOrientedImageData()
    target.segmentation.GetBinaryLabelmapRepresentation(target.segment_id, image)
    x, _, y, _, z, _ = image.GetExtent()
    shape = np.array(image.GetDimensions())[::-1]
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
    ijk = (np.argwhere(array) + np.array((z, y, x)))[:, ::-1]
    matrix, parent = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
    image.GetImageToWorldMatrix(matrix)
    frame = slicer.util.arrayFromVTKMatrix(matrix)
    ras = ijk @ frame[:3, :3].T + frame[:3, 3]
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        target.segmentation.GetParentTransformNode(), None, parent
    )
    return np.array([parent.TransformPoint(*p) for p in ras])


@pytest.mark.parametrize("same_parent", [True, False])
def test_a_click_makes_voxels_that_stand_where_they_should(desk, target, same_parent):
    if not same_parent:
        segmentation, (name,) = scenes.add_segmentation(target.volume, "free")
        target = Target(target.volume, segmentation, name)
    click(target, (6, 9, 11))
    desk.answer(target)
    assert desk.failed == []
    expected = frames.to_world(target.volume, np.argwhere(cube(6, 9, 11)))
    found = segment_voxels_ras(target)
    distances = np.linalg.norm(found[:, None] - expected[None], axis=-1)
    assert found.shape == expected.shape
    assert distances.min(axis=1).max() < 1e-3


def test_undo_and_redo_are_the_editors(desk, target):
    click(target, (6, 9, 11))
    desk.answer(target)
    click(target, (6, 9, 16))
    desk.answer(target)
    np.testing.assert_array_equal(whole(target), cube(6, 9, 11) | cube(6, 9, 16))
    desk.editor.undo()
    np.testing.assert_array_equal(whole(target), cube(6, 9, 11))
    desk.editor.undo()
    assert not whole(target).any()
    desk.editor.redo()
    np.testing.assert_array_equal(whole(target), cube(6, 9, 11))


def test_a_neighbour_is_overwritten_only_as_the_editor_says(desk, target):
    click(target, (6, 9, 11))
    desk.answer(target)
    click(other(target), (6, 9, 13))
    editor_node().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    desk.answer(other(target))
    assert (whole(target) & whole(other(target))).any()
    desk.editor.undo()
    editor_node().SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    desk.answer(other(target))
    np.testing.assert_array_equal(whole(target), cube(6, 9, 11) & ~cube(6, 9, 13))


def test_masking_is_honoured(desk, target):
    click(target, (6, 9, 11))
    desk.answer(target)
    outside = slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments
    editor_node().SetMaskMode(outside)
    click(other(target), (6, 9, 13))
    desk.answer(other(target))
    np.testing.assert_array_equal(whole(target), cube(6, 9, 11))
    np.testing.assert_array_equal(whole(other(target)), cube(6, 9, 13) & ~cube(6, 9, 11))


def test_editable_intensity_range_is_honoured(desk, target):
    editor_node().SetSourceVolumeIntensityMask(True)
    editor_node().SetSourceVolumeIntensityMaskRange(100, 200)
    click(target, (9, 12, 16))
    desk.answer(target)
    bright = scenes.block_image() > 0
    np.testing.assert_array_equal(whole(target), cube(9, 12, 16) & bright)


def test_segmentation_of_another_geometry(desk, target):
    coarse = scenes.add_volume(
        "coarse", np.zeros((7, 10, 12), np.int16), scenes.oblique() @ np.diag([2, 2, 2, 1.0])
    )
    coarse.SetAndObserveTransformNodeID(target.volume.GetTransformNodeID())
    segmentation, (name,) = scenes.add_segmentation(coarse, "coarse")
    target = Target(target.volume, segmentation, name)
    click(target, (6, 10, 12))
    desk.answer(target)
    found = segment_voxels_ras(target)
    expected = frames.to_world(target.volume, (6, 10, 12))
    np.testing.assert_allclose(found.mean(0), expected, atol=1.2)
    assert 0.5 * 125 < 8 * len(found) < 2 * 125


def test_geometry_that_does_not_reach_the_answer_is_said(desk, target):
    far = scenes.oblique()
    far[:3, 3] += 500
    elsewhere = scenes.add_volume("elsewhere", matrix=far)
    segmentation, (name,) = scenes.add_segmentation(elsewhere, "lost")
    target = Target(target.volume, segmentation, name)
    click(target, (6, 9, 11))
    desk.answer(target)
    assert "geometry" in desk.failed[0]


def test_brush_strokes_between_clicks_reach_the_model(desk, target):
    click(target, (6, 9, 11))
    desk.answer(target)
    drawn = target.segmentation
    array = slicer.util.arrayFromSegmentBinaryLabelmap(drawn, target.segment_id, target.volume)
    array[2, 3, 4] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, drawn, target.segment_id, target.volume)
    click(target, (6, 9, 16))
    desk.answer(target)
    prompts = desk.client.asked[-1][1]
    assert [p.kind for p in prompts] == ["point", "mask", "point"]
    assert prompts[1].array(frames.geometry_of(target.volume).region)[2, 3, 4]
    assert whole(target)[2, 3, 4]


def test_nothing_by_hand_sends_no_mask(desk, target):
    click(target, (6, 9, 11))
    desk.answer(target)
    click(target, (6, 9, 16))
    desk.answer(target)
    assert [p.kind for p in desk.client.asked[-1][1]] == ["point", "point"]


@pytest.mark.parametrize("from_present", [True, False])
def test_a_segment_that_held_something_is_where_the_model_starts(desk, target, from_present):
    held = cube(3, 4, 5).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        held, target.segmentation, target.segment_id, target.volume
    )
    click(target, (6, 9, 11))
    desk.answer(target, from_present=from_present)
    prompts = desk.client.asked[-1][1]
    assert any(isinstance(p, MaskPrompt) for p in prompts) is from_present
    assert whole(target)[3, 4, 5] == from_present


def test_newest_click_wins(desk, target):
    desk.client.gate.clear()
    click(target, (6, 9, 11))
    desk.ask(target)
    desk.until(desk.client.started.is_set)
    click(target, (6, 9, 16))
    desk.ask(target)
    desk.client.gate.set()
    desk.until(lambda: not desk.assistant.background.busy)
    assert len(desk.done) == 1
    np.testing.assert_array_equal(whole(target), cube(6, 9, 11) | cube(6, 9, 16))
    desk.editor.undo()
    assert not whole(target).any()


def test_cancel_leaves_everything_as_it_was(desk, target):
    desk.client.gate.clear()
    click(target, (6, 9, 11))
    desk.ask(target)
    desk.until(desk.client.started.is_set)
    desk.assistant.cancel()
    desk.until(lambda: not desk.assistant.background.busy)
    assert (desk.done, desk.failed) == ([], [])
    assert not whole(target).any()


def test_failures_are_sentences(desk, target):
    click(target, (6, 9, 11))
    desk.client.failure = InputError("The model is asleep.")
    desk.answer(target)
    desk.client.failure = KeyError("x")
    desk.answer(target)
    assert desk.failed[0] == "The model is asleep."
    assert "unexpected" in desk.failed[1]


def test_without_a_positive_prompt_nobody_is_asked(desk, target):
    click(target, (6, 9, 11), "negative")
    with pytest.raises(PromptError, match="positive"):
        desk.ask(target)
    click(target, (60, 9, 11))
    with pytest.raises(PromptError, match="outside"):
        desk.ask(target)


def test_without_an_address_it_says_so(desk, target):
    desk.assistant.address = ""
    click(target, (6, 9, 11))
    desk.answer(target)
    assert "Server" in desk.failed[0]


def test_a_segment_removed_meanwhile_is_left_alone(desk, target):
    desk.client.gate.clear()
    click(target, (6, 9, 11))
    desk.ask(target)
    desk.until(desk.client.started.is_set)
    target.segmentation.GetSegmentation().RemoveSegment(target.segment_id)
    desk.client.gate.set()
    desk.until(lambda: not desk.assistant.background.busy)
    assert (desk.done, desk.failed) == ([], [])


def test_two_volumes_in_the_scene_are_told_apart(desk, target):
    second = scenes.add_volume("second", np.zeros((9, 9, 9), np.int16), np.diag([2, 2, 2, 1.0]))
    segmentation, (name,) = scenes.add_segmentation(second, "there")
    there = Target(second, segmentation, name)
    click(target, (6, 9, 11))
    click(there, (4, 4, 4))
    desk.answer(target)
    desk.answer(there)
    assert [s.volume.name for s in desk.client.sessions] == ["ct", "second"]
    assert whole(there).sum() == 125
    np.testing.assert_array_equal(whole(target), cube(6, 9, 11))


def test_a_closed_scene_gives_the_sessions_back(desk, target):
    click(target, (6, 9, 11))
    desk.answer(target)
    slicer.mrmlScene.Clear(False)
    desk.assistant.forget()
    desk.until(lambda: not desk.assistant.background.busy)
    assert [s.closed for s in desk.client.sessions] == [True]


def test_prompts_keep_their_age_across_kinds(desk, target):
    click(target, (6, 9, 11))
    desk.answer(target)
    click(target, (6, 5, 6), "negative")
    desk.answer(target)
    click(target, (6, 9, 14))
    desk.answer(target)
    signs = [p.positive for p in desk.client.asked[-1][1]]
    assert signs == [True, False, True]


def test_prompts_are_saved_with_the_scene(desk, target, tmp_path):
    click(target, (6, 9, 11))
    click(target, (3, 4, 5), "negative")
    desk.answer(target)
    before, drawn = target.prompts.prompts(target.volume), whole(target)
    ids = target.volume.GetName(), target.segmentation.GetName()
    names = [n.GetName() for n in target.prompts.all()]
    save(tmp_path)
    slicer.mrmlScene.Clear(False)
    load(tmp_path)
    volume, segmentation = (slicer.util.getNode(name) for name in ids)
    again = Target(volume, segmentation, target.segment_id)
    assert [n.GetName() for n in again.prompts.all()] == names
    for old, new in zip(before, again.prompts.prompts(volume), strict=True):
        np.testing.assert_allclose(new.position, old.position, atol=1e-3)
        assert isinstance(new, Point)
        assert new.positive == old.positive
    np.testing.assert_array_equal(whole(again), drawn)


def save(folder):
    """Write every storable node into a file of its own, and the scene beside them."""
    for kind, ending in WRITTEN.items():
        for node in slicer.util.getNodesByClass(kind):
            assert slicer.util.saveNode(node, str(folder / f"{node.GetID()}{ending}"))
    scene = slicer.mrmlScene
    scene.SetRootDirectory(str(folder))
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Commit()


def load(folder):
    slicer.mrmlScene.SetURL(str(folder / "scene.mrml"))
    assert slicer.mrmlScene.Import(None)


WRITTEN = {
    "vtkMRMLScalarVolumeNode": ".nrrd",
    "vtkMRMLSegmentationNode": ".seg.nrrd",
    "vtkMRMLMarkupsFiducialNode": ".mrk.json",
    "vtkMRMLLinearTransformNode": ".h5",
}


def test_markups_of_one_segment_are_not_anothers(target):
    click(target, (6, 9, 11))
    assert PromptNodes(target.segmentation, other(target).segment_id).all() == []
    target.prompts.clear()
    assert target.prompts.all() == []
