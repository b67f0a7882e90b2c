"""The *Axons* dock widget: try on what is in view, tune, run the whole volume."""

from __future__ import annotations

from pathlib import Path

import napari
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QSlider,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.axons.checks import missing
from napari_openmedlab.axons.controller import AxonsController
from napari_openmedlab.widgets.axons_map import LEGEND, BlockMapView
from napari_openmedlab.widgets.dock import Dock
from napari_openmedlab.widgets.layer_combo import LayerCombo
from napari_openmedlab.widgets.small import fill_width, timer, wrapped_label
from openmedlab.axons.methods import METHODS

LOOK_MS = 400
STEPS = 100
MOST_ROWS = 500
COLUMNS = ["piece", "length µm", "branch points"]


class AxonsWidget(Dock):
    """Image, method and threshold; a try in seconds; the whole volume in the background.

    Parameters
    ----------
    viewer
        The viewer whose images are worked on.

    Attributes
    ----------
    controller
        Does the work; scripts may call it directly.
    image_combo, method_combo, voxel_spins, threshold_slider, smallest_spin, workers_spin
        The choosers; voxel sizes are (z, y, x) in micrometres.
    try_button, run_button, restart_button, cancel_button
        What can be done.
    trace_button, export_button, lengths_table
        Skeletons, and the pieces by length.
    map_view, progress_bar, status_label
        How far it is.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.controller = AxonsController(viewer)
        self.image_combo = LayerCombo(viewer, Image)
        self.method_combo = QComboBox()
        self.voxel_spins = [_micrometres(axis) for axis in "zyx"]
        self.threshold_slider = QSlider(Qt.Orientation.Horizontal)
        self.threshold_label = QLabel()
        self.smallest_spin = QSpinBox()
        self.workers_spin = QSpinBox()
        self.try_button = QPushButton("Try on the visible part")
        self.run_button = QPushButton("Run the whole volume")
        self.restart_button = QPushButton("Begin anew")
        self.cancel_button = QPushButton("Cancel")
        self.trace_button = QPushButton("Skeletons and lengths")
        self.export_button = QPushButton("Export table …")
        self.lengths_table = QTableWidget(0, len(COLUMNS))
        self.map_view = BlockMapView()
        self.map_title = wrapped_label(f"Blocks: {LEGEND}")
        self.progress_bar = QProgressBar()
        self._look = timer(self, self.controller.take_in, LOOK_MS, once=False)
        self._choose_soon = timer(self, self._choose_first, once=True)
        self._fill()
        self._lay_out()
        self._connect()
        inserted, noted = viewer.layers.events.inserted, self._on_inserted
        self.end_with(
            lambda: inserted.disconnect(noted), self.image_combo.close_events, self.controller.close
        )
        self._choose_first()
        self._show_method()
        self._show_lengths()
        self._show_busy()

    # ------------------------------------------------------------------ look
    def _fill(self) -> None:
        fill_width(self.method_combo)
        for choice in METHODS.values():
            self.method_combo.addItem(choice.title, choice.name)
        self.threshold_slider.setRange(1, STEPS - 1)
        self.smallest_spin.setRange(1, 100_000)
        self.smallest_spin.setSuffix(" voxels")
        self.smallest_spin.setToolTip("Smaller pieces are left out: specks, bright dots")
        self.workers_spin.setRange(0, 64)
        self.workers_spin.setValue(self.controller.workers)
        self.workers_spin.setToolTip("Processes on this machine; 0 works inside napari")
        self.try_button.setToolTip("A part of at most 32 slices of 192 x 192 voxels in view")
        self.restart_button.setToolTip("Throw away an unfinished or earlier result")
        self.lengths_table.setHorizontalHeaderLabels(COLUMNS)
        self.lengths_table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.lengths_table.hide()
        self.map_view.show_map(None)
        self.map_title.hide()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("image", self.image_combo)
        form.addRow("voxel µm", _row(*self.voxel_spins))
        form.addRow("method", self.method_combo)
        form.addRow("threshold", _row(self.threshold_slider, self.threshold_label))
        form.addRow("smallest", self.smallest_spin)
        form.addRow("workers", self.workers_spin)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        column.addLayout(form)
        column.addWidget(self.try_button)
        column.addLayout(_row(self.run_button, self.restart_button, self.cancel_button))
        column.addWidget(self.progress_bar)
        column.addWidget(self.map_title)
        column.addWidget(self.map_view)
        column.addLayout(_row(self.trace_button, self.export_button))
        column.addWidget(self.status_label)
        column.addWidget(self.lengths_table)
        column.addStretch()
        self.setMinimumWidth(340)

    def _connect(self) -> None:
        controller = self.controller
        self.image_combo.chosen.connect(controller.choose_image)
        self.method_combo.activated.connect(
            lambda row: controller.choose_method(self.method_combo.itemData(row))
        )
        self.threshold_slider.valueChanged.connect(self._on_threshold)
        self.smallest_spin.valueChanged.connect(controller.choose_smallest)
        for spin in self.voxel_spins:
            spin.editingFinished.connect(self._on_voxel_size)
        self.workers_spin.valueChanged.connect(lambda n: setattr(controller, "workers", n))
        self.try_button.clicked.connect(self._try)
        self.run_button.clicked.connect(lambda: controller.start())
        self.restart_button.clicked.connect(self._restart)
        self.cancel_button.clicked.connect(lambda: controller.cancel())
        self.trace_button.clicked.connect(lambda: controller.trace())
        self.export_button.clicked.connect(self._export)
        self.map_view.column_chosen.connect(controller.go_to)
        controller.traced_changed.connect(self._show_lengths)
        self.viewer.layers.events.inserted.connect(self._on_inserted)
        controller.told.connect(self.tell)
        controller.image_changed.connect(self._show_image)
        controller.method_changed.connect(self._show_method)
        controller.busy_changed.connect(self._show_busy)
        controller.progressed.connect(self._show_progress)
        controller.map_changed.connect(self._show_map)

    # --------------------------------------------------------------- choices
    def _on_inserted(self, _event: object) -> None:
        if self.controller.image is None:
            self._choose_soon.start()

    def _choose_first(self) -> None:
        """Take the newest volume by itself, as long as none was chosen."""
        volumes = [v for v in self.viewer.layers if isinstance(v, Image) and v.ndim == 3]
        if self.controller.image is None and volumes:
            self.controller.choose_image(volumes[-1])

    def _show_image(self) -> None:
        image = self.controller.image
        self.image_combo.show_layer(image)
        if image is None:
            return
        metric = all(str(u) == "micrometer" for u in image.units)
        sizes = tuple(image.scale)[-3:] if metric else (1.0, 1.0, 1.0)
        for spin, size in zip(self.voxel_spins, sizes, strict=False):
            spin.setValue(float(size))
        self._show_busy()

    def _on_voxel_size(self) -> None:
        z, y, x = (spin.value() for spin in self.voxel_spins)
        image = self.controller.image
        if image is not None and tuple(image.scale)[-3:] != (z, y, x):
            self.controller.choose_voxel_size((z, y, x))

    def _show_method(self) -> None:
        row = self.method_combo.findData(self.controller.method)
        self.method_combo.setCurrentIndex(row)
        self.method_combo.setToolTip(missing(self.controller.choice))
        self.threshold_slider.blockSignals(True)
        self.threshold_slider.setValue(round(STEPS * self.controller.level))
        self.threshold_slider.blockSignals(False)
        self.smallest_spin.blockSignals(True)
        self.smallest_spin.setValue(self.controller.least)
        self.smallest_spin.blockSignals(False)
        self.threshold_label.setText(f"{self.controller.level:.2f}")

    def _on_threshold(self, value: int) -> None:
        self.controller.choose_threshold(value / STEPS)
        self.threshold_label.setText(f"{value / STEPS:.2f}")

    # --------------------------------------------------------------- actions
    def _try(self) -> None:
        height, width = self.viewer.canvas.size if hasattr(self.viewer, "canvas") else (600, 800)
        self.controller.try_visible((int(height), int(width)))

    def _restart(self) -> None:
        if self.controller.replacing:
            question = "Throw away what the earlier run made and begin anew?"
            if QMessageBox.question(self, "Begin anew", question) != QMessageBox.StandardButton.Yes:
                return
        self.controller.start(restart=True)

    def _export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Export table", "axons.csv", "Tables (*.csv *.parquet)"
        )
        if name:
            self.controller.export(Path(name))

    def _show_lengths(self) -> None:
        traced = self.controller.traced
        rows = traced.longest[:MOST_ROWS] if traced is not None else []
        self.lengths_table.setRowCount(len(rows))
        for row, (piece, length, branches) in enumerate(rows):
            for column, text in enumerate((str(piece), f"{length:,.1f}", str(branches))):
                self.lengths_table.setItem(row, column, QTableWidgetItem(text))
        self.lengths_table.setVisible(bool(rows))
        self.export_button.setEnabled(traced is not None)

    # ---------------------------------------------------------------- events
    def _show_busy(self) -> None:
        busy = self.controller.busy
        for button in (
            self.try_button,
            self.run_button,
            self.restart_button,
            self.trace_button,
        ):
            button.setEnabled(not busy and self.controller.image is not None)
        self.cancel_button.setEnabled(busy)
        self.progress_bar.setVisible(busy)
        word = "Resume the run" if self.controller.resumable else "Run the whole volume"
        self.run_button.setText(word)
        if busy:
            self._look.start()
        else:
            self._look.stop()
            self.progress_bar.reset()

    def _show_progress(self, done: int, total: int, text: str) -> None:
        self.progress_bar.setRange(0, total)
        self.progress_bar.setValue(done)
        self.progress_bar.setFormat(f"{text} %p %" if total else text)

    def _show_map(self) -> None:
        self.map_title.setVisible(self.controller.map is not None)
        self.map_view.show_map(self.controller.map)


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row


def _micrometres(axis: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setDecimals(4)
    spin.setRange(0.0001, 10_000)
    spin.setValue(1)
    spin.setToolTip(f"Voxel size along {axis} in micrometres")
    return spin
