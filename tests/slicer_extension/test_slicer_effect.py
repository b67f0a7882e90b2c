"""The Segment Editor effect's own file, unchanged: drawn with the mouse, written by the editor."""

from __future__ import annotations

import types
from pathlib import Path

import adapter_editor
import adapter_module
import numpy as np
import pytest
import slicer
import slicer_scenes as scenes
import vtk
from fake_server import FakeClient
from OpenMEDLabLib import assistant as assistant_module
from OpenMEDLabLib import frames, pointer, requirements
from OpenMEDLabLib.assistant import Assistant, Target
from OpenMEDLabLib.remote import Remote
from OpenMEDLabLib.writing import editor_node

FILE = (
    Path(__file__).parents[2]
    / "slicer_extension/OpenMEDLab/SegmentEditorOpenMEDLabLib/SegmentEditorEffect.py"
)
SIZE = 300


def registered():
    effect = adapter_editor.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(FILE.as_posix())
    return effect


class View:
    """A slice view of 300 x 300 pixels along one slice of a volume, and its mouse."""

    def __init__(self, editor, volume, k):
        self.node = slicer.vtkMRMLSliceNode()
        self.node.SetLayoutName("Test")
        slicer.mrmlScene.AddNode(self.node)
        self.look(volume, k)
        self.interactor = vtk.vtkRenderWindowInteractor()
        editor.watch(self.interactor, self.node)

    def look(self, volume, k):
        """Turn to slice ``k``, along the volume's own axes."""
        x, y = frames.to_world(volume, np.array([(k, 0, 1), (k, 1, 0)])) - frames.to_world(
            volume, (k, 0, 0)
        )
        z, middle = np.cross(x, y), frames.to_world(volume, (k, 9.5, 11.5))
        matrix = np.eye(4)
        for column, axis in enumerate((x, y, z)):
            matrix[:3, column] = axis / np.linalg.norm(axis)
        matrix[:3, 3] = middle
        self.node.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix))
        self.node.SetDimensions(SIZE, SIZE, 1)
        self.node.SetFieldOfView(30, 30, 1)
        self.node.UpdateMatrices()
        self.volume = volume

    def pixel(self, index):
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), inverse)
        ras = frames.to_world(self.volume, index)
        return [round(c) for c in inverse.MultiplyPoint((*ras, 1))[:2]]

    def mouse(self, event, index, ctrl=0, shift=0):
        self.interactor.SetEventInformation(*self.pixel(index), ctrl, shift)
        self.interactor.InvokeEvent(event)

    def click(self, index, **keys):
        self.mouse("LeftButtonPressEvent", index, **keys)
        self.mouse("LeftButtonReleaseEvent", index, **keys)

    def drag(self, *indices, **keys):
        self.mouse("LeftButtonPressEvent", indices[0], **keys)
        for index in indices[1:]:
            self.mouse("MouseMoveEvent", index, **keys)
        self.mouse("LeftButtonReleaseEvent", indices[-1], **keys)


class Desk:
    """The effect in an editor with a slice view, and a server that is a stand-in."""

    def __init__(self, target, until):
        self.target, self.until = target, until
        self.client = FakeClient()
        self.assistant = Assistant(Remote(lambda *_: self.client))
        self.assistant.address = "somewhere"
        assistant_module._shared[:] = [self.assistant]
        self.editor = adapter_editor.SegmentEditor(editor_node())
        self.editor.choose(target.segmentation, target.volume, target.segment_id)
        self.panel = self.editor.use(registered())
        self.view = View(self.editor, target.volume, 6)
        self.until(lambda: not self.assistant.background.busy)

    def answered(self, count):
        self.until(lambda: len(self.client.asked) >= count)
        self.until(lambda: not self.assistant.background.busy)

    def drawn(self, target=None):
        region, mask = (target or self.target).mask()
        array = np.zeros(scenes.SHAPE, bool)
        array[region.slices] = mask
        return array


