"""Every prompt tool by real events, in every orientation."""

import numpy as np
import pytest
from napari_desk import LEFT
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_openmedlab.tools import COMMAND_KEYS, TOOLS
from openmedlab.core import Box, ExtremePoints, Lasso, Point, Scribble

SHIFT = Qt.KeyboardModifier.ShiftModifier
SIX = [(6, 30, 36), (18, 30, 36), (12, 20, 36), (12, 40, 36), (12, 30, 24), (12, 30, 48)]


def only(desk, kind):
    (prompt,) = desk.session.prompts(1)
    assert isinstance(prompt, kind)
    return prompt


def test_negative_points_carve(desk):
    desk.go_to((12, 30, 36))
    desk.take("point+")
    desk.click((12, 30, 36))
    desk.wait_mask()
    desk.take("point-")
    desk.click((12, 30, 39))
    desk.wait_mask(lambda m: not m[12, 30, 39])
    assert [p.positive for p in desk.session.prompts(1)] == [True, False]


def test_a_box_on_one_slice_then_through_many(desk):
    desk.go_to((12, 0, 0))
    desk.take("box")
    desk.drag((12, 20, 24), (12, 40, 48))
    desk.wait_mask()
    box = only(desk, Box)
    assert box.flat_axis == 0
    np.testing.assert_allclose(box.lower, (12, 20, 24), atol=0.6)
    np.testing.assert_allclose(box.upper, (12, 40, 48), atol=0.6)
    depth = desk.widget.box_depth
    assert depth.isVisible()
    depth.last.setValue(15)
    desk.wait_mask(lambda m: m[15].any())
    desk.go_to((9, 0, 0))
    QTest.mouseClick(depth.here_button, LEFT)
    desk.wait_mask(lambda m: m[9].any() and m[15].any() and not m[8].any())
    assert only(desk, Box).region.shape[0] == 7


@pytest.mark.parametrize(("tool", "positive"), [("scribble+", True), ("scribble-", False)])
def test_scribbles(desk, tool, positive):
    desk.go_to((12, 0, 0))
    desk.take(tool)
    desk.drag((12, 20, 24), (12, 30, 36), (12, 24, 48))
    desk.qtbot.waitUntil(lambda: bool(desk.session.prompts(1)))
    scribble = only(desk, Scribble)
    assert scribble.positive is positive
    assert len(scribble.points) > 15
    assert set(scribble.positions()[:, 0]) == {12}
    if positive:
        desk.wait_mask(lambda m: m[12, 30, 36])
    else:
        assert "Only negative prompts" in desk.status


def test_a_lasso(desk):
    desk.go_to((12, 0, 0))
    desk.take("lasso")
    desk.drag((12, 20, 24), (12, 20, 48), (12, 40, 48), (12, 40, 24), (12, 22, 24))
    desk.wait_mask(lambda m: m[12, 30, 36])
    assert only(desk, Lasso).axis == 0


def test_six_extreme_points_with_the_guide(desk):
    desk.take("extreme")
    guide = desk.widget.guide
    assert guide.isVisible()
    for k, place in enumerate(SIX):
        assert f"{6 - k} missing" in guide.headline.text() or k == 5
        assert guide.steps[k].text().startswith("▶")
        assert not desk.session.prompts(1)
        desk.go_to(place)
        desk.click(place)
        assert guide.steps[k].text().startswith("✓")
    desk.wait_mask()
    assert desk.mask()[12, 30, 36]
    points = only(desk, ExtremePoints).positions()
    np.testing.assert_allclose(points, SIX, atol=0.6)
    assert "inferior" in guide.steps[0].text()
    assert "left" in guide.steps[5].text()


def test_the_guide_names_the_one_deleted_and_a_seventh_click_replaces_the_nearest(desk):
    desk.take("extreme")
    for place in SIX:
        desk.go_to(place)
        desk.click(place)
    desk.wait_mask()
    points = desk.controller.workspace.prompts.points
    points.remove([3])
    assert desk.widget.guide.steps[3].text().startswith("▶")
    assert desk.session.prompts(1) == ()
    desk.go_to(SIX[3])
    desk.click(SIX[3])
    assert len(desk.session.prompts(1)) == 1
    further = (12, 30, 52)
    desk.go_to(further)
    desk.click(further)
    assert len(points.data) == 6
    np.testing.assert_allclose(only(desk, ExtremePoints).positions()[5], further, atol=0.6)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (2, 1, 0)])
def test_clicks_land_where_they_are_made_in_all_orientations(desk, order):
    desk.viewer.dims.order = order
    desk.viewer.reset_view()
    QTest.qWait(50)
    place = (10, 33, 29)
    desk.go_to(place)
    desk.take("point+")
    desk.click(place)
    desk.wait_mask(lambda m: m[place])
    np.testing.assert_allclose(only(desk, Point).position, place, atol=0.6)


def test_the_3d_view_keeps_working(desk):
    desk.take("point+")
    desk.go_to((12, 30, 36))
    desk.click((12, 30, 36))
    desk.wait_mask()
    desk.viewer.dims.ndisplay = 3
    QTest.qWait(100)
    for tool in TOOLS:
        desk.controller.take(tool)
        QTest.mouseClick(desk.canvas.native, LEFT)
    desk.viewer.dims.ndisplay = 2
    desk.controller.take("point+")
    desk.go_to((12, 30, 50))
    desk.click((12, 30, 50))
    desk.wait_mask(lambda m: m[12, 30, 50])


def test_keys_take_tools_and_run_commands(desk):
    for tool in TOOLS.values():
        if len(tool.key) == 1:
            desk.press(getattr(Qt.Key, f"Key_{tool.key}"))
            assert desk.controller.tool == tool.name
    desk.press(Qt.Key.Key_N, SHIFT)
    assert desk.controller.workspace.current == 2
    desk.press(Qt.Key.Key_N)
    assert desk.controller.workspace.current == 1
    desk.press(Qt.Key.Key_H, SHIFT)
    assert not desk.labels.visible
    for key in (*(t.key for t in TOOLS.values()), *COMMAND_KEYS.values()):
        assert key in desk.widget.help_label.text()


def test_no_key_is_one_of_naparis_own(desk):
    from napari.settings import get_settings

    taken = {str(key) for keys in get_settings().shortcuts.shortcuts.values() for key in keys}
    ours = {*(t.key for t in TOOLS.values()), *COMMAND_KEYS.values()}
    assert not {key.replace("-", "+") for key in ours} & taken


def test_the_tool_is_put_down_when_the_user_turns_to_another_layer(desk):
    desk.take("point+")
    desk.viewer.layers.selection.active = desk.labels
    assert desk.controller.tool is None
    assert not desk.widget.tool_buttons["point+"].isChecked()
    desk.take("box")
    desk.controller.workspace.prompts.shapes.mode = "pan_zoom"
    assert desk.controller.tool is None


def test_a_click_outside_the_volume_is_refused_in_one_sentence(desk):
    desk.viewer.camera.zoom = desk.viewer.camera.zoom / 3
    QTest.qWait(50)
    desk.go_to((12, 0, 0))
    desk.take("point+")
    desk.click((12, -20, 5))
    assert "outside the volume" in desk.status
    assert not desk.session.prompts(1)
    desk.click((12, 30, 36))
    assert "outside the volume" in desk.status
