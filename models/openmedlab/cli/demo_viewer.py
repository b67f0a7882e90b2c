"""The demo's hand: a real napari with the Segment widget, driven by mouse events."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmedlab.cli.screen import virtual_screen
from openmedlab.core import OpenMedLabError

if TYPE_CHECKING:
    from openmedlab.cli.demo import Case, Found

WINDOW = (1360, 860)
NAME_COLUMN = 3
PATIENCE_S = 120.0


def click_in_napari(case: Case, screenshot: Path) -> Found:
    """Click the six extreme points in napari, wait for the mask, take a picture.

    The session's journal and napari's settings go to a temporary folder.
    """
    notices_aside = redirect_stdout(sys.stderr)
    with tempfile.TemporaryDirectory() as folder, virtual_screen(), notices_aside:
        os.environ["OPENMEDLAB_HOME"] = folder
        os.environ["NAPARI_CONFIG"] = str(Path(folder) / "napari.yaml")
        import napari
        from napari.layers import Layer

        from napari_openmedlab.readers import image_layer

        viewer = napari.Viewer(title="OpenMEDLab demo")
        try:
            viewer.window.resize(*WINDOW)
            viewer.add_layer(Layer.create(*image_layer(case.volume)))
            dock, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Segment")
            found = _Hand(viewer, widget).segment(case, screenshot)
            viewer.window.remove_dock_widget(dock)
            return found
        finally:
            viewer.close()


class _Hand:
    """Clicks, as a user would."""

    def __init__(self, viewer: Any, widget: Any) -> None:
        from qtpy.QtTest import QTest

        self.qtest: Any = QTest
        self.viewer = viewer
        self.widget = widget
        self.answers: list[Any] = []
        self.errors: list[str] = []
        widget.controller.runner.answered.connect(lambda _, answer: self.answers.append(answer))
        widget.controller.told.connect(self._hear)

    def _hear(self, text: str, is_error: bool) -> None:
        if is_error:
            self.errors.append(text)

    def segment(self, case: Case, screenshot: Path) -> Found:
        """Click the points, wait for the mask, and show the slice where it is largest."""
        from openmedlab.cli.demo import Found

        controller = self.widget.controller
        self._until(lambda: controller.workspace is not None, "the volume to open")
        self.viewer.reset_view()
        self.widget.object_table.item(0, NAME_COLUMN).setText(case.organ)
        self._press(self.widget.tool_buttons["extreme"])
        for point in case.prompt.points:
            self._click(point)
        self._until(lambda: bool(self.answers), "the mask")
        answer = self.answers[-1]
        session = controller.workspace.session
        areas = (session.labelmap == answer.number).sum(axis=(1, 2))
        self._go_to(int(areas.argmax()))
        self.viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
        return Found(
            session.labels(answer.patch.method),
            answer.number,
            session.prompts(answer.number),
            answer.patch,
            controller.runner.version(),
            answer.timings,
        )

    def _press(self, button: Any) -> None:
        from qtpy.QtCore import Qt

        self.qtest.mouseClick(button, Qt.MouseButton.LeftButton)

    def _click(self, point: tuple[float, float, float]) -> None:
        """Go to the point's slice and click it there."""
        from qtpy.QtCore import QPoint, Qt

        self._go_to(round(point[0]))
        canvas = self.viewer.window._qt_viewer.canvas
        world = self.viewer.layers[0].data_to_world(point)
        shown = [world[axis] for axis in self.viewer.dims.displayed][::-1]
        x, y = canvas.view.scene.transform.map([*shown, 0])[:2]
        at = QPoint(round(float(x)), round(float(y)))
        self.qtest.mouseMove(canvas.native, at)
        self.qtest.qWait(20)
        left = Qt.MouseButton.LeftButton
        self.qtest.mouseClick(canvas.native, left, Qt.KeyboardModifier.NoModifier, at)
        self.qtest.qWait(20)

    def _go_to(self, z: int) -> None:
        image = self.viewer.layers[0]
        self.viewer.dims.set_point(0, float(image.data_to_world((z, 0, 0))[0]))
        self.qtest.qWait(80)

    def _until(self, there: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not there():
            if self.errors:
                raise OpenMedLabError(self.errors[0])
            if time.monotonic() > end:
                raise OpenMedLabError(f"napari took more than {PATIENCE_S:.0f} s for {what}.")
            self.qtest.qWait(20)
        self.qtest.qWait(100)
