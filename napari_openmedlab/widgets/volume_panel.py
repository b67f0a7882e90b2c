"""Which volume, which labels, and what to do with an earlier session."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab import journals
from napari_openmedlab.controller import SegmentController
from napari_openmedlab.layers.geometry import check_image
from napari_openmedlab.widgets.layer_combo import LayerCombo
from napari_openmedlab.widgets.small import timer, wrapped_label
from openmedlab.core import InputError

NEW_LABELS = "new labels"


class Bar(QFrame):
    """A sentence with buttons, shown when there is something to decide."""

    def __init__(self, *buttons: QPushButton) -> None:
        super().__init__()
        self.setObjectName("openmedlab-bar")
        self.setStyleSheet("#openmedlab-bar { border: 1px solid #b58900; border-radius: 4px; }")
        self.text = wrapped_label()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(4)
        layout.addWidget(self.text)
        row = QHBoxLayout()
        for button in buttons:
            row.addWidget(button)
        layout.addLayout(row)
        self.hide()


class VolumePanel(QWidget):
    """Volume and labels choosers with the bars for restoring."""

    def __init__(self, viewer: ViewerModel, controller: SegmentController) -> None:
        super().__init__()
        self.controller = controller
        self.viewer = viewer
        self.volume_combo = LayerCombo(viewer, Image)
        self.volume_combo.setToolTip("The image layer to segment: 3-D, or one 2-D slice")
        self.labels_combo = LayerCombo(viewer, Labels, NEW_LABELS)
        self.labels_combo.setToolTip("Where the masks go: a new layer, or one to continue in")
        self.restore_button = QPushButton("Restore")
        self.start_new_button = QPushButton("Start new")
        self.bring_back_button = QPushButton("Bring the label layer back")
        self.restore_bar = Bar(self.restore_button, self.start_new_button)
        self.labels_bar = Bar(self.bring_back_button)
        self.labels_bar.text.setText("The label layer was deleted; the masks are kept.")
        self._soon = timer(self, self._choose_first, once=True)
        self._lay_out()
        self._connect()
        self._choose_first()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("volume", self.volume_combo)
        form.addRow("labels", self.labels_combo)
        layout.addLayout(form)
        layout.addWidget(self.restore_bar)
        layout.addWidget(self.labels_bar)

    def _connect(self) -> None:
        controller = self.controller
        self.volume_combo.chosen.connect(lambda layer: controller.open(layer))
        self.labels_combo.chosen.connect(self._choose_labels)
        self.restore_button.clicked.connect(lambda: controller.restore())
        self.start_new_button.clicked.connect(lambda: controller.start_new())
        self.bring_back_button.clicked.connect(lambda: controller.bring_back_labels())
        controller.opened.connect(self._show_choice)
        controller.labels_changed.connect(self._show_choice)
        controller.told.connect(self._show_choice_after_error)
        controller.journal_found.connect(self._show_journal)
        self.viewer.layers.events.inserted.connect(self._choose_soon)

    def _choose_soon(self, event: Any) -> None:
        """Wait until all of napari has seen the new layer before adding more."""
        if self.controller.workspace is None:
            self._soon.start()

    def _choose_first(self) -> None:
        """Open the first usable image by itself, as long as none is open."""
        if self.controller.workspace is not None:
            return
        for layer in self.viewer.layers:
            if isinstance(layer, Image) and _usable(layer):
                self.controller.open(layer)
                return

    def _choose_labels(self, layer: Layer | None) -> None:
        image = self.volume_combo.layer()
        if image is not None:
            self.controller.open(image, layer, fresh=layer is None)

    def _show_choice(self) -> None:
        workspace = self.controller.workspace
        if workspace is None:
            self.labels_combo.show_layer(None)
            self.labels_bar.hide()
            return
        self.volume_combo.show_layer(workspace.image)
        self.labels_combo.show_layer(workspace.labels)
        self.labels_bar.setVisible(workspace.labels is None)

    def _show_choice_after_error(self, text: str, error: bool) -> None:
        if error:
            self._show_choice()

    def _show_journal(self) -> None:
        waiting = self.controller.waiting
        self.restore_bar.setVisible(waiting is not None)
        if waiting is not None:
            when = journals.written(waiting)
            self.restore_bar.text.setText(f"There is work on this volume from {when}.")

    def close_events(self) -> None:
        """Let go of the viewer."""
        self.viewer.layers.events.inserted.disconnect(self._choose_soon)
        self.volume_combo.close_events()
        self.labels_combo.close_events()


def _usable(layer: Image) -> bool:
    try:
        check_image(layer)
    except InputError:
        return False
    return True
