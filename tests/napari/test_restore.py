"""A killed session comes back from its journal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from napari_desk import LEFT, SHAPE, Desk
from qtpy.QtTest import QTest

from openmedlab.core import Box, Point
from openmedlab.engine import home

SPOT = (12, 30, 36)

KILLED = """
import os, signal, sys
import numpy as np
from napari.components import ViewerModel
from psygnal import emit_queued
sys.path.insert(0, {here!r})
from napari_desk import SHAPE, FakeBalls, offered
from openmedlab import zoo
model = FakeBalls("fast")
zoo.methods = lambda: {{"fast": offered(model)}}
from napari_openmedlab.controller import SegmentController
viewer = ViewerModel()
data = np.random.default_rng(0).normal(0, 10, SHAPE).astype(np.float32)
image = viewer.add_image(data, name="ct", scale=(2, 1, 1), units="mm")
controller = SegmentController(viewer)
controller.open(image)
workspace = controller.workspace
workspace.session.update_object(1, name="spleen")
controller.take("point+")
workspace.prompts.points.add({spot!r})
while not workspace.session.labelmap.any():
    emit_queued()
workspace.labels.paint((12, 10, 10), 1)
workspace.session.journal.flush()
np.save({out!r}, workspace.session.labelmap)
os.kill(os.getpid(), signal.SIGKILL)
"""


def reopen(desk):
    """Close and open the volume, as after a restart."""
    image = desk.image
    desk.controller._close(image)
    desk.controller._show_none()
    desk.controller.open(image)


def work(desk):
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask()
    desk.take("box")
    desk.drag((12, 10, 10), (12, 18, 20))
    desk.wait_mask(lambda m: m[12, 14, 14])
    desk.controller.extend_box(10, 14)
    desk.wait_mask(lambda m: m[14, 14, 14])
    desk.settle()


def test_restore_brings_back_masks_prompts_and_objects(desk):
    work(desk)
    expected, prompts = desk.session.labelmap.copy(), desk.session.prompts(1)
    reopen(desk)
    assert not desk.session.labelmap.any()
    assert desk.widget.restore_bar.isVisible()
    QTest.mouseClick(desk.widget.restore_button, LEFT)
    desk.qtbot.waitUntil(lambda: "Restored" in desk.status, timeout=5000)
    np.testing.assert_array_equal(desk.session.labelmap, expected)
    assert desk.session.prompts(1) == prompts
    assert [type(p) for p in prompts] == [Point, Box]
    assert len(desk.controller.workspace.prompts.points.data) == 1
    desk.take("point+")
    desk.click((12, 30, 50))
    desk.wait_mask(lambda m: m[12, 30, 50] and m[12, 14, 14])
    assert len(desk.session.prompts(1)) == 3
    assert not desk.widget.restore_bar.isVisible()


def test_start_new_keeps_the_old_journal_and_does_not_ask_again(desk):
    work(desk)
    reopen(desk)
    QTest.mouseClick(desk.widget.start_new_button, LEFT)
    assert not desk.widget.restore_bar.isVisible()
    assert len(list((home() / "journals").glob("*.jsonl"))) == 2
    reopen(desk)
    assert not desk.widget.restore_bar.isVisible()


def test_an_offer_not_answered_is_made_again(desk):
    work(desk)
    reopen(desk)
    reopen(desk)
    assert desk.widget.restore_bar.isVisible()


def test_a_damaged_journal_gives_a_sentence_and_the_volume_stays_usable(desk):
    work(desk)
    reopen(desk)
    waiting = desk.controller.waiting
    lines = waiting.read_bytes().splitlines(keepends=True)
    waiting.write_bytes(b"".join([lines[0], b"{broken\n", *lines[1:]]))
    image = desk.image
    QTest.mouseClick(desk.widget.restore_button, LEFT)
    desk.qtbot.waitUntil(lambda: "damaged" in desk.status, timeout=5000)
    desk.widget.volume_combo.chosen.emit(image)
    assert desk.image is image


@pytest.mark.slow
def test_a_killed_process_loses_nothing(models, make_napari_viewer, qtbot, volume_data, tmp_path):
    out = str(tmp_path / "killed.npy")
    code = KILLED.format(here=str(Path(__file__).parent), spot=SPOT, out=out)
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, timeout=120)
    assert done.returncode == -signal.SIGKILL
    viewer = make_napari_viewer(show=True)
    viewer.add_image(volume_data, name="ct", scale=(2, 1, 1), units="mm")
    desk = Desk(viewer, qtbot)
    qtbot.waitUntil(desk.widget.restore_bar.isVisible)
    QTest.mouseClick(desk.widget.restore_button, LEFT)
    desk.qtbot.waitUntil(lambda: "Restored" in desk.status, timeout=5000)
    np.testing.assert_array_equal(desk.session.labelmap, np.load(out))
    assert desk.session.labelmap[12, 10, 10] == 1
    assert desk.session.object(1).name == "spleen"
    assert desk.session.prompts(1) == (Point(SPOT),)
    assert desk.session.volume.shape == SHAPE


def test_without_a_place_for_the_journal_work_goes_on_with_a_warning(desk, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("OPENMEDLAB_HOME", str(blocked))
    desk.controller.open(desk.image, fresh=True)
    assert "not journalled" in desk.status
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask()
