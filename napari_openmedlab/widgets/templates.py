"""The *Templates* dock widget: six guided clicks on an organ, kept in a library."""

from __future__ import annotations

from pathlib import Path

import napari
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QCompleter,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.templating import PLANES, TemplatesController
from napari_openmedlab.widgets.dock import Dock
from napari_openmedlab.widgets.extreme_guide import ExtremeGuide, step_names
from napari_openmedlab.widgets.layer_combo import LayerCombo
from napari_openmedlab.widgets.small import timer, wrapped_label
from openmedlab.localization.organs import known_organs
from openmedlab.localization.pictures import Picture
from openmedlab.localization.templates import Finding

NAME_ROLE = Qt.ItemDataRole.UserRole
COLUMNS = ("organ", "scan", "by", "date")


class TemplatesWidget(Dock):
    """Scan, organ, six clicks with their planes, and the library.

    Parameters
    ----------
    viewer
        The viewer whose scan is marked.

    Attributes
    ----------
    controller
        Does the work; scripts may call it directly.
    image_combo, organ_edit, code_edit, annotator_edit, library_button, library_label
        What their names say.
    click_button, clear_button, guide, planes, previous_button, next_button, plane_buttons
        The six points.
    save_button, replace_check, template_table, remove_button, check_button, status_label
        The library.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.controller = TemplatesController(viewer)
        self.image_combo = LayerCombo(viewer, Image)
        self.guide = ExtremeGuide()
        self._step = 0
        self._make_parts()
        self._lay_out()
        self._connect()
        inserted, choose = viewer.layers.events.inserted, self._choose_soon
        inserted.connect(choose)
        self.end_with(
            lambda: inserted.disconnect(choose),
            self.image_combo.close_events,
            self.controller.close,
        )
        self._soon.start()

    # ------------------------------------------------------------------ look
    def _make_parts(self) -> None:
        self.organ_edit, self.code_edit = QLineEdit(), QLineEdit()
        self.organ_edit.setPlaceholderText("e.g. kidney_left")
        names = QCompleter(sorted(known_organs()))
        names.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        names.setFilterMode(Qt.MatchFlag.MatchContains)
        self.organ_edit.setCompleter(names)
        self.code_edit.setPlaceholderText("SNOMED CT code")
        self.annotator_edit = QLineEdit()
        self.annotator_edit.setPlaceholderText("who marks it")
        self.library_button = QPushButton("Template library …")
        self.library_label = wrapped_label("No library is open.")
        self.click_button, self.clear_button = QPushButton("Click points"), QPushButton("Clear")
        self.click_button.setToolTip("The next clicks on the image set the six points")
        self.planes = QLabel("Three planes through each point appear here.")
        self.planes.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.planes.setMinimumHeight(130)
        self.planes.setStyleSheet("background: #181a1e; color: #8a8f98;")
        self.previous_button, self.next_button = QPushButton("◀ point"), QPushButton("point ▶")
        self.plane_buttons = {name: QPushButton(name) for name in PLANES}
        self.save_button = QPushButton("Save template")
        self.replace_check = QCheckBox("replace the organ's template on this scan")
        self.template_table = QTableWidget(0, len(COLUMNS))
        self.template_table.setHorizontalHeaderLabels(list(COLUMNS))
        self.template_table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.template_table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header, rows = self.template_table.horizontalHeader(), self.template_table.verticalHeader()
        assert header is not None
        assert rows is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        rows.hide()
        rows.setDefaultSectionSize(22)
        self.remove_button, self.check_button = QPushButton("Remove"), QPushButton("Check")
        self._soon = timer(self, self._choose_first, once=True)

    def _lay_out(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        for name, part in (
            ("scan", self.image_combo),
            ("organ", self.organ_edit),
            ("code", self.code_edit),
            ("annotator", self.annotator_edit),
        ):
            form.addRow(name, part)
        column.addLayout(form)
        column.addLayout(_row(self.click_button, self.clear_button))
        column.addWidget(self.guide)
        column.addWidget(self.planes)
        column.addLayout(_row(self.previous_button, *self.plane_buttons.values(), self.next_button))
        column.addWidget(self.save_button)
        column.addWidget(self.replace_check)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        column.addWidget(line)
        column.addWidget(self.library_button)
        column.addWidget(self.library_label)
        column.addWidget(self.template_table, 1)
        column.addLayout(_row(self.remove_button, self.check_button))
        column.addWidget(self.status_label)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(380)

    # --------------------------------------------------------------- hearing
    def _connect(self) -> None:
        controller = self.controller
        self.image_combo.chosen.connect(lambda layer: controller.choose(layer))
        self.organ_edit.textChanged.connect(self._fill_code)
        self.library_button.clicked.connect(self._ask_library)
        self.click_button.clicked.connect(lambda: controller.begin())
        self.clear_button.clicked.connect(lambda: controller.clear())
        self.previous_button.clicked.connect(lambda: self._go(-1))
        self.next_button.clicked.connect(lambda: self._go(1))
        for name, button in self.plane_buttons.items():
            button.setToolTip(f"Turn the viewer to the {name} plane")
            button.clicked.connect(lambda *_, plane=name: controller.show_plane(plane))
        self.save_button.clicked.connect(self._save)
        self.remove_button.clicked.connect(self._remove)
        self.check_button.clicked.connect(lambda: controller.check())
        controller.told.connect(self.tell)
        controller.image_changed.connect(self._show_image)
        controller.points_changed.connect(self._show_points)
        controller.library_changed.connect(self._show_library)
        controller.pictured.connect(self._show_picture)
        controller.checked.connect(self._show_findings)
        self._show_points()
        self._show_library()

    def _choose_soon(self, event: object) -> None:
        self._soon.start()

    def _choose_first(self) -> None:
        layer = self.image_combo.newest()
        if self.controller.image is None and isinstance(layer, Image):
            self.controller.choose(layer)

    def _fill_code(self, organ: str) -> None:
        known = known_organs().get(organ.strip())
        self.code_edit.setText(known.code if known is not None else "")
        self._show_points()

    def _ask_library(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Template library")
        if folder:
            self.controller.open_library(Path(folder))

    def _go(self, by: int) -> None:
        """Show the next, or the previous, point that is set."""
        steps = sorted(self.controller.points)
        if steps:
            here = steps.index(self._step) if self._step in steps else -by
            self._step = steps[(here + by) % len(steps)]
            self.controller.show_point(self._step)
            self._show_points()

    def _save(self) -> None:
        saved = self.controller.save(
            self.organ_edit.text().strip(),
            self.code_edit.text().strip(),
            self.annotator_edit.text().strip(),
            self.replace_check.isChecked(),
        )
        if saved:
            self.organ_edit.clear()

    def _remove(self) -> None:
        item = self.template_table.item(self.template_table.currentRow(), 0)
        if item is not None:
            self.controller.remove(item.data(NAME_ROLE))

    # --------------------------------------------------------------- showing
    def _show_image(self) -> None:
        self.image_combo.show_layer(self.controller.image)
        self.planes.setText("Three planes through each point appear here.")

    def _show_points(self) -> None:
        geometry, points = self.controller.geometry, self.controller.points
        self.guide.setVisible(geometry is not None)
        self.click_button.setEnabled(geometry is not None)
        if geometry is not None:
            self.guide.show_steps(geometry, points)
            names = step_names(geometry)
            told = f"at: {names[self._step]}" if self._step in points else ""
            self.planes.setToolTip(told)
        self.clear_button.setEnabled(bool(points))
        for button in (self.previous_button, self.next_button):
            button.setEnabled(bool(points))
        ready = len(points) == 6 and bool(self.organ_edit.text().strip())
        self.save_button.setEnabled(ready and self.controller.library is not None)

    def _show_picture(self, picture: Picture) -> None:
        height, width, _ = picture.shape
        image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        room = max(self.planes.width(), 300)
        smooth = Qt.TransformationMode.SmoothTransformation
        self.planes.setPixmap(QPixmap.fromImage(image).scaledToWidth(room, smooth))

    def _show_library(self) -> None:
        library = self.controller.library
        self.library_label.setText(
            "No library is open." if library is None else str(library.folder)
        )
        templates = library.templates if library is not None else ()
        self.template_table.setRowCount(len(templates))
        for row, template in enumerate(templates):
            scan = template.volume.path.name
            texts = (template.organ, scan, template.annotator, template.date.isoformat())
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setData(NAME_ROLE, template.name)
                item.setToolTip(f"{template.name}: {template.volume.path}")
                self.template_table.setItem(row, column, item)
        for button in (self.remove_button, self.check_button):
            button.setEnabled(library is not None)
        self._show_points()

    def _show_findings(self, findings: list[Finding]) -> None:
        """Colour the templates that cannot be used; what is wrong is their tool tip."""
        wrong = {f.template: f.text for f in findings}
        self._show_library()
        for row in range(self.template_table.rowCount()):
            for column in range(len(COLUMNS)):
                item = self.template_table.item(row, column)
                if item is not None and item.data(NAME_ROLE) in wrong:
                    item.setForeground(Qt.GlobalColor.red)
                    item.setToolTip(wrong[item.data(NAME_ROLE)])


def _row(*buttons: QPushButton) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(4)
    for button in buttons:
        row.addWidget(button)
    return row
