"""The Whole body widget: runs, previews, cancels, measures, refines, saves."""

from __future__ import annotations

import csv
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Layer
from napari_desk import LEFT, Desk
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from whole_body_desk import (
    BOXES,
    GRIDS,
    LABELS,
    LEFT_KIDNEY,
    RIGHT_KIDNEY,
    SPLEEN,
    Body,
    Slabs,
    save_as,
    scan,
)

from napari_openmedlab.readers import image_layer
from napari_openmedlab.whole_body import controller as controller_module
from napari_openmedlab.widgets.whole_body_table import ML as TABLE_ML
from napari_openmedlab.widgets.whole_body_table import NO_WARNINGS
from napari_openmedlab.widgets.whole_body_tree import ML, NAME, OFF, ON, PART, SHOWN
from openmedlab.io import phantom, read_labels
from openmedlab.labeling.methods import LABELERS, OfferedLabeler, offered_labelers


@pytest.fixture
def slabs(monkeypatch):
    made = Slabs()
    monkeypatch.setitem(LABELERS, "slabs", lambda choice: made)
    offered = {"slabs": OfferedLabeler("slabs", "Slabs", "ready", "", LABELS)}
    monkeypatch.setattr(
        controller_module, "offered_labelers", lambda: {**offered, **offered_labelers()}
    )
    return made


