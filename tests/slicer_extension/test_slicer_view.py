"""A mouse in Slicer's own slice view, off-screen: the click reaches the effect and segments."""

from __future__ import annotations

from pathlib import Path

import adapter_app
import adapter_editor
import numpy as np
import pytest
import slicer
import slicer_scenes as scenes
import vtk
from vtk.util.numpy_support import vtk_to_numpy

pytest.importorskip("trame_slicer", reason="needs trame-slicer for Slicer's views")

from OpenMEDLabLib import assistant as assistant_module
from OpenMEDLabLib import frames, placing
from OpenMEDLabLib.assistant import Assistant, Target
from OpenMEDLabLib.watching import PromptWatcher
from OpenMEDLabLib.writing import editor_node

EFFECT = (
    Path(__file__).parents[2]
    / "slicer_extension/OpenMEDLab/SegmentEditorOpenMEDLabLib/SegmentEditorEffect.py"
)
SIZE = (320, 320)


@pytest.fixture(scope="module")
def real_app():
    """Slicer's application logic and displayable managers; one in a process."""
    from trame_slicer.core import SlicerApp
    from trame_slicer.views import DirectViewFactory

    before = slicer.mrmlScene, slicer.app.applicationLogic()
    app = SlicerApp()
    app.view_manager.register_factory(DirectViewFactory(do_render_offscreen=True))
    adapter_app.use_scene(app.scene, app.app_logic)
    yield app
    adapter_app.use_scene(*before)


class Desk:
    """The effect over a real axial view, with a real server behind it."""

    def __init__(self, app, server, until):
        from trame_slicer.views import ViewLayoutDefinition

        self.until = until
        array = scenes.block_image()
        array += np.random.default_rng(0).integers(-5, 6, array.shape, np.int16)
        self.volume = scenes.add_volume(array=array)
        self.volume.CreateDefaultDisplayNodes()
        self.volume.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        parent, _ = scenes.add_parent(self.volume, scenes.shift(12, -7, 30))
        segmentation, (name,) = scenes.add_segmentation(self.volume, "one", parent=parent)
        segmentation.GetSegmentation().GetSegment(name).SetColor(1, 0, 0)
        self.target = Target(self.volume, segmentation, name)
        self.view = app.view_manager.create_view(ViewLayoutDefinition.slice_view("Axial"))
        self.view.render_window().SetSize(*SIZE)
        app.display_manager.show_volume_in_slice_background(self.volume)
        self.view.fit_view_to_content()
        self.node = self.view.get_view_node()
        self.assistant = Assistant()
        self.assistant.address, self.assistant.token = server, "open sesame"
        assistant_module._shared[:] = [self.assistant]
        self.editor = adapter_editor.SegmentEditor(editor_node())
        self.editor.choose(segmentation, self.volume, name)
        effect = adapter_editor.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource(EFFECT.as_posix())
        self.panel = self.editor.use(effect)
        self.editor.watch(self.view.interactor(), self.node)
        self.until(lambda: self.assistant.models)

    def look_at(self, index):
        self.node.JumpSliceByCentering(*frames.to_world(self.volume, index))
        self.view.render()

    def mouse(self, event, index, shift=(0, 0)):
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), inverse)
        ras = frames.to_world(self.volume, index)
        x, y = np.rint(inverse.MultiplyPoint((*ras, 1))[:2]).astype(int) + shift
        self.view.interactor().SetEventInformation(int(x), int(y))
        self.view.interactor().InvokeEvent(event)

    def click(self, index):
        for event in ("EnterEvent", "MouseMoveEvent", "LeftButtonPressEvent"):
            self.mouse(event, index)
        self.mouse("LeftButtonReleaseEvent", index)

    def answered(self):
        self.until(lambda: "voxels" in self.panel.status.text.text)
        self.until(lambda: not self.assistant.background.busy)
        self.panel.status.say("")

    def drawn(self):
        region, mask = self.target.mask()
        array = np.zeros(scenes.SHAPE, bool)
        array[region.slices] = mask
        return array

    def picture(self):
        self.view.render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.view.render_window())
        grab.ReadFrontBufferOff()
        grab.Update()
        return vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).astype(int)


def reddish(picture):
    """Return how many pixels are red, as the segment is."""
    return int((picture[:, 0] - picture[:, 1] > 60).sum())


@pytest.fixture
def desk(real_app, server, until):
    desk = Desk(real_app, server, until)
    yield desk
    desk.editor.leave()
    desk.assistant.close()
    assistant_module._shared.clear()


@pytest.mark.slow
def test_a_mouse_click_in_a_real_slice_view_segments(desk):
    desk.look_at((6, 9, 11))
    before = desk.picture()
    desk.click((6, 9, 11))
    desk.answered()
    block = scenes.block_image() > 0
    assert 2 * (desk.drawn() & block).sum() / (desk.drawn().sum() + block.sum()) > 0.9
    assert reddish(before) == 0
    assert reddish(desk.picture()) > 1000

    node = desk.target.prompts.of("positive")[0]
    start = np.array(node.GetNthControlPointPositionWorld(0))
    desk.mouse("MouseMoveEvent", (6, 9, 11))
    desk.mouse("LeftButtonPressEvent", (6, 9, 11))
    for step in ((8, 0), (16, 0)):
        desk.mouse("MouseMoveEvent", (6, 9, 11), step)
    desk.mouse("LeftButtonReleaseEvent", (6, 9, 11), (16, 0))
    desk.answered()
    moved = np.linalg.norm(np.array(node.GetNthControlPointPositionWorld(0)) - start)
    assert node.GetNumberOfControlPoints() == 1
    assert moved > 1


@pytest.mark.slow
def test_a_box_is_a_prompt_once_both_corners_are_placed(desk, until):
    desk.editor.leave()
    desk.look_at((6, 9, 11))
    prompts, heard = desk.target.prompts, []
    watcher = PromptWatcher(lambda: heard.append(prompts.prompts(desk.volume)))
    watcher.watch(prompts)
    placing.start(prompts.add("box"), persistent=False)
    desk.click((6, 6, 8))
    until(lambda: not watcher._timer.isActive())
    assert not any(heard)
    desk.click((6, 12, 14))
    until(lambda: heard and heard[-1])
    (box,) = heard[-1]
    assert box.kind == "box"
    assert np.less_equal(box.lower, (6, 8, 10)).all()
    assert np.greater_equal(box.upper, (6, 10, 12)).all()
    assert placing.going_on() is None
    watcher.stop()
