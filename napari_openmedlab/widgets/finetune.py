"""The *Fine-tune* dock widget: a published model learns the user's own labelled volumes."""

from __future__ import annotations

from functools import partial

import napari
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
)

from napari_openmedlab.finetune.controller import FinetuneController
from napari_openmedlab.finetune.use import open_with
from napari_openmedlab.widgets.dock import Dock
from napari_openmedlab.widgets.finetune_setup import SetupPanel
from napari_openmedlab.widgets.finetune_training import TrainingPanel
from napari_openmedlab.widgets.small import timer

LOOK_MS = 300
SET_UP, TRAINING = range(2)


class FinetuneWidget(Dock):
    """Model, volumes and plan; the training with its curve; the way to use the result.

    Parameters
    ----------
    viewer
        The viewer whose layers may become volumes to learn from.

    Attributes
    ----------
    controller
        Does the work; scripts may call it directly.
    setup, training, tabs
        The choosers with the plan (`SetupPanel`), and the curve with the result
        (`TrainingPanel`).
    start_button, restart_button, cancel_button, progress_bar
        The run.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.controller = FinetuneController(viewer)
        self.setup = SetupPanel(self.controller)
        self.training = TrainingPanel(self.controller)
        self.tabs = QTabWidget()
        self.start_button = QPushButton("Start")
        self.restart_button = QPushButton("Begin anew")
        self.cancel_button = QPushButton("Cancel")
        self.progress_bar = QProgressBar()
        self._look = timer(self, self._show_progress, LOOK_MS, once=False)
        self._lay_out()
        self._connect()
        self.end_with(self.setup.close_events, self.controller.close)
        self._show_busy()

    def _lay_out(self) -> None:
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self.setup)
        self.tabs.addTab(scroll, "Set up")
        self.tabs.addTab(self.training, "Training")
        self.restart_button.setToolTip("Throw away what an earlier training left in the folder")
        self.cancel_button.setToolTip("Stop after this update; the next start goes on from there")
        row = QHBoxLayout()
        for button in (self.start_button, self.restart_button, self.cancel_button):
            row.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        column.addWidget(self.tabs, 1)
        column.addLayout(row)
        column.addWidget(self.progress_bar)
        column.addWidget(self.status_label)
        self.setMinimumWidth(400)

    def _connect(self) -> None:
        controller = self.controller
        self.start_button.clicked.connect(lambda: controller.start())
        self.restart_button.clicked.connect(self._restart)
        self.cancel_button.clicked.connect(lambda: controller.cancel())
        controller.told.connect(self.tell)
        controller.planned.connect(self._show_start)
        controller.busy_changed.connect(self._show_busy)
        controller.stored.connect(partial(open_with, controller.viewer))

    def _restart(self) -> None:
        question = "Throw away what was learned in this folder and begin anew?"
        if QMessageBox.question(self, "Begin anew", question) == QMessageBox.StandardButton.Yes:
            self.controller.start(restart=True)

    def _show_start(self) -> None:
        controller = self.controller
        stopped = controller.ready.stopped if controller.ready is not None else None
        self.start_button.setEnabled(controller.can_start)
        self.start_button.setText("Start" if stopped is None else f"Go on from {stopped.step}")
        self.restart_button.setVisible(stopped is not None)
        self.restart_button.setEnabled(controller.can_start)

    def _show_busy(self) -> None:
        busy = self.controller.busy
        self.setup.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        self.progress_bar.setVisible(busy)
        if busy:
            self.tabs.setCurrentIndex(TRAINING)
            self._look.start()
        else:
            self._look.stop()
        self._show_start()
        self._show_progress()

    def _show_progress(self) -> None:
        training = self.controller.training
        if training is not None:
            self.progress_bar.setRange(0, training.total)
            self.progress_bar.setValue(training.done)
