"""Method, policy, running and cancelling, and what came of it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.controller import SegmentController
from napari_openmedlab.tools import CANCEL_KEY, COMMAND_KEYS
from napari_openmedlab.widgets.models import open_models
from napari_openmedlab.widgets.models_jobs import jobs
from napari_openmedlab.widgets.place_panel import PlacePanel
from napari_openmedlab.widgets.small import fill_width, timer, wrapped_label
from napari_openmedlab.workspace import Workspace
from openmedlab.core import LabelPolicy, PolicyMode
from openmedlab.engine import Answer
from openmedlab.io import label_suffixes

POLICY_TIPS = {
    PolicyMode.REPLACE_OWN: "The new mask replaces the object's old one; neighbours are protected",
    PolicyMode.ONLY_BACKGROUND: "Adds to background only; takes nothing away",
    PolicyMode.PROTECT_LIST: "Protects the listed labels; others may be taken over",
    PolicyMode.ONLY_INSIDE: "Changes only voxels of the listed labels (or its own)",
    PolicyMode.ALLOW_OVERLAP: "The newest mask wins everywhere",
}
PROGRESS_MS = 150
LISTED = (PolicyMode.PROTECT_LIST, PolicyMode.ONLY_INSIDE)


class MethodPanel(QWidget):
    """Method chooser with the state of its weights, and the label policy."""

    def __init__(self, controller: SegmentController) -> None:
        super().__init__()
        self.controller = controller
        self.place = PlacePanel(controller)
        self.method_combo = QComboBox()
        self.detail = wrapped_label()
        self.weights_button = QPushButton("Get the weights …")
        self.policy_combo = QComboBox()
        self.policy_list = QLineEdit()
        self.policy_list.setPlaceholderText("label numbers, e.g. 2, 5")
        for mode in PolicyMode:
            self.policy_combo.addItem(mode.value, mode)
            self.policy_combo.setItemData(
                self.policy_combo.count() - 1, POLICY_TIPS[mode], Qt.ItemDataRole.ToolTipRole
            )
        self._lay_out()
        self.method_combo.activated.connect(self._on_method)
        self.weights_button.clicked.connect(self._get_weights)
        jobs.weights_changed.connect(self._on_weights)
        self.policy_combo.activated.connect(self._on_policy)
        self.policy_list.editingFinished.connect(self._on_policy)
        controller.policy_changed.connect(self._show_policy)
        controller.place_changed.connect(self._show_method)
        controller.method_changed.connect(self._show_method)
        self._show_method()
        self._show_policy()

    def _lay_out(self) -> None:
        for combo in (self.method_combo, self.policy_combo):
            fill_width(combo)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setVerticalSpacing(4)
        form.addRow("run on", self.place)
        form.addRow("method", self.method_combo)
        form.addRow(self.detail)
        form.addRow(self.weights_button)
        form.addRow("policy", self.policy_combo)
        form.addRow(self.policy_list)

    def _on_method(self) -> None:
        self.controller.runner.refresh_methods()
        self.controller.choose_method(self.method_combo.currentData())
        self._show_method()

    def _show_method(self) -> None:
        runner = self.controller.runner
        self.method_combo.clear()
        for name, known in runner.methods.items():
            state = "" if known.state == "ready" else f" - {known.state}"
            self.method_combo.addItem(f"{known.method.title}{state}", name)
        self.method_combo.setCurrentIndex(self.method_combo.findData(runner.method))
        offered = runner.methods[runner.method]
        self.detail.setText("" if runner.ready else f"{offered.state}: {offered.detail}")
        self.detail.setVisible(not runner.ready)
        here = not runner.place.is_remote
        self.weights_button.setVisible(offered.state == "needs weights" and here)

    def _get_weights(self) -> None:
        """Open the Models widget at the model; in a terminal the same has a command."""
        name = self.controller.runner.method
        self.controller.told.emit(f"In a terminal: openmedlab models fetch {name}", False)
        open_models(self.controller.viewer, name)

    def _on_weights(self, name: str) -> None:
        """Take up weights that came or went; a method that became ready runs at once."""
        runner = self.controller.runner
        runner.refresh_methods(name)
        self._show_method()
        if name == runner.method and self.controller.auto_run:
            self.controller.run_stale()

    def close_events(self) -> None:
        """Let go of the weights store."""
        jobs.weights_changed.disconnect(self._on_weights)

    def _on_policy(self) -> None:
        mode = self.policy_combo.currentData()
        text = self.policy_list.text().replace(",", " ").split()
        if not all(word.isdecimal() for word in text):
            self.controller.told.emit("The list takes label numbers, e.g. 2, 5.", True)
            self._show_policy()
            return
        listed = frozenset(int(word) for word in text) if mode in LISTED else frozenset()
        self.controller.policy = LabelPolicy(mode, listed)
        self._show_policy()

    def _show_policy(self) -> None:
        policy = self.controller.policy
        self.policy_combo.setCurrentIndex(self.policy_combo.findData(policy.mode))
        self.policy_combo.setToolTip(POLICY_TIPS[policy.mode])
        self.policy_list.setVisible(policy.mode in LISTED)
        self.policy_list.setText(", ".join(str(n) for n in sorted(policy.labels)))


class RunPanel(QWidget):
    """Run, cancel, progress, the four times, the method that made the mask, and saving."""

    def __init__(self, controller: SegmentController) -> None:
        super().__init__()
        self.controller = controller
        self.auto_run_check = QCheckBox("run after every prompt")
        self.auto_run_check.setChecked(controller.auto_run)
        self.run_button = QPushButton("Run")
        self.run_button.setToolTip(f"Run the method ({COMMAND_KEYS['run']})")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip(f"Stop what runs ({CANCEL_KEY})")
        self.progress_bar = QProgressBar()
        self.progress_bar.setTextVisible(True)
        self._report = (0, 1, "ready")
        self._repaint = timer(self, self._show_report, PROGRESS_MS, once=False)
        self.made_label = wrapped_label()
        self.times_label = wrapped_label()
        self.save_button = QPushButton("Save masks …")
        self._lay_out()
        self._connect()
        self._show_busy(False)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        top, middle = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.auto_run_check, 1)
        top.addWidget(self.run_button)
        middle.addWidget(self.progress_bar, 1)
        middle.addWidget(self.cancel_button)
        layout.addLayout(top)
        layout.addLayout(middle)
        layout.addWidget(self.made_label)
        layout.addWidget(self.times_label)
        layout.addWidget(self.save_button)

    def _connect(self) -> None:
        controller, runner = self.controller, self.controller.runner
        self.auto_run_check.toggled.connect(self._on_auto)
        self.run_button.clicked.connect(lambda: controller.run())
        self.cancel_button.clicked.connect(lambda: runner.cancel())
        self.save_button.clicked.connect(self._save)
        runner.busy_changed.connect(self._show_busy)
        runner.progressed.connect(self._note_report)
        runner.answered.connect(self._show_answer)
        controller.opened.connect(self._on_opened)
        self._on_opened()

    def _on_opened(self) -> None:
        self.setEnabled(self.controller.workspace is not None)
        for label in (self.made_label, self.times_label):
            label.clear()
            label.hide()

    def _on_auto(self, on: bool) -> None:
        self.controller.auto_run = on

    def _show_busy(self, busy: bool) -> None:
        self.cancel_button.setEnabled(busy)
        self._report = (0, 1, "running …" if busy else "ready")
        if busy:
            self._repaint.start()
        else:
            self._repaint.stop()
        self._show_report()

    def _note_report(self, done: int, total: int, text: str) -> None:
        self._report = (done, max(total, 1), text or "%p %")

    def _show_report(self) -> None:
        """Show the newest report; each one repaints the whole window, hence the timer."""
        done, total, text = self._report
        self.progress_bar.setFormat(text)
        self.progress_bar.setRange(0, total)
        self.progress_bar.setValue(done)

    def _show_answer(self, workspace: Workspace, answer: Answer) -> None:
        if workspace is not self.controller.workspace:
            return
        name = workspace.session.object(answer.number).name
        given = ", ".join(answer.patch.given)
        self.made_label.setText(
            f"<b>{name}</b> by <b>{answer.patch.method}</b>" + (f" from {given}" if given else "")
        )
        self.times_label.setText(str(answer.timings))
        self.made_label.show()
        self.times_label.show()
        self.times_label.setToolTip("Waiting, preparing, inferring, and writing the mask")

    def _save(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in label_suffixes())
        name, _ = QFileDialog.getSaveFileName(
            self, "Save masks", "mask.nii.gz", f"Labels ({kinds})"
        )
        if name:
            self.controller.save(Path(name))
