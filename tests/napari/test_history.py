"""One history for clicks and brush strokes: napari's own, and the journal knows all of it."""

from itertools import pairwise

import numpy as np
import pytest
from napari_desk import SHAPE, ball
from qtpy.QtCore import Qt

from napari_openmedlab.layers import labels as labels_module
from openmedlab.core import MaskPrompt, Session

SPOT, OTHER, BRUSHED = (12, 30, 36), (12, 30, 50), (12, 14, 36)
CONTROL = Qt.KeyboardModifier.ControlModifier


def click_point(desk, at):
    desk.take("point+")
    desk.go_to(at)
    desk.click(at)
    desk.wait_mask(lambda m: m[at])


def brush(desk, *path, mode="paint", size=5):
    desk.viewer.layers.selection.active = desk.labels
    desk.labels.mode = mode
    desk.labels.brush_size = size
    desk.drag(*path)
    desk.labels.mode = "pan_zoom"


def replayed(desk):
    """The labelmap that the journal on disk gives."""
    journal = desk.session.journal
    journal.flush()
    copy = journal.path.with_name("copy.jsonl")
    copy.write_bytes(journal.path.read_bytes())
    session = Session.replay(copy, desk.session.volume)
    session.close()
    return session.labelmap


@pytest.mark.parametrize("large", [10**9, 0], ids=["by voxels", "as a box"])
def test_undo_and_redo_through_clicks_and_strokes(desk, monkeypatch, large):
    monkeypatch.setattr(labels_module, "LARGE", large)
    states = [desk.session.labelmap.copy()]
    click_point(desk, SPOT)
    states.append(desk.session.labelmap.copy())
    brush(desk, BRUSHED, (12, 16, 44))
    states.append(desk.session.labelmap.copy())
    brush(desk, SPOT, (12, 32, 38), mode="erase")
    states.append(desk.session.labelmap.copy())
    click_point(desk, OTHER)
    states.append(desk.session.labelmap.copy())
    assert all((a != b).any() for a, b in pairwise(states))

    desk.viewer.layers.selection.active = desk.labels
    for state in states[-2::-1]:
        desk.press(Qt.Key.Key_Z, CONTROL)
        np.testing.assert_array_equal(desk.session.labelmap, state)
        np.testing.assert_array_equal(replayed(desk), state)
    for state in states[1:]:
        desk.press(Qt.Key.Key_Z, CONTROL | Qt.KeyboardModifier.ShiftModifier)
        np.testing.assert_array_equal(desk.session.labelmap, state)
    np.testing.assert_array_equal(replayed(desk), states[-1])


def test_the_next_click_goes_on_from_the_brushed_mask(desk):
    click_point(desk, SPOT)
    brush(desk, BRUSHED, (12, 16, 44))
    click_point(desk, OTHER)
    assert desk.mask()[BRUSHED]
    kinds = [p.kind for p in desk.session.model_prompts(1)]
    assert kinds == ["point", "mask", "point"]
    mask = next(p for p in desk.session.model_prompts(1) if isinstance(p, MaskPrompt))
    assert mask.array(desk.session.volume.geometry.region)[BRUSHED]


def test_a_stroke_while_the_method_runs_is_not_overwritten(desk, models):
    desk.controller.choose_method("slow")
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.qtbot.waitUntil(lambda: models.slow.runs == 1)
    brush(desk, BRUSHED, (12, 16, 44))
    models.slow.gate.set()
    desk.wait_mask(lambda m: m[SPOT])
    desk.settle()
    assert desk.mask()[BRUSHED]
    assert models.slow.runs == 2
    np.testing.assert_array_equal(replayed(desk), desk.session.labelmap)


def test_a_stroke_on_a_neighbour_meanwhile_is_protected(desk, models):
    desk.controller.choose_method("slow")
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.qtbot.waitUntil(lambda: models.slow.runs == 1)
    second = desk.controller.workspace.add_object()
    brush(desk, (12, 30, 33), (12, 30, 39))
    neighbour = desk.mask(second)
    models.slow.gate.set()
    desk.wait_mask(lambda m: m[12, 26, 36])
    np.testing.assert_array_equal(desk.mask(second), neighbour)


def test_undo_of_a_hidden_layer_is_noticed_at_the_next_request(desk):
    click_point(desk, SPOT)
    desk.labels.visible = False
    desk.labels.undo()
    desk.labels.visible = True
    click_point(desk, OTHER)
    np.testing.assert_array_equal(replayed(desk), desk.session.labelmap)


def test_painting_an_unknown_number_makes_an_object(desk):
    desk.go_to(BRUSHED)
    desk.labels.selected_label = 7
    brush(desk, BRUSHED, (12, 16, 44))
    assert [o.number for o in desk.session.objects] == [1, 7]
    assert desk.widget.object_table.rowCount() == 2


def test_fill_and_a_script_that_replaces_the_array_are_adopted(desk):
    desk.go_to(BRUSHED)
    desk.labels.selected_label = 1
    desk.labels.fill(BRUSHED, 1)
    np.testing.assert_array_equal(replayed(desk), desk.session.labelmap)
    desk.labels.data = ball(SHAPE, SPOT).astype(np.uint16)
    assert desk.session.labelmap is desk.labels.data
    np.testing.assert_array_equal(replayed(desk), desk.labels.data)


def test_an_edit_that_undoes_the_one_before_keeps_the_histories_together(desk):
    states = [desk.session.labelmap.copy()]
    desk.go_to(SPOT)
    for mode in ("paint", "erase", "paint"):
        brush(desk, SPOT, (12, 30, 37), mode=mode)
        states.append(desk.session.labelmap.copy())
    for state in states[-2::-1]:
        desk.labels.undo()
        np.testing.assert_array_equal(desk.session.labelmap, state)
        np.testing.assert_array_equal(replayed(desk), state)
    for state in states[1:]:
        desk.labels.redo()
        np.testing.assert_array_equal(replayed(desk), state)


def test_a_polygon_fill_is_adopted(desk):
    desk.go_to(BRUSHED)
    corners = np.array([(12, 14, 36), (12, 14, 50), (12, 30, 50)])
    desk.labels.paint_polygon(corners, 1)
    assert desk.mask().any()
    np.testing.assert_array_equal(replayed(desk), desk.session.labelmap)


def test_history_from_before_the_widget_can_be_undone_too(desk):
    labels = desk.viewer.add_labels(np.zeros(SHAPE, np.uint8), name="mine", scale=(2, 1, 1))
    labels.units = desk.image.units
    desk.go_to(BRUSHED)
    labels.paint(BRUSHED, 3)
    desk.widget.labels_combo.chosen.emit(labels)
    desk.qtbot.waitUntil(lambda: desk.labels is labels)
    assert [o.number for o in desk.session.objects] == [3]
    labels.undo()
    assert not replayed(desk).any()
    labels.redo()
    np.testing.assert_array_equal(replayed(desk), labels.data)