@pytest.fixture
def target(scene):
    volume = scenes.add_volume()
    inner, _ = scenes.add_parent(volume, scenes.shift(12, -7, 30))
    segmentation, (first, _) = scenes.add_segmentation(volume, "one", "two", parent=inner)
    return Target(volume, segmentation, first)


@pytest.fixture
def desk(target, until):
    desk = Desk(target, until)
    yield desk
    desk.client.gate.set()
    desk.editor.leave()
    desk.assistant.close()
    assistant_module._shared.clear()


def cube(*centre):
    array = np.zeros(scenes.SHAPE, bool)
    array[tuple(slice(c - 2, c + 3) for c in centre)] = True
    return array


def test_a_click_in_a_slice_view_segments(desk):
    desk.view.click((6, 9, 11))
    desk.answered(1)
    np.testing.assert_array_equal(desk.drawn(), cube(6, 9, 11))
    assert desk.panel.model.combo.count == 1
    desk.editor.logic.Undo()
    assert not desk.drawn().any()


def test_the_click_lands_where_the_mouse_is(desk):
    desk.view.click((6, 9, 11))
    desk.answered(1)
    (found,) = desk.client.asked[0][1]
    np.testing.assert_allclose(found.position, (6, 9, 11), atol=0.1)


def test_ctrl_click_is_the_opposite(desk):
    desk.view.click((6, 9, 11))
    desk.answered(1)
    desk.view.click((6, 9, 16), ctrl=1)
    desk.answered(2)
    assert [p.positive for p in desk.client.asked[1][1]] == [True, False]
    desk.panel.pick("negative")
    desk.view.click((6, 4, 11), ctrl=1)
    desk.answered(3)
    assert desk.client.asked[2][1][-1].positive


def test_shift_is_left_to_slicer(desk):
    heard = []
    desk.view.interactor.AddObserver("LeftButtonPressEvent", lambda *_: heard.append(1), 0.0)
    desk.view.click((6, 9, 11), shift=1)
    assert heard == [1]
    assert desk.target.prompts.all() == []
    desk.view.click((6, 9, 11))
    assert heard == [1]


def test_a_press_on_a_point_moves_it_and_adds_none(desk):
    desk.view.click((6, 9, 11))
    desk.answered(1)
    desk.view.click((6, 9, 11))
    assert desk.target.prompts.of("positive")[0].GetNumberOfControlPoints() == 1


def test_a_scribble_is_drawn(desk):
    desk.panel.pick("stroke")
    desk.view.drag((6, 7, 8), (6, 8, 9), (6, 9, 11), (6, 9, 14))
    desk.answered(1)
    (found,) = desk.client.asked[-1][1]
    assert found.kind == "scribble"
    assert {(6.0, 7.0, 8.0), (6.0, 9.0, 14.0)} <= set(found.points)
    desk.view.drag((6, 12, 8), (6, 12, 14), ctrl=1)
    desk.answered(2)
    assert [p.positive for p in desk.client.asked[-1][1]] == [True, False]


def test_a_box_is_flat_on_its_slice(desk):
    desk.panel.pick("box")
    desk.view.drag((6, 4.6, 5.6), (6, 9, 11), (6, 13.4, 16.4))
    desk.answered(1)
    (found,) = desk.client.asked[-1][1]
    assert (found.lower, found.upper) == ((6, 5, 6), (6, 13, 16))
    desk.view.click((6, 5, 6))
    assert len(desk.target.prompts.of("box")) == 1


def test_nothing_is_asked_before_the_button_is_up(desk, until):
    desk.panel.pick("stroke")
    desk.view.mouse("LeftButtonPressEvent", (6, 7, 8))
    desk.view.mouse("MouseMoveEvent", (6, 9, 11))
    until(lambda: not desk.panel.watcher._timer.isActive())
    assert desk.client.asked == []
    desk.view.mouse("LeftButtonReleaseEvent", (6, 9, 11))
    desk.answered(1)


