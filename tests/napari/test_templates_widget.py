"""The Templates widget by its buttons and clicks: six points, three planes, the library."""

from __future__ import annotations

import numpy as np
import pytest
from napari_desk import LEFT, Desk
from qtpy.QtTest import QTest

from napari_openmedlab.widgets.templates import TemplatesWidget
from openmedlab.core import Region
from openmedlab.localization.templates import TemplateLibrary

SHAPE = (16, 40, 48)
SIX = [(3, 20, 24), (11, 20, 24), (7, 9, 24), (7, 30, 24), (7, 20, 13), (7, 20, 38)]


class Hands(Desk):
    """The widget in a viewer with one image, and real clicks."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        viewer.window.resize(1200, 850)
        _, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Templates")
        self.widget: TemplatesWidget = widget
        self.controller = widget.controller
        self.canvas = viewer.window._qt_viewer.canvas
        qtbot.waitUntil(lambda: self.controller.image is not None, timeout=10_000)

    @property
    def image(self):
        return self.controller.image

    def press(self, button):
        assert button.isEnabled()
        QTest.mouseClick(button, LEFT)

    def mark(self, points=SIX):
        for point in points:
            known = len(self.controller.points)
            self.go_to(point)
            self.click(point)
            self.qtbot.waitUntil(
                lambda known=known: len(self.controller.points) == known + 1, timeout=10_000
            )


@pytest.fixture
def hands(monkeypatch, tmp_path, make_napari_viewer, qtbot):
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    viewer = make_napari_viewer(show=True)
    data = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)
    viewer.add_image(data, name="ct", scale=(2, 1, 1), units="mm")
    return Hands(viewer, qtbot)


def test_six_clicks_become_a_template(hands, tmp_path):
    widget = hands.widget
    hands.controller.open_library(tmp_path / "library")
    widget.organ_edit.setText("kidney_left")
    assert widget.code_edit.text() == "64033007"
    widget.annotator_edit.setText("A. B.")
    hands.press(widget.click_button)
    assert "most inferior" in widget.guide.headline.text()
    hands.mark(SIX[:1])
    assert "most superior" in widget.guide.headline.text()
    assert not widget.save_button.isEnabled()
    hands.mark(SIX[1:])
    hands.press(widget.save_button)
    (template,) = TemplateLibrary(tmp_path / "library").templates
    assert (template.organ, template.code, template.annotator) == (
        "kidney_left",
        "64033007",
        "A. B.",
    )
    box = template.extreme_points.box.region
    wanted = Region.around(SIX)
    assert np.abs(np.subtract(box.start, wanted.start)).max() <= 1
    assert np.abs(np.subtract(box.stop, wanted.stop)).max() <= 1
    assert widget.template_table.rowCount() == 1
    assert [layer.name for layer in hands.viewer.layers] == ["ct"]


def test_each_point_is_shown_in_three_planes(hands):
    hands.press(hands.widget.click_button)
    hands.mark(SIX[:2])
    hands.qtbot.waitUntil(lambda: not hands.widget.planes.pixmap().isNull(), timeout=30_000)
    hands.press(hands.widget.next_button)
    here = hands.image.world_to_data(hands.viewer.dims.point)
    assert round(here[0]) in (3, 11)


def test_the_viewer_turns_to_a_plane(hands):
    hands.press(hands.widget.plane_buttons["sagittal"])
    assert hands.viewer.dims.not_displayed == (2,)
    hands.press(hands.widget.plane_buttons["coronal"])
    assert hands.viewer.dims.not_displayed == (1,)
    hands.press(hands.widget.plane_buttons["axial"])
    assert hands.viewer.dims.not_displayed == (0,)


def test_clear_takes_the_points_away(hands):
    hands.press(hands.widget.click_button)
    hands.mark(SIX[:2])
    hands.press(hands.widget.clear_button)
    assert hands.controller.points == {}
    assert "6 missing" in hands.widget.guide.headline.text()


def test_templates_are_listed_checked_and_removed(hands, tmp_path):
    widget, controller = hands.widget, hands.controller
    controller.open_library(tmp_path / "library")
    hands.press(widget.click_button)
    hands.mark()
    assert controller.save("liver")
    hands.press(widget.check_button)
    hands.qtbot.waitUntil(lambda: "can be used" in widget.status_label.text(), timeout=30_000)
    library = controller.library
    library.volume_path(library.templates[0]).unlink()
    controller.open_library(library.folder)
    hands.press(widget.check_button)
    hands.qtbot.waitUntil(lambda: "is gone" in widget.status_label.text(), timeout=30_000)
    assert "is gone" in widget.template_table.item(0, 0).toolTip()
    widget.template_table.setCurrentCell(0, 0)
    hands.press(widget.remove_button)
    assert widget.template_table.rowCount() == 0


def test_what_is_missing_is_said(hands, tmp_path):
    assert not hands.controller.save("liver")
    assert "template library" in hands.widget.status_label.text()
    hands.controller.open_library(tmp_path / "library")
    assert not hands.controller.save("liver")
    assert "6 points are missing" in hands.widget.status_label.text()
    hands.viewer.add_image(np.zeros((20, 20)), name="slice")
    hands.controller.choose(hands.viewer.layers["slice"])
    assert "one slice" in hands.widget.status_label.text()
    hands.viewer.add_image(np.zeros((2, 4, 20, 20)), name="film")
    hands.controller.choose(hands.viewer.layers["film"])
    assert "'film' has 4 axes" in hands.widget.status_label.text()
    assert hands.controller.image is None
