"""A viewer with the widget, a fake method, and real Qt events."""

import itertools
import threading

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from openmedlab import zoo
from openmedlab.core import Capabilities, Encoding, LogitsPatch, MaskPrompt, Method
from openmedlab.core.constraints import hard_voxels

SHAPE = (24, 60, 72)
LEFT = Qt.MouseButton.LeftButton
PLAIN = Qt.KeyboardModifier.NoModifier


class FakeBalls:
    """A ball of radius 6 round each positive voxel; waits for its gate, looks at the token."""

    version = "1"
    capabilities = Capabilities(frozenset({"point", "box", "scribble", "lasso", "mask"}))

    def __init__(self, name):
        self.name = name
        self.gate = threading.Event()
        self.gate.set()
        self.runs = 0

    def region(self, geometry, prompts):
        return geometry.region

    def encode(self, volume, region, progress, cancel):
        return Encoding(region, volume.shape, 1)

    def predict(self, encoding, prompts, previous, progress, cancel):
        self.runs += 1
        for k in itertools.count():
            cancel.check()
            progress.report(min(k, 100), 100, "thinking")
            if self.gate.wait(0.01):
                break
        inside = np.zeros(encoding.region.shape, bool)
        for prompt in prompts:
            if isinstance(prompt, MaskPrompt):
                inside |= prompt.array(encoding.region)
            elif prompt.kind in ("box", "extreme points"):
                box = prompt if prompt.kind == "box" else prompt.box
                inside[box.region.slices] = True
            else:
                add, out = hard_voxels([prompt])
                for at in add:
                    inside |= ball(encoding.region.shape, at)
                for at in out:
                    inside &= ~ball(encoding.region.shape, at, 3)
        return LogitsPatch(
            encoding.region,
            np.where(inside, 1, -1).astype(np.float32),
            self.name,
            tuple(p.kind for p in prompts),
        )

    def warm_up(self):
        pass


def ball(shape, centre, radius=6):
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


def offered(model):
    method = Method(model.name, model.name, lambda: model)
    return zoo.OfferedMethod(method, "ready", "for tests")


class Desk:
    """A viewer, the widget in it, and hands that click for real."""

    def __init__(self, viewer, qtbot):
        self.viewer = viewer
        self.qtbot = qtbot
        viewer.window.resize(1200, 850)
        _, self.widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Segment")
        self.controller = self.widget.controller
        self.canvas = viewer.window._qt_viewer.canvas

    @property
    def session(self):
        return self.controller.workspace.session

    @property
    def labels(self):
        return self.controller.workspace.labels

    @property
    def image(self):
        return self.controller.workspace.image

    def go_to(self, data):
        world = self.image.data_to_world(data)
        for axis in self.viewer.dims.not_displayed:
            self.viewer.dims.set_point(axis, world[axis])
        QTest.qWait(30)

    def pixel(self, data):
        world = self.image.data_to_world(data)
        shown = [world[i] for i in self.viewer.dims.displayed][::-1]
        x, y = self.canvas.view.scene.transform.map([*shown, 0])[:2]
        return QPoint(round(float(x)), round(float(y)))

    def click(self, data):
        native, at = self.canvas.native, self.pixel(data)
        QTest.mouseMove(native, at)
        QTest.qWait(10)
        QTest.mouseClick(native, LEFT, PLAIN, at)

    def drag(self, *path):
        native = self.canvas.native
        points = [self.pixel(p) for p in path]
        QTest.mouseMove(native, points[0])
        QTest.qWait(10)
        QTest.mousePress(native, LEFT, PLAIN, points[0])
        for a, b in itertools.pairwise(points):
            for t in np.linspace(0.1, 1, 10):
                QTest.mouseMove(native, a + (b - a) * float(t))
                QTest.qWait(5)
        QTest.mouseRelease(native, LEFT, PLAIN, points[-1])

    def take(self, tool):
        if not self.widget.tool_buttons[tool].isChecked():
            QTest.mouseClick(self.widget.tool_buttons[tool], LEFT)
        assert self.controller.tool == tool

    def press(self, key, modifier=PLAIN):
        QTest.keyClick(self.canvas.native, key, modifier)

    def mask(self, number=1):
        return np.asarray(self.session.labelmap == number)

    def wait_mask(self, condition=np.any, number=1):
        self.qtbot.waitUntil(lambda: bool(condition(self.mask(number))), timeout=8000)

    def settle(self):
        self.qtbot.waitUntil(lambda: not self.controller.runner.busy, timeout=8000)
        QTest.qWait(40)

    @property
    def status(self):
        return self.widget.status_label.text()
