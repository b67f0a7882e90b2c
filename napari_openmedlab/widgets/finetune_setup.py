"""What to fine-tune, from where, on what, how long, and where to."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.finetune.controller import FinetuneController
from napari_openmedlab.finetune.settings import EPOCHS
from napari_openmedlab.widgets.finetune_volumes import VolumesPanel
from napari_openmedlab.widgets.models import open_models
from napari_openmedlab.widgets.models_jobs import jobs
from napari_openmedlab.widgets.small import fill_width, show_sentence, wrapped_label

OWN, FILE, RANDOM = "its own weights", "a file …", "random weights"
EPOCHS_UNIT, STEPS_UNIT = "epochs", "updates"
MOST = 1_000_000


class SetupPanel(QWidget):
    """All that is chosen before a start, and the plan in words."""

    def __init__(self, controller: FinetuneController) -> None:
        super().__init__()
        self.controller = controller
        self.model_combo = QComboBox()
        self.model_detail = wrapped_label()
        self.weights_button = QPushButton("Get the weights …")
        self.start_combo = QComboBox()
        self.volumes = VolumesPanel(controller)
        self.few_shot_check = QCheckBox("few-shot: keep the encoder (about 5 volumes)")
        self.length_spin = QSpinBox()
        self.unit_combo = QComboBox()
        self.name_edit = QLineEdit()
        self.out_edit = QLineEdit()
        self.out_button = QPushButton("…")
        self.plan_label, self.lacking_label = wrapped_label(), wrapped_label()
        self._fill()
        self._lay_out()
        self._connect()
        self._show_models()
        self._show_plan()

    def _fill(self) -> None:
        for combo in (self.model_combo, self.start_combo):
            fill_width(combo)
        self.length_spin.setRange(1, MOST)
        self.length_spin.setValue(EPOCHS)
        self.length_spin.setKeyboardTracking(False)
        self.unit_combo.addItems([EPOCHS_UNIT, STEPS_UNIT])
        self.length_spin.setToolTip("At most: it ends early when nothing gets better")
        self.unit_combo.setToolTip("In an epoch every volume is looked at four times")

    def _lay_out(self) -> None:
        form, more = _form(), _form()
        form.addRow("model", self.model_combo)
        form.addRow(self.model_detail)
        form.addRow(self.weights_button)
        form.addRow("start from", self.start_combo)
        form.addRow(self.volumes)
        more.addRow(self.few_shot_check)
        more.addRow("at most", _row(self.length_spin, self.unit_combo))
        more.addRow("name", self.name_edit)
        more.addRow("output", _row(self.out_edit, self.out_button))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.setSpacing(6)
        column.addLayout(form)
        column.addLayout(more)
        column.addWidget(self.plan_label)
        column.addWidget(self.lacking_label)
        column.addStretch()

    def _connect(self) -> None:
        controller = self.controller
        self.model_combo.activated.connect(self._on_model)
        self.weights_button.clicked.connect(
            lambda: open_models(controller.viewer, controller.settings.model)
        )
        self.start_combo.activated.connect(self._on_start_from)
        self.few_shot_check.toggled.connect(lambda on: controller.change(few_shot=on))
        self.length_spin.valueChanged.connect(self._on_length)
        self.unit_combo.activated.connect(self._on_length)
        self.name_edit.editingFinished.connect(self._on_name)
        self.out_edit.editingFinished.connect(self._on_out)
        self.out_button.clicked.connect(self._choose_out)
        jobs.weights_changed.connect(controller.refresh_models)
        controller.models_changed.connect(self._show_models)
        controller.planned.connect(self._show_plan)

    # --------------------------------------------------------------- choices
    def _on_model(self) -> None:
        self.controller.change(model=self.model_combo.currentData(), weights=None, scratch=False)
        self._show_models()

    def _on_start_from(self) -> None:
        chosen, weights = self.start_combo.currentText(), None
        if chosen == FILE:
            kinds = "Weights (*.safetensors *.pth *.pt *.model);;All files (*)"
            name, _ = QFileDialog.getOpenFileName(self, "Start from", "", kinds)
            if not name:
                self._show_models()
                return
            weights = Path(name)
        elif chosen not in (OWN, RANDOM):
            return
        self.controller.change(weights=weights, scratch=chosen == RANDOM)
        self._show_models()

    def _on_length(self) -> None:
        length, in_steps = self.length_spin.value(), self.unit_combo.currentText() == STEPS_UNIT
        epochs = EPOCHS if in_steps else length
        self.controller.change(epochs=epochs, steps=length if in_steps else None)

    def _on_name(self) -> None:
        self.controller.change(name=self.name_edit.text().strip())

    def _on_out(self) -> None:
        text = self.out_edit.text().strip()
        self.controller.change(out=Path(text).expanduser() if text else None)

    def _choose_out(self) -> None:
        if name := QFileDialog.getExistingDirectory(self, "Output", self.out_edit.text()):
            self.out_edit.setText(name)
            self._on_out()

    # ------------------------------------------------------------------ show
    def _show_models(self) -> None:
        controller, settings = self.controller, self.controller.settings
        self.model_combo.clear()
        for name, offered in controller.models.items():
            state = "" if offered.state == "ready" else f" - {offered.state}"
            self.model_combo.addItem(f"{offered.card.title}{state}", name)
        self.model_combo.setCurrentIndex(self.model_combo.findData(settings.model))
        model = controller.models.get(settings.model)
        self.start_combo.clear()
        self.start_combo.addItems([OWN, FILE, *([RANDOM] if model and model.scratch else [])])
        chosen = RANDOM if settings.scratch else OWN
        if settings.weights is not None:
            chosen = settings.weights.name
            self.start_combo.insertItem(0, chosen)
        self.start_combo.setCurrentText(chosen)
        waits = model is not None and model.state != "ready" and chosen == OWN
        self.model_detail.setText(f"{model.state}: {model.detail}" if model and waits else "")
        self.model_detail.setVisible(waits)
        self.weights_button.setVisible(bool(model and waits and model.state == "needs weights"))

    def _show_plan(self) -> None:
        controller, settings = self.controller, self.controller.settings
        self.name_edit.setPlaceholderText(settings.called)
        self.out_edit.setPlaceholderText(str(settings.target or "beside the volumes"))
        if settings.out is None:
            self.out_edit.clear()
        text = "Planning …" if controller.cohort is not None else ""
        if controller.ready is not None:
            text = controller.ready.text
        elif controller.lacking:
            text = ""
        show_sentence(self.plan_label, text, False)
        show_sentence(self.lacking_label, controller.lacking, True)

    def close_events(self) -> None:
        """Let go of the weights store."""
        jobs.weights_changed.disconnect(self.controller.refresh_models)


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    form.setVerticalSpacing(4)
    return form


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for k, widget in enumerate(widgets):
        row.addWidget(widget, int(k == 0))
    return row
