"""The Localize widget by its buttons and keys: boxes, decisions, masks, a folder of scans."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari_desk import LEFT, Desk, FakeBalls, offered
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_openmedlab.widgets.localize import LocalizeWidget
from openmedlab import zoo
from openmedlab.core import Geometry, Localization, Volume
from openmedlab.io import read_labels, write_volume
from openmedlab.localization.methods import LOCALIZERS
from openmedlab.localization.points import to_grid
from openmedlab.localization.templates import TemplateLibrary

SHAPE = (20, 50, 60)
BOXES = {"liver": ((4, 10, 12), (12, 30, 30)), "spleen": ((6, 20, 36), (11, 34, 50))}
SHIFT = Qt.KeyboardModifier.ShiftModifier


class Same:
    """Finds every template where it was marked; spleens with a low confidence."""

    name, version = "same", "1"
    gate = threading.Event()

    def localize(self, templates, volume, progress, cancel):
        while not self.gate.wait(0.01):
            cancel.check()
        sure = {"spleen": 0.2}
        return {
            t.organ: Localization(to_grid(t.points, volume.geometry), sure.get(t.organ, 0.8))
            for t in templates.templates
            if t.organ != "heart"
        }


def scan(seed: int, name: str = "ct") -> Volume:
    geometry = Geometry.from_spacing(SHAPE, (2, 1, 1))
    array = np.random.default_rng(seed).integers(-1000, 400, SHAPE).astype(np.int16)
    return Volume(array, geometry, "CT", name)


def corners_to_points(box):
    (z0, y0, x0), (z1, y1, x1) = box
    z, y, x = (z0 + z1) / 2, (y0 + y1) / 2, (x0 + x1) / 2
    return [(z0, y, x), (z1, y, x), (z, y0, x), (z, y1, x), (z, y, x0), (z, y, x1)]


@pytest.fixture
def library(tmp_path) -> TemplateLibrary:
    made = TemplateLibrary(tmp_path / "library")
    volume = scan(0)
    for organ, box in {**BOXES, "heart": BOXES["liver"]}.items():
        made.add(organ, volume.geometry.index_to_world(corners_to_points(box)), volume)
    return made


@pytest.fixture
def models(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(zoo, "methods", lambda: {"builtin": offered(FakeBalls("builtin"))})
    for name in list(LOCALIZERS):
        monkeypatch.delitem(LOCALIZERS, name)
    monkeypatch.setitem(LOCALIZERS, "builtin", lambda choice: Same())
    Same.gate.set()
    yield
    Same.gate.set()


class Hands:
    def __init__(self, viewer, widget: LocalizeWidget, qtbot):
        self.viewer, self.widget, self.qtbot = viewer, widget, qtbot
        self.controller = widget.controller

    def press(self, button):
        assert button.isEnabled()
        QTest.mouseClick(button, LEFT)

    def key(self, key):
        canvas = self.viewer.window._qt_viewer.canvas.native
        QTest.keyClick(canvas, key, SHIFT)

    def settle(self):
        self.qtbot.waitUntil(lambda: not self.controller.busy, timeout=30_000)

    def find(self):
        self.press(self.widget.run_button)
        self.settle()

    def choose(self, organ):
        self.widget.organ_table.choose(organ)
        self.controller.go_to(organ)

    def desk(self):
        """Return hands that drag on the canvas."""
        desk = Desk.__new__(Desk)
        desk.viewer, desk.canvas = self.viewer, self.viewer.window._qt_viewer.canvas
        desk.controller = SimpleNamespace(workspace=SimpleNamespace(image=self.controller.image))
        return desk

    def wait_mask(self, organ):
        self.qtbot.waitUntil(lambda: self.controller.organs[organ].masked, timeout=30_000)

    def state(self, organ):
        row = list(self.controller.organs).index(organ)
        return self.widget.organ_table.item(row, 2).text()

    @property
    def labels(self):
        return self.controller.masks.layer.data


@pytest.fixture
def bare(models, make_napari_viewer, qtbot):
    """The widget in an empty viewer."""
    viewer = make_napari_viewer(show=True)
    _, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Localize")
    hands = Hands(viewer, widget, qtbot)
    yield hands
    hands.controller.cancel()
    hands.settle()


@pytest.fixture
def hands(bare, library):
    volume = scan(1)
    bare.viewer.add_image(volume.array, name="ct", scale=(2, 1, 1), units="mm")
    bare.qtbot.waitUntil(lambda: bare.controller.image is not None, timeout=10_000)
    bare.controller.open_library(library.folder)
    return bare


def test_boxes_appear_with_their_confidence(hands):
    hands.find()
    assert hands.state("liver") == "open"
    assert hands.state("spleen") == "open, low"
    assert hands.state("heart") == "not found"
    layer = hands.controller.boxes.layer
    assert sorted(layer.features["organ"]) == ["liver", "spleen"]
    row = list(layer.features["organ"]).index("liver")
    corners = np.asarray(layer.data[row])
    assert corners[:, 1:].min(0).tolist() == [10, 12]
    assert corners[:, 1:].max(0).tolist() == [30, 30]
    assert hands.viewer.layers.selection.active is layer
    assert str(layer.mode) == "select"
    assert "1 to look at" in hands.widget.status_label.text()


def test_boxes_follow_the_slice_and_the_orientation(hands):
    hands.find()
    hands.viewer.dims.set_point(0, 2 * 5)
    assert list(hands.controller.boxes.layer.features["organ"]) == ["liver"]
    hands.viewer.dims.set_point(0, 2 * 15)
    assert len(hands.controller.boxes.layer.data) == 0
    hands.viewer.dims.order = (1, 0, 2)
    hands.viewer.dims.set_point(1, 32)
    layer = hands.controller.boxes.layer
    assert list(layer.features["organ"]) == ["spleen"]
    corners = np.asarray(layer.data[0])
    assert corners.min(0).tolist() == [6, 32, 36]
    assert corners.max(0).tolist() == [11, 32, 50]


def test_a_dragged_box_is_a_correction(hands):
    hands.find()
    hands.choose("liver")
    slice_in_view = round(hands.controller.image.world_to_data(hands.viewer.dims.point)[0])
    desk = hands.desk()
    desk.drag((slice_in_view, 10, 20), (slice_in_view, 13, 22))
    hands.qtbot.waitUntil(lambda: hands.state("liver") == "moved", timeout=10_000)
    found = hands.controller.organs["liver"]
    assert found.lower[1:] == pytest.approx([13, 14], abs=0.7)
    assert found.upper[1:] == pytest.approx([33, 32], abs=0.7)
    assert (found.lower[0], found.upper[0]) == (4, 12)


def test_a_corrected_box_is_what_is_segmented(hands):
    hands.find()
    hands.choose("liver")
    layer = hands.controller.boxes.layer
    row = list(layer.features["organ"]).index("liver")
    data = [np.array(d) for d in layer.data]
    data[row][:, 1:] += (3, 2)
    layer.data = data
    layer.events.data(value=layer.data, action="changed", data_indices=(row,), vertex_indices=())
    assert hands.state("liver") == "moved"
    hands.press(hands.widget.last_button)
    found = hands.controller.organs["liver"]
    assert found.lower.tolist() == [4, 13, 14]
    assert found.upper.tolist() == [8, 33, 32]
    hands.press(hands.widget.accept_button)
    hands.wait_mask("liver")
    assert hands.state("liver") == "corrected ✓"
    number = hands.controller.masks.session.objects[0].number
    inside = np.argwhere(hands.labels == number)
    assert inside.min(0).tolist() == [4, 13, 14]
    assert inside.max(0).tolist() == [8, 33, 32]


def test_accept_and_reject_by_key_are_counted_and_remembered(hands, library):
    hands.find()
    hands.choose("liver")
    hands.key(Qt.Key.Key_Y)
    hands.wait_mask("liver")
    hands.choose("spleen")
    hands.key(Qt.Key.Key_X)
    assert hands.widget.counts_label.text() == "1 accepted   0 corrected   1 rejected"
    assert "spleen" not in hands.controller.boxes.boxes
    hands.settle()
    hands.find()
    assert hands.state("spleen") == "rejected"
    hands.wait_mask("liver")
    assert hands.state("liver") == "accepted ✓"


def test_rejecting_takes_the_mask_away_again(hands):
    hands.find()
    hands.press(hands.widget.accept_sure_button)
    hands.wait_mask("liver")
    assert hands.labels.any()
    assert hands.state("spleen") == "open, low"
    hands.choose("liver")
    hands.press(hands.widget.reject_button)
    assert not hands.labels.any()


def test_a_box_deleted_in_the_layer_is_rejected(hands):
    hands.find()
    hands.choose("spleen")
    hands.controller.boxes.layer.remove_selected()
    assert hands.state("spleen") == "rejected"


def test_a_corrected_organ_becomes_a_template(hands, library):
    hands.find()
    hands.choose("liver")
    before = len(library.of("liver"))
    hands.press(hands.widget.template_button)
    library.reload()
    assert len(library.of("liver")) == before + 1
    item = hands.widget.template_list.item(1)
    assert item.text() == f"liver  ({before + 1})"


def test_only_ticked_organs_are_looked_for(hands):
    for row in range(hands.widget.template_list.count()):
        item = hands.widget.template_list.item(row)
        if item.text().startswith(("heart", "spleen")):
            item.setCheckState(Qt.CheckState.Unchecked)
    hands.find()
    assert list(hands.controller.organs) == ["liver"]


def test_cancel_stops_the_search(hands):
    Same.gate.clear()
    hands.press(hands.widget.run_button)
    hands.qtbot.waitUntil(lambda: hands.widget.cancel_button.isEnabled(), timeout=10_000)
    hands.press(hands.widget.cancel_button)
    hands.settle()
    assert hands.controller.organs == {}
    assert hands.widget.status_label.text() == "Cancelled."


def test_what_cannot_be_done_is_said(bare, library, tmp_path):
    bare.press(bare.widget.run_button)
    assert "template library" in bare.widget.status_label.text()
    bare.controller.open_library(library.folder)
    bare.press(bare.widget.run_button)
    assert "Open a scan" in bare.widget.status_label.text()
    bare.controller.open_library(tmp_path / "nothing")
    assert "no templates" in bare.widget.status_label.text()
    odd = np.abs(scan(3).read())
    bare.viewer.add_image(odd, name="mr", metadata={"openmedlab": {"modality": "MR"}})
    bare.controller.choose(bare.viewer.layers["mr"])
    bare.controller.open_library(library.folder)
    bare.find()
    assert "is MR" in bare.widget.status_label.text()


def test_a_folder_of_scans_is_gone_through_and_resumed(bare, library, tmp_path: Path):
    folder = tmp_path / "scans"
    for seed, name in enumerate("ac"):
        write_volume(scan(seed + 5), folder / f"{name}.nii.gz")
    (folder / "b.nii.gz").write_bytes(b"\x1f\x8b broken")
    bare.controller.open_library(library.folder)
    bare.controller.open_cohort(folder)
    bare.settle()
    bare.qtbot.waitUntil(lambda: "liver" in bare.controller.organs, timeout=30_000)
    assert bare.controller.scan_name == "a"
    bare.press(bare.widget.accept_sure_button)
    bare.wait_mask("liver")
    bare.key(Qt.Key.Key_F)
    bare.qtbot.waitUntil(lambda: bare.controller.scan_name == "c", timeout=30_000)
    bare.qtbot.waitUntil(lambda: "liver" in bare.controller.organs, timeout=30_000)
    written = tmp_path / "scans_organs" / "a_labels.nii.gz"
    assert {label.name for label in read_labels(written).labels.values()} == {"liver"}
    assert "1 of 3 scans done" in bare.widget.cohort_label.text()
    assert [layer.name for layer in bare.viewer.layers] == ["c", "c boxes"]
    bare.settle()
    bare.press(bare.widget.accept_sure_button)
    bare.wait_mask("liver")
    bare.settle()
    bare.controller.open_cohort(folder)
    bare.qtbot.waitUntil(lambda: "liver" in bare.controller.organs, timeout=30_000)
    assert bare.controller.scan_name == "c"
    bare.wait_mask("liver")
    bare.settle()
    bare.press(bare.widget.next_button)
    bare.qtbot.waitUntil(lambda: "no scan left" in bare.widget.status_label.text(), timeout=30_000)
    assert bare.widget.counts_label.text().startswith("2 accepted")
    assert (tmp_path / "scans_organs" / "c_labels.nii.gz").is_file()


def test_another_image_is_not_taken_for_a_scan_of_the_folder(bare, library, tmp_path: Path):
    folder = tmp_path / "scans"
    write_volume(scan(5), folder / "a.nii.gz")
    bare.controller.open_library(library.folder)
    bare.controller.open_cohort(folder)
    bare.qtbot.waitUntil(lambda: "liver" in bare.controller.organs, timeout=30_000)
    bare.settle()
    other = bare.viewer.add_image(scan(6).array, name="other", scale=(2, 1, 1), units="mm")
    bare.controller.choose(other)
    bare.find()
    bare.press(bare.widget.accept_sure_button)
    bare.wait_mask("liver")
    bare.settle()
    assert bare.controller.cohort.review.counts["accepted"] == 0
    bare.press(bare.widget.next_button)
    bare.qtbot.waitUntil(lambda: bare.controller.scan_name == "a", timeout=30_000)
    bare.qtbot.waitUntil(lambda: "liver" in bare.controller.organs, timeout=30_000)
    assert "other" in bare.viewer.layers
    assert bare.controller.organs["liver"].decision is None
