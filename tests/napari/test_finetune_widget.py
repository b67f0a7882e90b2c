"""The *Fine-tune* widget driven as a user does: plan, train, cancel, go on, use the result."""

import importlib
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_openmedlab.finetune.training import duration
from napari_openmedlab.widgets.finetune import TRAINING, FinetuneWidget
from napari_openmedlab.widgets.finetune_setup import FILE
from openmedlab.core import Geometry, Label, LabelVolume, Volume
from openmedlab.io import read_labels, write_labels, write_volume
from openmedlab.tuning.segmenters import StuNetFamily
from openmedlab.zoo import WeightsStore

LEFT = Qt.MouseButton.LeftButton
WAIT = 120_000
SHAPE = (20, 24, 28)


def scan(seed):
    """Tissue with a bright ball (organ) and a brighter rod (vessel)."""
    random = np.random.default_rng(seed)
    image = random.normal(40, 15, SHAPE)
    grid = np.indices(SHAPE)
    middle = random.uniform(0.4, 0.6, 3) * SHAPE
    ball = sum((g - m) ** 2 for g, m in zip(grid, middle, strict=True)) < 30
    rod = (grid[1] - 4) ** 2 + (grid[2] - 5) ** 2 < 6
    image[ball], image[rod] = image[ball] + 150, image[rod] + 300
    geometry = Geometry.from_spacing(SHAPE, (2.0, 2.0, 2.0))
    labels = np.where(ball, 1, np.where(rod, 3, 0)).astype(np.uint8)
    names = {1: Label("organ"), 3: Label("vessel")}
    volume = Volume(image.astype(np.int16), geometry, "CT", f"scan{seed}")
    return volume, LabelVolume(labels, geometry, names)


def write_scan(folder, seed):
    folder.mkdir(exist_ok=True)
    volume, labels = scan(seed)
    write_volume(volume, folder / f"scan{seed}_image.nii.gz")
    write_labels(labels, folder / f"scan{seed}_label.nii.gz")


@pytest.fixture
def folder(tmp_path):
    for seed in range(3):
        write_scan(tmp_path / "scans", seed)
    return tmp_path / "scans"


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A tiny STU-Net that can be fine-tuned, in a home of its own; returns its weights."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "tuning"))
    tiny = importlib.import_module("tiny_tuning")
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "cards").mkdir(parents=True)
    (tmp_path / "home" / "models").mkdir()
    (tmp_path / "home" / "cards" / "tiny.toml").write_text(tiny.CARD)
    tiny.install(monkeypatch.setitem)
    torch.set_num_threads(1)
    return tiny.write_base(tmp_path)


@pytest.fixture
def stored(base, tmp_path):
    return shutil.copy(base, tmp_path / "home" / "models" / "tiny.safetensors")


