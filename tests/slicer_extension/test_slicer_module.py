"""The module's own file, unchanged: its buttons pressed, a real server behind them."""

from __future__ import annotations

import http.server
import socket
import threading
from pathlib import Path

import adapter_app
import adapter_editor
import adapter_module
import numpy as np
import pytest
import slicer
import slicer_scenes as scenes
from OpenMEDLabLib import assistant, frames, placing, requirements
from OpenMEDLabLib.prompt_nodes import ROLE
from PyQt6.QtTest import QTest

FILE = Path(__file__).parents[2] / "slicer_extension" / "OpenMEDLab" / "OpenMEDLab.py"
TOKEN = "open sesame"


@pytest.fixture
def module():
    adapter_app.STARTED.clear()
    return adapter_module.load(FILE)


@pytest.fixture
def panels(scene, module, until):
    """The module's panels, opened as the user opens them."""
    widget = adapter_module.open_widget(module)
    yield widget.panels
    widget.exit()
    widget.cleanup()
    widget.logic.assistant.close()
    assistant._shared.clear()


@pytest.fixture
def volume(scene):
    array = scenes.block_image()
    array[:, :3] = -1000
    array += np.random.default_rng(0).integers(-5, 6, array.shape, np.int16)
    node = scenes.add_volume(array=array)
    scenes.add_parent(node, scenes.shift(12, -7, 30))
    return node


@pytest.fixture
def connected(panels, volume, server, until):
    panels.server.address.setText(server)
    panels.server.token.setText(TOKEN)
    press(panels.server.test_button)
    until(lambda: panels.localize.organs.names)
    panels.volume.setCurrentNode(volume)
    return panels


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, adapter_module.qt.Qt.MouseButton.LeftButton)


def rest(panels, until):
    until(lambda: not panels.logic.assistant.background.busy)
    return panels.status.text.text


def answered(panels, until):
    """Wait for the request that a changed prompt sets off."""
    until(lambda: "voxels" in panels.status.text.text)
    return rest(panels, until)


def click(panels, tool, *indices):
    """Choose a tool and let Slicer place its points there."""
    press(panels.segment.tools[tool])
    node = placing.going_on()
    assert node.GetAttribute(ROLE) == tool
    for position in frames.to_world(panels.logic.volume, np.array(indices, float)):
        node.AddControlPointWorld(*position)
    placing.stop()
    return node


def drawn(panels):
    target = panels.logic.target
    region, mask = target.mask()
    array = np.zeros(scenes.SHAPE, bool)
    array[region.slices] = mask
    return array


def overlap(panels):
    block, mask = scenes.block_image() > 0, drawn(panels)
    return 2 * (block & mask).sum() / (block.sum() + mask.sum())


def test_start_up_announces_the_effect_and_the_codes(scene, module):
    adapter_editor.REGISTERED.clear()
    adapter_module.open_widget(module).cleanup()
    (start_up,) = adapter_app.STARTED
    start_up()
    (effect,) = adapter_editor.REGISTERED
    assert effect.name == "OpenMEDLab"
    assert not effect.script.icon().isNull()
    contexts = slicer.modules.terminologies.logic()
    entry = slicer.vtkSlicerTerminologyEntry()
    assert contexts.FindTypeInTerminologyBy3dSlicerLabel("OpenMEDLab structures", "liver", entry)


def test_a_click_segments_through_the_server(connected, until):
    click(connected, "positive", (6, 9, 11))
    answered(connected, until)
    assert overlap(connected) > 0.9
    press(connected.segment.undo_button)
    assert not drawn(connected).any()
    press(connected.segment.redo_button)
    assert overlap(connected) > 0.9


def test_a_negative_click_takes_away(connected, until):
    click(connected, "positive", (6, 9, 11))
    answered(connected, until)
    connected.status.say("")
    click(connected, "negative", (6, 13, 16))
    answered(connected, until)
    assert not drawn(connected)[6, 13, 16]
    assert drawn(connected)[6, 9, 11]


@pytest.mark.parametrize(
    ("tool", "indices"),
    [
        ("box", [(3.6, 4.6, 5.6), (9.4, 13.4, 16.4)]),
        ("stroke", [(6, 6, 8), (6, 12, 14)]),
        ("extreme", scenes.BLOCK),
    ],
)
def test_every_tool_reaches_the_model(connected, until, tool, indices):
    click(connected, tool, *indices)
    answered(connected, until)
    assert overlap(connected) > 0.7


def test_painted_scribbles_are_prompts(connected, volume, until):
    press(connected.segment.new_button)
    first = connected.logic.segment_id
    press(connected.segment.new_button)
    paint = connected.logic.segment_id
    array = np.zeros(scenes.SHAPE, np.uint8)
    array[6, 8, 8:14] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        array, connected.logic.segmentation, paint, volume
    )
    segments = connected.segment.segments
    segments.setCurrentIndex(segments.findData(first))
    chooser = connected.segment.scribbles[0]
    chooser.setCurrentIndex(chooser.findData(paint))
    answered(connected, until)
    assert overlap(connected) > 0.9
    chooser.setCurrentIndex(chooser.findData(first))
    assert "its own scribble" in rest(connected, until)


