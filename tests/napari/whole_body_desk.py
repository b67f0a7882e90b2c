"""The Whole body widget's desk: a labeler with a gate, hands on the buttons, grids."""

import threading

import numpy as np
from napari_desk import LEFT
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from openmedlab.core import Geometry, Label, LabelVolume, Region, Volume

WAIT = 30_000
SHAPE = (24, 60, 72)
LABELS = (
    Label("spleen", (0.6, 0.4, 0.6), "78961009"),
    Label("kidney_left", (0.7, 0.6, 0.2), "18639004"),
    Label("kidney_right", (0.7, 0.7, 0.3), "9846003"),
)
SPLEEN, LEFT_KIDNEY, RIGHT_KIDNEY = 5, 9, 2
BOXES = {
    SPLEEN: np.s_[2:22, 8:20, 40:60],
    LEFT_KIDNEY: np.s_[4:20, 30:50, 42:62],
    RIGHT_KIDNEY: np.s_[4:20, 30:50, 8:28],
}
OBLIQUE = np.linalg.qr(np.array([[0.1, 0.2, 1.0], [-0.1, 1.0, -0.2], [1.0, 0.1, 0.1]]))[0]
GRIDS = {
    "anisotropic": Geometry.from_spacing(SHAPE, (5.0, 2.0, 1.5), (-50.0, -40.0, 30.0)),
    "oblique": Geometry.from_spacing(SHAPE, (4.0, 2.0, 1.5), (5.0, 6.0, 7.0), OBLIQUE),
}


class Slabs:
    """Writes boxes of three organs in four slabs; waits at its gate before each."""

    name, version = "slabs", "7"
    classes = {SPLEEN: "spleen", LEFT_KIDNEY: "kidney_left", RIGHT_KIDNEY: "kidney_right"}  # noqa: RUF012

    def __init__(self):
        self.gate = threading.Semaphore(100)
        self.asked = []

    def label_into(self, labels, volume, classes, progress, cancel, finished):
        self.asked.append(classes)
        whole = np.zeros(labels.shape, labels.dtype)
        for number, box in BOXES.items():
            if classes is None or self.classes[number] in classes:
                whole[box] = number
        for k in range(4):
            progress.report(k, 4, f"slab {k + 1} of 4")
            while not self.gate.acquire(timeout=0.01):
                cancel.check()
            region = Region((6 * k, 0, 0), (6 * k + 6, *labels.shape[1:]))
            labels[region.slices] = whole[region.slices]
            finished(region)

    def label(self, volume, classes, progress, cancel):
        labels = np.zeros(volume.shape, np.uint8)
        self.label_into(labels, volume, classes, progress, cancel, lambda _: None)
        names = {n: Label(name) for n, name in self.classes.items()}
        return LabelVolume(labels, volume.geometry, names)

    @staticmethod
    def truth():
        labels = np.zeros(SHAPE, np.uint8)
        for number, box in BOXES.items():
            labels[box] = number
        return labels


class Body:
    """A viewer with the widget, and hands on its buttons."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        viewer.window.resize(1200, 850)
        self.dock, self.widget = viewer.window.add_plugin_dock_widget(
            "napari-openmedlab", "Whole body"
        )
        self.controller = self.widget.controller
        self.dock.show()
        self.wait(self.widget.run_button.isVisible)

    def press(self, button):
        assert button.isVisible()
        assert button.isEnabled()
        QTest.mouseClick(button, LEFT)

    def wait(self, condition):
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=WAIT)

    def choose(self, model):
        combo = self.widget.model_combo
        combo.setCurrentIndex(combo.findData(model))
        combo.activated.emit(combo.currentIndex())

    def run(self):
        self.press(self.widget.run_button)
        self.settle()

    def settle(self):
        self.wait(lambda: not self.controller.busy)
        self.wait(lambda: self.result is None or not self.result.measuring)

    @property
    def result(self):
        return self.controller.result

    @property
    def labels(self):
        return self.result.layer

    def item(self, name):
        return self.widget.structures.leaves[name]

    def pick(self, name):
        self.widget.structures.tree.setCurrentItem(self.item(name))

    @property
    def status(self):
        return self.widget.status_label.text()


def scan(geometry=GRIDS["anisotropic"], modality="CT"):
    rng = np.random.default_rng(0)
    return Volume(rng.normal(40, 10, SHAPE).astype(np.int16), geometry, modality, "ct")


def save_as(monkeypatch, path):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