@pytest.fixture
def viewer(models, make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def body(viewer, qtbot, slabs):
    viewer.add_layer(Layer.create(*image_layer(scan())))
    return Body(viewer, qtbot)


# -------------------------------------------------------------------------- runs
def test_the_builtin_tissues_of_the_phantom(viewer, qtbot, tmp_path, monkeypatch):
    volume = phantom((24, 60, 80))[0]
    viewer.add_layer(Layer.create(*image_layer(volume)))
    body = Body(viewer, qtbot)
    widget = body.widget
    assert widget.run_button.text() == "Run: label all 7 structures"
    body.run()
    assert "builtin-tissues" in widget.made_label.text()
    assert body.labels.metadata["openmedlab"]["method"] == "builtin-tissues"
    names = {label.name: n for n, label in body.result.labels.items()}
    bone = body.result.row(names["bone"])
    assert body.item("bone").text(ML) == f"{bone.ml:,.1f}"
    assert bone.ml > 100
    np.testing.assert_allclose(body.labels.get_color(names["bone"])[:3], (0.95, 0.90, 0.75), 1e-5)
    save_as(monkeypatch, tmp_path / "table.csv")
    body.press(widget.export_button)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(rows) == {r.name for r in body.result.measures.statistics}
    assert float(rows["bone"]["ml"]) == pytest.approx(bone.ml, abs=1e-3)
    assert float(rows["lung_left"]["mean_hu"]) < -500
    assert float(rows["lung_left"]["centroid_l_mm"]) > float(rows["lung_right"]["centroid_l_mm"])
    assert rows["body"]["image"] == "phantom"


def test_the_preview_grows_and_cancel_keeps_what_is_finished(body, slabs):
    slabs.gate = threading.Semaphore(1)
    body.press(body.widget.run_button)
    body.wait(lambda: len(body.viewer.layers) == 2)
    preview = body.viewer.layers[-1]
    truth = slabs.truth()
    assert preview.data[:6].any()
    assert not preview.data[6:].any()
    assert not preview.editable
    assert not body.widget.run_button.isEnabled()
    slabs.gate.release()
    body.wait(lambda: preview.data[6:12].any() and "slab 3" in body.widget.progress_bar.format())
    body.press(body.widget.cancel_button)
    body.settle()
    assert body.status == "Cancelled; 50% of the volume, after 2 of 4 steps is finished and kept."
    assert body.labels is preview
    np.testing.assert_array_equal(preview.data[:12], truth[:12])
    assert not preview.data[12:].any()
    assert preview.editable
    assert "cancelled" in body.widget.made_label.text()
    assert body.result.row(SPLEEN).voxels == (truth[:12] == SPLEEN).sum()
    slabs.gate = threading.Semaphore(100)
    body.run()
    np.testing.assert_array_equal(body.labels.data, truth)
    assert not preview.visible


def test_a_run_cancelled_before_anything_was_finished_leaves_nothing(body, slabs):
    slabs.gate = threading.Semaphore(0)
    body.press(body.widget.run_button)
    body.wait(lambda: "slab 1" in body.widget.progress_bar.format())
    body.press(body.widget.cancel_button)
    body.settle()
    assert "nothing was kept" in body.status
    assert len(body.viewer.layers) == 1


def test_search_filters_the_tree_and_ticks_choose_the_subset(body, slabs):
    tree = body.widget.structures
    body.widget.search_edit.setText("kidney left")
    hidden = {name: item.isHidden() for name, item in tree.leaves.items()}
    assert hidden == {"spleen": True, "kidney_left": False, "kidney_right": True}
    body.widget.search_edit.setText("kidney")
    tree.whole.setCheckState(NAME, OFF)
    assert tree.wanted == {"spleen"}
    assert body.item("kidney_left").checkState(NAME) == OFF
    body.widget.search_edit.clear()
    assert tree.whole.checkState(NAME) == PART
    assert body.widget.run_button.text() == "Run: label 1 of 3 structures"
    body.run()
    assert slabs.asked == [frozenset({"spleen"})]
    assert set(np.unique(body.labels.data)) == {0, SPLEEN}
    tree.whole.setCheckState(NAME, ON)
    body.run()
    assert slabs.asked[-1] is None
    tree.whole.setCheckState(NAME, OFF)
    body.press(body.widget.run_button)
    assert "Tick at least one" in body.status


def test_numbers_are_the_models_own_and_meaning_comes_by_name(body):
    body.run()
    assert {n: v.name for n, v in body.result.labels.items()} == Slabs.classes
    assert body.result.labels[SPLEEN].code == "78961009"
    np.testing.assert_allclose(body.labels.get_color(RIGHT_KIDNEY)[:3], (0.7, 0.7, 0.3), 1e-5)


@pytest.mark.slow
def test_a_stu_net_runs_tile_by_tile(body, monkeypatch):
    torch = pytest.importorskip("torch")
    from openmedlab.nn.fill import fill_by_name
    from openmedlab.stunet.labeler import StuNet
    from openmedlab.stunet.network import Size, StuNetwork
    from openmedlab.stunet.plan import released_plan

    torch.set_num_threads(1)
    network = StuNetwork(Size(1, (4, 4, 4, 4, 4, 4)))
    fill_by_name(network)
    plan = replace(released_plan(), patch=(32, 32, 32))
    asked = []

    def make(choice):
        asked.append(choice.fast)
        return StuNet(network, version="tiny", plan=plan, fast=choice.fast, openvino=False)

    monkeypatch.setitem(LABELERS, "slabs", make)
    body.widget.fast_check.click()
    body.run()
    assert asked == [True]
    assert "stu-net" in body.widget.made_label.text()
    assert body.result.labels[40].name == "liver"
    assert len(body.result.measures.statistics) > 1


# ---------------------------------------------------------------- looking at it
def test_structures_are_hidden_shown_sorted_and_gone_to(body):
    body.run()
    widget, tree = body.widget, body.widget.structures
    body.item("spleen").setCheckState(SHOWN, OFF)
    assert body.labels.get_color(SPLEEN)[3] == 0
    assert tree.whole.checkState(SHOWN) == PART
    tree.whole.setCheckState(SHOWN, OFF)
    assert not any(body.labels.get_color(n)[3] for n in BOXES)
    tree.whole.setCheckState(SHOWN, ON)
    assert all(body.labels.get_color(n)[3] for n in BOXES)
    widget.tabs.setCurrentWidget(widget.measures_table)
    table = widget.measures_table
    header = table.horizontalHeader()
    at = header.sectionViewportPosition(TABLE_ML) + 10
    for order in (np.sort, lambda v: np.sort(v)[::-1]):
        QTest.mouseClick(header.viewport(), LEFT, pos=QPoint(at, 5))
        shown = [float(table.item(row, TABLE_ML).text().replace(",", "")) for row in range(3)]
        np.testing.assert_array_equal(shown, order(np.array(shown)))
    rows = {table.number(row): row for row in range(3)}
    place = table.visualItemRect(table.item(rows[LEFT_KIDNEY], 0)).center()
    QTest.mouseClick(table.viewport(), LEFT, pos=place)
    QTest.mouseDClick(table.viewport(), LEFT, pos=place)
    expected = body.labels.data_to_world((11.5, 39.5, 51.5))
    assert body.viewer.dims.point[0] == pytest.approx(expected[0], abs=2.5)
    np.testing.assert_allclose(body.viewer.scene.camera.center[1:], expected[1:], atol=1e-6)
    assert body.labels.selected_label == LEFT_KIDNEY
    assert widget.refine_button.isEnabled()


def test_doubts_come_and_go_with_edits(body):
    body.run()
    layer, widget = body.labels, body.widget

    def doubts():
        items = (widget.warning_list.item(k) for k in range(widget.warning_list.count()))
        return [item.text() for item in items]

    assert doubts() == [NO_WARNINGS]
    left, right = (np.nonzero(layer.data == n) for n in (LEFT_KIDNEY, RIGHT_KIDNEY))
    layer.data_setitem(left, RIGHT_KIDNEY)
    layer.data_setitem(right, LEFT_KIDNEY)
    swapped = "kidney left lies to the right of kidney right"
    body.wait(lambda: len(doubts()) == 1 and swapped in doubts()[0])
    assert widget.tabs.tabText(2) == "Warnings (1)"
    assert swapped in body.item("kidney_left").toolTip(ML).replace("_", " ")
    layer.undo()
    layer.undo()
    body.wait(lambda: doubts() == [NO_WARNINGS])
    layer.data_setitem(tuple(axis[: len(axis) * 3 // 4] for axis in left), 0)
    body.wait(lambda: len(doubts()) == 1 and "less than the 50 ml plausible" in doubts()[0])
    assert widget.changes_label.text() == "4,800 voxels changed: kidney_left +0 −4,800."


# ---------------------------------------------------------------- living seeds
def open_in_segment(body, name):
    body.pick(name)
    body.press(body.widget.refine_button)
    desk = Desk(body.viewer, body.qtbot)
    body.wait(lambda: desk.controller.workspace is not None and desk.labels is body.labels)
    body.wait(lambda: desk.controller.tool == "point+")
    return desk


def test_a_click_refines_one_organ_and_leaves_its_neighbours(body):
    body.run()
    before = body.labels.data.copy()
    body.item("kidney_right").setCheckState(SHOWN, OFF)
    desk = open_in_segment(body, "spleen")
    assert desk.controller.workspace.current == SPLEEN
    assert [layer.name for layer in body.viewer.layers] == ["ct", "ct structures", "ct points"]
    assert not desk.session.object(RIGHT_KIDNEY).visible
    assert "Refining spleen" in desk.status
    spot = (12, 24, 50)
    desk.go_to(spot)
    desk.click(spot)
    desk.wait_mask(lambda m: m[spot], SPLEEN)
    desk.settle()
    body.settle()
    after = body.labels.data
    assert (after == SPLEEN)[before == SPLEEN].all()
    for number in (LEFT_KIDNEY, RIGHT_KIDNEY):
        np.testing.assert_array_equal(after == number, before == number)
    changed = int((after != before).sum())
    assert changed > 100
    assert (
        f"{changed:,} voxels changed: spleen +{changed:,} −0." == body.widget.changes_label.text()
    )
    assert f"spleen +{changed:,}" in desk.status
    assert body.result.row(SPLEEN).voxels == (after == SPLEEN).sum()
    assert "refined by fast" in body.widget.made_label.text()
    desk.take("move")
    points = desk.controller.workspace.prompts.points
    points.selected_data = {0}
    desk.press(Qt.Key.Key_Delete)
    body.wait(lambda: not body.widget.changes_label.text())
    np.testing.assert_array_equal(body.labels.data, before)
    inside = (12, 40, 52)
    desk.take("point+")
    desk.click(inside)
    body.wait(lambda: "lies in kidney_left, which is protected" in desk.status)
    assert body.labels.data[inside] == LEFT_KIDNEY


def test_eyes_of_the_tree_and_of_segment_are_the_same(body):
    body.run()
    desk = open_in_segment(body, "spleen")
    body.widget.structures.whole.setCheckState(SHOWN, OFF)
    assert not any(o.visible for o in desk.session.objects)
    desk.session.update_object(LEFT_KIDNEY, visible=True)
    assert body.item("kidney_left").checkState(SHOWN) == ON
    assert body.item("spleen").checkState(SHOWN) == OFF


# ------------------------------------------------------------------ files
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd"])
def test_saved_and_opened_again_it_is_the_same(
    viewer, qtbot, slabs, tmp_path, monkeypatch, grid, ending
):
    viewer.add_layer(Layer.create(*image_layer(scan(GRIDS[grid]))))
    body = Body(viewer, qtbot)
    body.run()
    body.labels.data_setitem((np.array([0]), np.array([1]), np.array([2])), SPLEEN)
    body.settle()
    path = tmp_path / f"out_labels{ending}"
    save_as(monkeypatch, path)
    body.press(body.widget.save_button)
    body.wait(lambda: body.status.startswith("Saved "))
    expected, rows = body.labels.data.copy(), body.result.measures.statistics
    assert read_labels(path).geometry.almost_equal(GRIDS[grid], 1e-3)
    record = json.loads(path.with_name(path.name + ".manifest.json").read_text())
    assert record["method"] == {"name": "slabs", "version": "7"}
    assert record["parameters"]["voxels_changed_by_hand"] == {"spleen": {"gained": 1, "lost": 0}}
    (back,) = viewer.open(str(path), plugin="napari-openmedlab")
    np.testing.assert_array_equal(back.data, expected)
    combo = body.widget.labels_combo
    combo.setCurrentIndex(combo.layers.index(back))
    combo.activated.emit(combo.currentIndex())
    body.wait(lambda: body.labels is back)
    body.settle()
    assert {n: v.name for n, v in body.result.labels.items()} == Slabs.classes
    for number in BOXES:
        label = next(v for v in LABELS if v.name == Slabs.classes[number])
        np.testing.assert_allclose(back.get_color(number)[:3], label.color, atol=0.01)
    for own, theirs in zip(rows, body.result.measures.statistics, strict=True):
        assert (own.name, own.voxels) == (theirs.name, theirs.voxels)
        np.testing.assert_allclose(own.centroid, theirs.centroid, atol=1e-3)


# ---------------------------------------------------------------- bad input
RGB = {"data": np.zeros((8, 8, 8, 3), np.uint8), "rgb": True, "scale": (2, 1, 1)}
BAD = {
    "one slice": ({"data": np.zeros((8, 8)), "units": "mm"}, "needs a CT volume"),
    "colour": (RGB, "colour image"),
    "four axes": ({"data": np.zeros((2, 8, 8, 8)), "scale": (1, 2, 1, 1)}, "has 4 axes"),
    "no spacing": ({"data": np.zeros((8, 8, 8))}, "has no spacing"),
    "micrometres": ({"data": np.zeros((8, 8, 8)), "units": "um"}, "micrometres"),
    "not Hounsfield": ({"data": np.ones((8, 8, 8)), "scale": (2, 1, 1)}, "Hounsfield units"),
}


@pytest.mark.parametrize(("layer", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_labelled_is_one_sentence(viewer, qtbot, layer, words):
    body = Body(viewer, qtbot)
    added = viewer.add_image(name="odd", **layer)
    body.widget.image_combo.chosen.emit(added)
    body.run()
    assert words in body.status
    assert "'odd'" in body.status
    assert body.status.count(".") <= 2
    assert len(viewer.layers) == 1


def test_no_image_mr_and_missing_weights_are_one_sentence(viewer, qtbot):
    body = Body(viewer, qtbot)
    body.run()
    assert body.status == "There is no image to label; open a CT first."
    viewer.add_layer(Layer.create(*image_layer(scan(modality="MR"))))
    body.wait(lambda: "'ct' is MR, and Built-in tissues needs a CT" in body.status)
    body.run()
    assert "'ct' is MR" in body.status
    body.choose("stu-net-b")
    assert body.widget.weights_button.isVisible()
    assert body.widget.run_button.text() == "Run: label all 104 structures"
    body.run()
    assert "STU-Net base is not ready: needs weights" in body.status
    assert len(viewer.layers) == 1


def test_labels_of_another_grid_are_refused(body):
    other = body.viewer.add_labels(np.zeros((3, 4, 5), np.uint8), name="other")
    body.widget.labels_combo.chosen.emit(other)
    assert "'other' have (3, 4, 5) voxels" in body.status
    assert body.result is None


# ---------------------------------------------------------------- comings and goings
def test_a_failing_model_is_one_sentence_and_keeps_what_is_finished(body, slabs):
    whole = slabs.label_into

    def fail(labels, volume, classes, progress, cancel, finished):
        whole(labels, volume, classes, progress, cancel, finished)
        raise ZeroDivisionError("no")

    slabs.label_into = fail
    body.run()
    assert body.status == "That failed (ZeroDivisionError: no)."
    np.testing.assert_array_equal(body.labels.data, slabs.truth())


def test_a_layer_deleted_while_it_is_filled_ends_the_run(body, slabs):
    slabs.gate = threading.Semaphore(1)
    body.press(body.widget.run_button)
    body.wait(lambda: len(body.viewer.layers) == 2)
    del body.viewer.layers[-1]
    body.settle()
    assert "nothing was kept" in body.status
    assert body.result is None


def test_the_widget_closed_while_it_runs_leaves_the_layer(body, slabs):
    slabs.gate = threading.Semaphore(1)
    body.press(body.widget.run_button)
    body.wait(lambda: len(body.viewer.layers) == 2)
    run = body.controller.run
    body.viewer.window.remove_dock_widget(body.dock)
    body.wait(lambda: run.seconds > 0)
    assert body.viewer.layers[-1].editable
    QTest.qWait(50)