def test_moved_and_removed_points_are_answered_anew(connected, until):
    node = click(connected, "positive", (6, 9, 11), (1, 1, 1))
    answered(connected, until)
    assert drawn(connected)[1, 1, 1]
    connected.status.say("")
    node.RemoveNthControlPoint(1)
    answered(connected, until)
    assert not drawn(connected)[1, 1, 1]


def test_nothing_is_asked_while_another_module_is_shown(connected, until):
    node = click(connected, "positive", (6, 9, 11))
    answered(connected, until)
    connected.leave()
    before = drawn(connected)
    connected.status.say("")
    node.AddControlPointWorld(*frames.to_world(connected.logic.volume, (1, 1, 1)))
    connected.segment.watcher._timer.isActive() and pytest.fail("a request was set off")
    rest(connected, until)
    np.testing.assert_array_equal(drawn(connected), before)


def test_clear_removes_the_prompts_and_keeps_the_mask(connected, until):
    click(connected, "positive", (6, 9, 11))
    answered(connected, until)
    press(connected.segment.clear_button)
    assert connected.logic.target.prompts.all() == []
    assert overlap(connected) > 0.9


def test_whole_body_makes_coded_segments(connected, until):
    names = connected.body.classes.names
    assert names
    press(connected.body.run_button)
    text = rest(connected, until)
    assert "structures in" in text
    assert connected.logic.segmentation.GetSegmentation().GetNumberOfSegments() >= 1
    press(connected.body.classes.none_button)
    press(connected.body.run_button)
    assert "Tick at least one" in connected.status.text.text


def test_organs_found_become_segments_from_their_points(connected, until):
    panel = connected.localize
    assert panel.organs.names == ("liver",)
    press(panel.run_button)
    assert "1 organs found" in rest(connected, until)
    assert (panel.table.item(0, 0).text(), panel.table.item(0, 1).text()) == ("liver", "0.75")
    assert not drawn(connected).any()
    press(panel.segment_button)
    rest(connected, until)
    assert overlap(connected) > 0.7
    segment = connected.logic.segmentation.GetSegmentation().GetSegment(connected.logic.segment_id)
    assert "10200004" in segment.GetTerminology()


def test_a_closed_scene_is_survived(connected, until):
    click(connected, "positive", (6, 9, 11))
    answered(connected, until)
    slicer.mrmlScene.Clear(False)
    rest(connected, until)
    assert connected.volume.currentNode() is None
    assert connected.segment.segments.count == 0
    press(connected.segment.run_button)
    assert "Choose a volume" in connected.status.text.text


def test_without_a_volume_or_a_server_the_buttons_say_so(panels):
    press(panels.segment.run_button)
    assert "Choose a volume" in panels.status.text.text
    press(panels.body.run_button)
    assert "Connect to a server" in panels.status.text.text
    press(panels.localize.run_button)
    assert "Connect to a server" in panels.status.text.text


def finding(panels, address, token, until, expected):
    """Test until the answer came in time, as it may not on a busy machine."""
    panels.server.address.setText(address)
    panels.server.token.setText(token)
    for _ in range(5):
        press(panels.server.test_button)
        text = rest(panels, until)
        if expected in text.lower():
            break
    return text


def test_a_wrong_token_a_wrong_port_and_nobody_are_told_apart(panels, server, until):
    nobody = f"http://127.0.0.1:{closed_port()}"
    with other_server(200) as elsewhere, other_server(407) as proxy:
        for address, token, expected in (
            (server, "guess", "token"),
            (elsewhere, "", "not an openmedlab server"),
            (proxy, "", "proxy"),
            (nobody, "", "no server can be reached"),
        ):
            assert expected in finding(panels, address, token, until, expected).lower()
    assert panels.logic.assistant.models == ()
    assert "ready" in finding(panels, server, TOKEN, until, "ready")
    assert panels.logic.assistant.models


class other_server:
    """Something on the port that is no OpenMEDLab server."""

    def __init__(self, status):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"<html>something else</html>")

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_missing_packages_are_asked_for_and_installed_only_then(scene, module, monkeypatch):
    asked = []
    monkeypatch.setattr(requirements, "PACKAGES", ("blosc2", "no_such_package_here"))
    monkeypatch.setattr(slicer.util, "pip_install", asked.append)
    widget = adapter_module.open_widget(module)
    assert widget.panels is None
    assert "no_such_package_here" in widget.question.text
    assert asked == []
    press(widget.install_button)
    assert asked == [["no_such_package_here"]]
    assert widget.panels is not None
    widget.exit()
    widget.cleanup()
