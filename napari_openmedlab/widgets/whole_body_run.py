"""Which image, which model, and the run itself."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Layer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.layers.geometry import check_image
from napari_openmedlab.whole_body.controller import WholeBodyController
from napari_openmedlab.widgets.layer_combo import LayerCombo
from napari_openmedlab.widgets.models import open_models
from napari_openmedlab.widgets.models_jobs import jobs
from napari_openmedlab.widgets.small import fill_width, timer, wrapped_label
from openmedlab.core import InputError

PREVIEW_MS = 250


class LabelPanel(QWidget):
    """Choosers of image and model."""

    def __init__(self, controller: WholeBodyController) -> None:
        super().__init__()
        self.controller = controller
        self.image_combo = LayerCombo(controller.viewer, Image)
        self.image_combo.setToolTip("The CT to label: a volume of one channel")
        self.model_combo = QComboBox()
        fill_width(self.model_combo)
        self.detail = wrapped_label()
        self.weights_button = QPushButton("Get the weights …")
        self.fast_check = QCheckBox("fast: work at 3 mm, small structures suffer")
        self._soon = timer(self, self._choose_first, once=True)
        self._lay_out()
        self._connect()
        self._show_methods()
        self._choose_first()

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setVerticalSpacing(4)
        form.addRow("image", self.image_combo)
        form.addRow("model", self.model_combo)
        form.addRow(self.detail)
        form.addRow(self.weights_button)
        form.addRow("", self.fast_check)

    def _connect(self) -> None:
        controller = self.controller
        self.image_combo.chosen.connect(controller.choose_image)
        self.model_combo.activated.connect(self._on_model)
        self.fast_check.toggled.connect(self._on_fast)
        self.weights_button.clicked.connect(
            lambda: open_models(controller.viewer, controller.method)
        )
        jobs.weights_changed.connect(controller.refresh_methods)
        controller.methods_changed.connect(self._show_methods)
        controller.viewer.layers.events.inserted.connect(self._choose_soon)

    def _choose_soon(self, event: Any) -> None:
        """Wait until all of napari has seen the new layer."""
        if self.controller.image is None:
            self._soon.start()

    def _choose_first(self) -> None:
        """Take the first volume by itself, as long as none was chosen."""
        if self.controller.image is not None:
            return
        for layer in self.controller.viewer.layers:
            if _is_volume(layer):
                self.controller.choose_image(layer)
                self.image_combo.show_layer(layer)
                return

    def _on_model(self) -> None:
        self.controller.choose_method(self.model_combo.currentData())

    def _on_fast(self, on: bool) -> None:
        self.controller.fast = on

    def _show_methods(self) -> None:
        controller = self.controller
        self.model_combo.clear()
        for name, offered in controller.methods.items():
            state = "" if offered.state == "ready" else f" - {offered.state}"
            self.model_combo.addItem(f"{offered.title}{state}", name)
        self.model_combo.setCurrentIndex(self.model_combo.findData(controller.method))
        offered = controller.offered
        self.detail.setText(f"{offered.state}: {offered.detail}")
        self.detail.setVisible(offered.state != "ready")
        self.weights_button.setVisible(offered.state == "needs weights")

    def close_events(self) -> None:
        """Let go of the viewer and the weights store."""
        self.controller.viewer.layers.events.inserted.disconnect(self._choose_soon)
        jobs.weights_changed.disconnect(self.controller.refresh_methods)
        self.image_combo.close_events()


class ProgressPanel(QWidget):
    """Run, progress, cancel; finished regions are shown while it goes on."""

    def __init__(self, controller: WholeBodyController) -> None:
        super().__init__()
        self.controller = controller
        self.run_button = QPushButton("Run")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop; what is finished is kept")
        self.progress_bar = QProgressBar()
        self.progress_bar.setTextVisible(True)
        self._pulse = timer(self, self._look, PREVIEW_MS, once=False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.run_button)
        row = QHBoxLayout()
        row.addWidget(self.progress_bar, 1)
        row.addWidget(self.cancel_button)
        column.addLayout(row)
        self.cancel_button.clicked.connect(lambda: controller.cancel())
        controller.busy_changed.connect(self._show_busy)
        self._show_busy(False)

    def _show_busy(self, busy: bool) -> None:
        self.run_button.setEnabled(not busy)
        self.progress_bar.setVisible(busy)
        self.cancel_button.setVisible(busy)
        if busy:
            self._look()
            self._pulse.start()
        else:
            self._pulse.stop()

    def _look(self) -> None:
        """Show the newest report, and the regions finished since the last look."""
        self.controller.preview()
        run = self.controller.run
        if run is not None:
            report = run.report
            self.progress_bar.setRange(0, report.total)
            self.progress_bar.setValue(report.done)
            self.progress_bar.setFormat(report.text or "%p %")


def _is_volume(layer: Layer) -> bool:
    if not isinstance(layer, Image) or layer.ndim != 3:
        return False
    try:
        check_image(layer)
    except InputError:
        return False
    return True