class Desk:
    """A viewer with the widget, and hands on its buttons."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        viewer.window.resize(1200, 900)
        self.dock, self.widget = viewer.window.add_plugin_dock_widget(
            "napari-openmedlab", "Fine-tune"
        )
        self.controller = self.widget.controller
        self.setup, self.panel = self.widget.setup, self.widget.training
        self.wait(lambda: self.setup.model_combo.count())
        self.choose(self.setup.model_combo, self.setup.model_combo.findData("tiny"))

    def wait(self, condition):
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=WAIT)

    def choose(self, combo, row):
        combo.setCurrentIndex(row)
        combo.activated.emit(row)

    def press(self, button):
        self.wait(lambda: button.isVisible() and button.isEnabled())
        QTest.mouseClick(button, LEFT)

    def type(self, edit, text):
        edit.clear()
        QTest.keyClicks(edit, text)
        QTest.keyClick(edit, Qt.Key.Key_Return)

    def open(self, folder, updates=3):
        """Choose a folder and a length; wait for the plan."""
        self.choose(self.setup.unit_combo, 1)
        self.setup.length_spin.setValue(updates)
        self.type(self.setup.volumes.folder_edit, str(folder))
        self.wait(lambda: self.controller.ready is not None)

    def settle(self):
        self.wait(lambda: not self.controller.busy)

    @property
    def plan(self):
        return self.setup.plan_label.text()

    @property
    def lacking(self):
        return self.setup.lacking_label.text()

    @property
    def found(self):
        return self.setup.volumes.found_label.text()

    @property
    def status(self):
        return self.widget.status_label.text()


@pytest.fixture
def desk(base, make_napari_viewer, qtbot):
    return Desk(make_napari_viewer(show=True), qtbot)


@pytest.fixture
def gate(monkeypatch):
    """Stops the training at its third sample, in update 2, until it is opened."""
    made, count, sample = threading.Event(), [], StuNetFamily.sample

    def waiting(*given):
        count.append(1)
        if len(count) == 3:
            made.wait(60)
        return sample(*given)

    monkeypatch.setattr(StuNetFamily, "sample", waiting)
    yield made
    made.set()


def test_the_plan_is_told_before_anything_starts(stored, desk, folder):
    assert isinstance(desk.widget, FinetuneWidget)
    assert not desk.widget.start_button.isEnabled()
    desk.open(folder)
    assert desk.found == "3 volumes, voxels of 2 x 2 x 2, 2 labels"
    tree, labels = desk.setup.volumes.volume_tree, desk.setup.volumes.label_list
    rows = [tree.topLevelItem(k) for k in range(3)]
    assert [row.text(0) for row in rows] == ["scan0", "scan1", "scan2"]
    judging = next(row.text(0) for row in rows if row.text(3) == "judges")
    assert f"judged by {judging}" in desk.plan
    assert "3 updates at most" in desk.plan
    assert "M parameters learn" in desk.plan
    assert "GB on cpu" in desk.plan
    assert desk.plan.endswith("that fits")
    assert desk.widget.start_button.isEnabled()
    learned = desk.controller.ready.plan.learned
    labels.item(1).setCheckState(Qt.CheckState.Unchecked)
    rows[0].setCheckState(0, Qt.CheckState.Checked)
    QTest.mouseClick(desk.setup.few_shot_check, LEFT)
    assert not desk.widget.start_button.isEnabled()
    desk.wait(lambda: desk.controller.ready is not None)
    made = desk.controller.ready.plan
    assert made.labels == {1: "organ"}
    assert made.split.validation == ("scan0",)
    assert made.learned < learned
    assert rows[0].text(3) == "judges"


def test_what_is_wrong_is_said_in_one_sentence(stored, desk, tmp_path):
    volumes = desk.setup.volumes
    desk.type(volumes.folder_edit, str(tmp_path / "home"))
    desk.wait(lambda: "holds no labelled volumes" in desk.found)
    write_scan(tmp_path / "one", 1)
    desk.type(volumes.folder_edit, str(tmp_path / "one"))
    desk.wait(lambda: "too little to fine-tune on" in desk.found)
    (tmp_path / "one" / "scan2_image.nii.gz").write_bytes(b"")
    desk.type(volumes.folder_edit, str(tmp_path / "one"))
    desk.wait(lambda: "there is no scan2_label" in desk.found)
    assert not desk.widget.start_button.isEnabled()
    assert not volumes.volume_tree.isVisible()


def test_weights_that_are_missing_are_offered_or_replaced_by_a_file(
    base, desk, folder, monkeypatch
):
    setup = desk.setup
    assert setup.model_combo.currentText() == "Tiny STU-Net - needs weights"
    assert setup.weights_button.isVisible()
    desk.type(setup.volumes.folder_edit, str(folder))
    desk.wait(lambda: "Tiny STU-Net" in desk.lacking)
    assert not desk.widget.start_button.isEnabled()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(base), ""))
    desk.choose(setup.start_combo, setup.start_combo.findText(FILE))
    desk.wait(lambda: desk.widget.start_button.isEnabled())
    assert "from base.safetensors" in desk.plan
    assert not setup.weights_button.isVisible()
    desk.choose(setup.start_combo, setup.start_combo.findText("random weights"))
    desk.wait(lambda: "from random weights" in desk.plan)


def test_more_memory_than_there_is_keeps_it_from_starting(stored, desk, folder, monkeypatch):
    monkeypatch.setattr("openmedlab.tuning.memory.free_bytes", lambda _: 1_000_000)
    desk.open(folder)
    assert "0.0 GB are free; keep the encoder as it is" in desk.lacking
    assert not desk.widget.start_button.isEnabled()


def test_a_training_draws_its_curve_and_its_weights_can_be_used(stored, desk, folder):
    desk.open(folder)
    desk.type(desk.setup.name_edit, "site")
    desk.press(desk.widget.start_button)
    desk.wait(lambda: desk.widget.tabs.currentIndex() == TRAINING)
    assert not desk.setup.isEnabled()
    desk.settle()
    assert desk.status.startswith("Best validation loss ")
    assert desk.panel.plot.shown == len(desk.controller.result.curve) == 4
    table = desk.panel.dice_table
    assert [table.item(k, 0).text() for k in range(2)] == ["organ", "vessel"]
    assert 0 <= float(table.item(0, 2).text()) <= 1
    out = folder.parent / "scans-site"
    assert (out / "weights.safetensors").is_file()
    assert str(out / "card.md") in desk.panel.files_label.text()
    assert desk.panel.use_button.text() == "Use in Whole body"
    desk.press(desk.panel.use_button)
    docks = desk.viewer.window.dock_widgets
    name = "Whole body (napari-openmedlab)"
    desk.wait(lambda: name in docks)
    chosen = docks[name].controller
    assert chosen.method == "site"
    assert chosen.offered.state == "ready"
    assert [label.name for label in chosen.offered.labels] == ["organ", "vessel"]
    assert WeightsStore().info("site").path is not None
    desk.wait(lambda: "trained to its end" in desk.plan)


def test_a_cancelled_training_is_kept_and_goes_on(stored, desk, folder, gate):
    desk.open(folder, updates=3)
    desk.press(desk.widget.start_button)
    desk.wait(lambda: desk.controller.training.resumed_from == 0 and desk.panel.plot.shown == 2)
    desk.press(desk.widget.cancel_button)
    gate.set()
    desk.settle()
    assert desk.status.startswith("Cancelled after update 2;")
    desk.wait(lambda: desk.widget.start_button.text() == "Go on from 2")
    assert "goes on from update 2" in desk.plan
    desk.press(desk.widget.start_button)
    desk.settle()
    assert desk.controller.training.resumed_from == 2
    assert "went on from update 2" in str(desk.controller.training)
    assert [point.step for point in desk.controller.result.curve] == [0, 1, 2, 3]


def test_other_settings_in_the_same_folder_are_refused_until_begun_anew(
    stored, desk, folder, monkeypatch
):
    desk.open(folder, updates=1)
    desk.press(desk.widget.start_button)
    desk.settle()
    desk.wait(lambda: desk.widget.start_button.text() == "Go on from 1")
    desk.setup.length_spin.setValue(2)
    desk.press(desk.widget.start_button)
    desk.settle()
    assert "belongs to a training with other settings" in desk.status
    question = "napari_openmedlab.widgets.finetune.QMessageBox.question"
    yes = importlib.import_module("qtpy.QtWidgets").QMessageBox.StandardButton.Yes
    monkeypatch.setattr(question, lambda *_: yes)
    desk.press(desk.widget.restart_button)
    desk.settle()
    assert desk.controller.result.curve[-1].step == 2


def test_closing_the_widget_ends_the_training_and_keeps_it(stored, desk, folder):
    desk.open(folder, updates=5000)
    desk.press(desk.widget.start_button)
    desk.wait(lambda: desk.controller.training.resumed_from is not None)
    thread = desk.controller._thread._thread
    desk.viewer.window.remove_dock_widget(desk.dock)
    desk.wait(lambda: not thread.is_alive())
    out = folder.parent / "scans-tiny-tuned"
    kept = torch.load(out / "checkpoint.pt", weights_only=True)
    assert kept["history"]["step"] >= 1


def test_open_layers_become_volumes_of_the_folder(stored, desk, folder):
    volume, labels = scan(7)
    image = desk.viewer.add_image(volume.array, name="my scan", scale=(2, 2, 2), units="mm")
    desk.open(folder)
    desk.press(desk.setup.volumes.layers_button)
    assert "label one in Segment" in desk.status
    desk.viewer.add_labels(labels.array, scale=(2, 2, 2), units="mm")
    desk.press(desk.setup.volumes.layers_button)
    desk.wait(lambda: "4 volumes" in desk.found)
    assert desk.status == f"Added my_scan to {folder}."
    written = read_labels(folder / "my_scan_label.nii.gz")
    np.testing.assert_array_equal(written.array, labels.array)
    assert written.geometry.spacing == pytest.approx((2, 2, 2))
    desk.press(desk.setup.volumes.layers_button)
    assert f"holds a volume my_scan already; rename the layer {image.name!r}" in desk.status


def test_durations_are_told_as_roughly_as_they_are_known():
    assert [duration(s) for s in (40.2, 400, 7500)] == ["40 s", "7 min", "2 h 5 min"]
