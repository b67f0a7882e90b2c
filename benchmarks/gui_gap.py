"""Longest gap of the event loop while clicks become masks in a 512 x 512 x 400 volume.

Run: xvfb-run -a -s "-screen 0 1400x900x24" python benchmarks/gui_gap.py

A timer of 1 ms ticks in the event loop; the longest time between two ticks is what a user
feels as a freeze. The same click on a plain Points layer, without the widget, shows what
napari and the renderer need by themselves. The CPU time that the GUI thread spends in our
own code does not depend on the machine's load or renderer.
"""

import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest

from napari_openmedlab.controller import SegmentController
from napari_openmedlab.runner import Runner
from openmedlab import zoo
from openmedlab.core import Capabilities, Encoding, LogitsPatch, Method, Region

SHAPE = (400, 512, 512)
RADII = (20, 60, 100)
REPEATS = 5


class Balls:
    """A ball round the newest point, its radius drawn in turn; infers for 0.3 s, GIL released."""

    name, version = "balls", "1"
    capabilities = Capabilities(frozenset({"point"}))

    def __init__(self):
        self.radius = RADII[0]

    def region(self, geometry, prompts):
        return Region.around(prompts[-1].positions()).padded(self.radius).clipped(geometry.shape)

    def encode(self, volume, region, progress, cancel):
        return Encoding(region, None, 1)

    def predict(self, encoding, prompts, previous, progress, cancel):
        region = encoding.region
        grid = np.ogrid[region.slices]
        away = sum((g - c) ** 2 for g, c in zip(grid, prompts[-1].position, strict=True))
        time.sleep(0.3)
        logits = np.float32(self.radius**2) - away.astype(np.float32)
        return LogitsPatch(region, logits, self.name, ("point",))

    def warm_up(self):
        pass


class Ticker:
    """Counts gaps between ticks of the event loop."""

    def __init__(self):
        self.gaps, self.last = [], time.perf_counter()
        self.timer = QTimer(interval=1)
        self.timer.timeout.connect(self.tick)
        self.timer.start()

    def tick(self):
        now = time.perf_counter()
        self.gaps.append(now - self.last)
        self.last = now

    def longest(self):
        worst = 1000 * max(self.gaps, default=0.0)
        self.gaps.clear()
        return worst


def click(viewer, layer, data):
    canvas = viewer.window._qt_viewer.canvas
    world = layer.data_to_world(data)
    shown = [world[i] for i in viewer.dims.displayed][::-1]
    x, y = canvas.view.scene.transform.map([*shown, 0])[:2]
    QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, pos=QPoint(round(x), round(y)))


def plain(viewer, image, ticker):
    """The same click on an ordinary Points layer."""
    points = viewer.add_points(ndim=3, name="plain", size=8)
    points.mode = "add"
    QTest.qWait(500)
    worst = []
    for k in range(REPEATS):
        ticker.longest()
        click(viewer, image, (200, 256, 200 + 20 * k))
        QTest.qWait(300)
        worst.append(ticker.longest())
    viewer.layers.remove(points)
    return worst


class Meter:
    """CPU time of the GUI thread inside a method of ours, call by call, in ms."""

    def __init__(self, owner, name):
        self.spent = []
        inner = getattr(owner, name)

        def metered(*args):
            started = time.thread_time()
            result = inner(*args)
            self.spent.append(1000 * (time.thread_time() - started))
            return result

        setattr(owner, name, metered)

    def take(self):
        spent, self.spent = sum(self.spent), []
        return spent


def with_widget(viewer, image, widget, model, ticker, meters, radius):
    """Clicks that make balls of a radius; return a row of figures for each."""
    controller = widget.controller
    controller.take("point+")
    model.radius = radius
    rows = []
    for k in range(REPEATS):
        QTest.qWait(300)
        answered = []
        note = lambda _workspace, answer, out=answered: out.append(answer)  # noqa: E731
        controller.runner.answered.connect(note)
        ticker.longest()
        [meter.take() for meter in meters]
        click(viewer, image, (200, 256, 200 + 20 * k))
        while not answered:
            QTest.qWait(1)
        QTest.qWait(200)
        controller.runner.answered.disconnect(note)
        write = 1000 * answered[0].timings.write
        rows.append((*(meter.take() for meter in meters), ticker.longest(), write))
    return np.array(rows)


def main():
    model = Balls()
    method = Method(model.name, "Balls", lambda: model)
    zoo.methods = lambda: {model.name: zoo.OfferedMethod(method, "ready", "")}
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 850)
    data = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.int16)
    image = viewer.add_image(data, name="ct", contrast_limits=(-300, 300))
    viewer.dims.set_point(0, 200)
    ticker = Ticker()
    QTest.qWait(1000)
    lines = [
        "| what | our CPU on the click | our CPU when the mask comes | longest gap | write |",
        "| --- | --- | --- | --- | --- |",
    ]
    worst = plain(viewer, image, ticker)
    lines.append(f"| napari alone: a point | | | {np.median(worst):.0f} (max {max(worst):.0f}) | |")
    started = time.perf_counter()
    meters = Meter(SegmentController, "_follow_prompts"), Meter(Runner, "_deliver")
    _, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Segment")
    opening = time.perf_counter() - started
    QTest.qWait(1000)
    for radius in RADII:
        rows = with_widget(viewer, image, widget, model, ticker, meters, radius)
        cells = [f"{np.median(c):.0f} (max {max(c):.0f})" for c in rows.T]
        size = 4 / 3 * np.pi * radius**3 / 1e6
        lines.append(f"| ball of {size:.2f} M voxels | " + " | ".join(cells) + " |")
    lines.append("")
    lines.append(f"Widget and session opened in {opening:.2f} s.")
    print("\n".join(lines))
    return lines


if __name__ == "__main__":
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.environ["OPENMEDLAB_HOME"] = str(Path(folder))
        main()
        napari.current_viewer().close()
