"""Real mouse clicks in the canvas become masks, and the mask follows its prompts."""

import numpy as np
from napari_desk import LEFT, SHAPE, ball
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest

from openmedlab import zoo

SPOT, OTHER = (12, 30, 36), (12, 30, 52)


def test_a_click_becomes_a_mask_with_method_times_and_no_copy(desk, volume_data):
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask()
    assert desk.mask().sum() == ball(SHAPE, SPOT).sum()
    assert desk.session.labelmap is desk.labels.data
    assert np.shares_memory(desk.session.volume.array, volume_data)
    assert "fast" in desk.widget.made_label.text()
    assert "infer" in desk.widget.times_label.text()
    assert desk.labels.metadata["openmedlab"]["made"][1]["method"] == "fast"


def test_the_viewer_lives_on_and_cancel_works_while_a_slow_method_runs(desk, models):
    desk.controller.choose_method("slow")
    ticks = []
    timer = QTimer(interval=10)
    timer.timeout.connect(lambda: ticks.append(desk.controller.runner.busy))
    timer.start()
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.qtbot.waitUntil(lambda: sum(ticks) > 10, timeout=8000)
    desk.qtbot.waitUntil(lambda: "thinking" in desk.widget.progress_bar.format(), timeout=8000)
    assert desk.widget.cancel_button.isEnabled()
    QTest.mouseClick(desk.widget.cancel_button, LEFT)
    desk.settle()
    assert "Cancelled" in desk.status
    assert not desk.mask().any()
    QTest.mouseClick(desk.widget.run_button, LEFT)
    models.slow.gate.set()
    desk.wait_mask()
    timer.stop()


def test_escape_cancels_only_while_something_runs(desk):
    desk.controller.choose_method("slow")
    assert not desk.widget._cancel_key.isEnabled()
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.qtbot.waitUntil(lambda: desk.controller.runner.busy)
    assert desk.widget._cancel_key.isEnabled()
    desk.widget._cancel_key.activated.emit()
    desk.settle()
    assert not desk.mask().any()


def test_two_quick_clicks_yield_one_final_mask(desk, models):
    desk.controller.choose_method("slow")
    written = []
    desk.controller.runner.answered.connect(lambda _w, answer: written.append(answer))
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.click(OTHER)
    models.slow.gate.set()
    desk.wait_mask()
    desk.settle()
    assert len(written) == 1
    assert desk.mask()[SPOT]
    assert desk.mask()[OTHER]
    desk.labels.undo()
    assert not desk.mask().any()


def test_the_mask_follows_a_moved_and_a_deleted_point(desk):
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.click(OTHER)
    desk.wait_mask(lambda m: m[OTHER])
    desk.take("move")
    away = (12, 12, 12)
    desk.drag(OTHER, (12, 20, 30), away)
    desk.wait_mask(lambda m: m[away] and not m[OTHER])
    assert desk.mask()[SPOT]
    points = desk.controller.workspace.prompts.points
    points.selected_data = {1}
    desk.press(Qt.Key.Key_Delete)
    desk.wait_mask(lambda m: not m[away])
    assert desk.mask()[SPOT]
    points.selected_data = {0}
    desk.press(Qt.Key.Key_Delete)
    desk.wait_mask(lambda m: not m.any())


def test_switching_the_method_keeps_prompts_and_runs_them_again(desk, models):
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask()
    combo = desk.widget.method_combo
    combo.setCurrentIndex(combo.findData("slow"))
    combo.activated.emit(combo.currentIndex())
    models.slow.gate.set()
    desk.qtbot.waitUntil(lambda: "slow" in desk.widget.made_label.text(), timeout=5000)
    assert models.slow.runs == 1
    assert len(desk.session.prompts(1)) == 1


def test_run_on_key_instead_of_after_every_prompt(desk, models):
    desk.widget.auto_run_check.setChecked(False)
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    QTest.qWait(80)
    assert models.fast.runs == 0
    desk.press(Qt.Key.Key_R, Qt.KeyboardModifier.ShiftModifier)
    desk.wait_mask()


def test_a_model_without_weights_says_what_it_needs_and_runs_when_they_come(desk, models):
    combo = desk.widget.method_combo
    combo.setCurrentIndex(combo.findData("bare"))
    combo.activated.emit(combo.currentIndex())
    assert "400 MB, Apache-2.0" in desk.widget.method_detail.text()
    QTest.mouseClick(desk.widget.weights_button, LEFT)
    assert "openmedlab models fetch bare" in desk.status
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    assert "needs weights" in desk.status
    assert not desk.mask().any()
    models.offer_bare()
    zoo.weights_changed.emit("bare")
    desk.wait_mask()
    assert desk.widget.weights_button.isHidden()


def test_a_failing_method_gives_a_sentence_and_leaves_the_mask(desk, models):
    models.fast.predict = lambda *args: 1 / 0
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.qtbot.waitUntil(lambda: "ZeroDivisionError" in desk.status)
    assert not desk.mask().any()
    assert not desk.controller.runner.busy