def test_the_editors_masking_and_range_hold(desk):
    desk.editor.node.SetSourceVolumeIntensityMask(True)
    desk.editor.node.SetSourceVolumeIntensityMaskRange(100, 200)
    desk.view.click((6, 12, 16))
    desk.answered(1)
    bright = scenes.block_image() > 0
    np.testing.assert_array_equal(desk.drawn(), cube(6, 12, 16) & bright)


def test_the_editors_overwrite_mode_holds(desk):
    desk.view.click((6, 9, 11))
    desk.answered(1)
    second = desk.target.segmentation.GetSegmentation().GetNthSegmentID(1)
    desk.editor.choose(desk.target.segmentation, desk.target.volume, second)
    desk.editor.node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)
    desk.view.click((6, 9, 13))
    desk.answered(2)
    np.testing.assert_array_equal(desk.drawn(), cube(6, 9, 11))
    other = Target(desk.target.volume, desk.target.segmentation, second)
    np.testing.assert_array_equal(desk.drawn(other), cube(6, 9, 13))


def test_each_segment_has_its_own_prompts(desk):
    desk.view.click((6, 9, 11))
    desk.answered(1)
    second = desk.target.segmentation.GetSegmentation().GetNthSegmentID(1)
    first = desk.target.prompts.all()[0]
    desk.editor.choose(desk.target.segmentation, desk.target.volume, second)
    assert not first.GetDisplayVisibility()
    desk.editor.choose(desk.target.segmentation, desk.target.volume, desk.target.segment_id)
    assert first.GetDisplayVisibility()


def test_cancel_stops_the_answer(desk):
    desk.client.gate.clear()
    desk.view.click((6, 9, 11))
    desk.until(desk.client.started.is_set)
    desk.panel.status.button.click()
    desk.until(lambda: not desk.assistant.background.busy)
    assert not desk.drawn().any()
    assert not desk.panel.status.button.isEnabled()


def test_an_answer_for_a_segmentation_that_was_left_is_said(desk):
    desk.client.gate.clear()
    desk.view.click((6, 9, 11))
    desk.until(desk.client.started.is_set)
    elsewhere, (name,) = scenes.add_segmentation(desk.target.volume, "elsewhere")
    desk.editor.choose(elsewhere, desk.target.volume, name)
    desk.client.gate.set()
    desk.until(lambda: not desk.assistant.background.busy)
    assert "another segmentation" in desk.panel.status.text.text
    assert not desk.drawn().any()


def test_without_a_segment_the_mouse_is_left_alone(desk):
    desk.editor.choose(desk.target.segmentation, desk.target.volume, "")
    desk.view.click((6, 9, 11))
    assert desk.client.asked == []
    desk.panel.run()
    assert "Choose a source volume" in desk.panel.status.text.text


def test_another_module_gets_its_views_back(desk):
    desk.view.click((6, 9, 11))
    desk.answered(1)
    prompts = desk.target.prompts.all()
    desk.editor.leave()
    assert not any(n.GetDisplayVisibility() for n in prompts)


def test_missing_packages_only_point_to_the_module(scene, monkeypatch):
    chosen = []
    monkeypatch.setattr(requirements, "PACKAGES", ("no_such_package_here",))
    monkeypatch.setattr(slicer.util, "selectModule", chosen.append)
    effect = registered()
    effect.script.setupOptionsFrame()
    effect.script.activate()
    view = types.SimpleNamespace(className=lambda: "qMRMLSliceWidget")
    assert not effect.script.processInteractionEvents(None, vtk.vtkCommand.MouseMoveEvent, view)
    (button,) = effect.frame.findChildren(adapter_module.qt.QPushButton)
    button.click()
    assert chosen == ["OpenMEDLab"]


def test_points_on_other_slices_are_not_in_the_way(desk):
    desk.view.click((6, 9, 11))
    desk.answered(1)
    xy = desk.view.pixel((6, 9, 11))
    assert pointer.near_a_point(desk.target.prompts, xy, desk.view.node)
    desk.view.look(desk.target.volume, 9)
    assert not pointer.near_a_point(desk.target.prompts, xy, desk.view.node)
