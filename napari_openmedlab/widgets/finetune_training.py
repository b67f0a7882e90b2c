"""A training as it goes, and what came of it."""

from __future__ import annotations

import math

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.finetune.controller import FinetuneController
from napari_openmedlab.finetune.use import can_be_stored, place_of
from napari_openmedlab.widgets.loss_plot import LossPlot
from napari_openmedlab.widgets.small import timer, wrapped_label

LOOK_MS = 300
COLUMNS = ("label", "Dice before", "Dice after")
ROW = 22
MOST_ROWS = 8


class TrainingPanel(QWidget):
    """The curve, how far it is, and at the end Dice, weights and the way to use them."""

    def __init__(self, controller: FinetuneController) -> None:
        super().__init__()
        self.controller = controller
        self.progress_label = wrapped_label("Nothing was trained yet.")
        self.plot = LossPlot()
        self.dice_table = QTableWidget(0, len(COLUMNS))
        self.files_label = wrapped_label()
        self.use_button = QPushButton("Use it")
        self.folder_button = QPushButton("Open the folder")
        self._look = timer(self, self._show_training, LOOK_MS, once=False)
        self._lay_out()
        self.use_button.clicked.connect(lambda: controller.store())
        self.folder_button.clicked.connect(self._open_folder)
        controller.busy_changed.connect(self._show_busy)
        self._show_busy()

    def _lay_out(self) -> None:
        self.dice_table.setHorizontalHeaderLabels(COLUMNS)
        self.dice_table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        header, numbers = self.dice_table.horizontalHeader(), self.dice_table.verticalHeader()
        assert header is not None
        assert numbers is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        numbers.hide()
        self.files_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        row.addWidget(self.use_button)
        row.addWidget(self.folder_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.progress_label)
        column.addWidget(self.plot, 1)
        column.addWidget(self.dice_table)
        column.addWidget(self.files_label)
        column.addLayout(row)

    def _show_busy(self) -> None:
        if self.controller.busy:
            self._look.start()
        else:
            self._look.stop()
        self._show_training()
        self._show_result()

    def _show_training(self) -> None:
        training = self.controller.training
        self.plot.setVisible(training is not None)
        if training is not None:
            self.progress_label.setText(str(training))
            self.plot.show_points(training.points, training.plan.schedule.steps)
        self.progress_label.setVisible(training is None or self.controller.busy)

    def _show_result(self) -> None:
        result, training = self.controller.result, self.controller.training
        for part in (self.dice_table, self.files_label, self.use_button, self.folder_button):
            part.setVisible(result is not None)
        if result is None or training is None:
            return
        rows = [(name, result.before[name], dice) for name, dice in result.after.items()]
        self.dice_table.setRowCount(len(rows))
        for k, (name, *dice) in enumerate(rows):
            for column, text in enumerate((name, *map(_number, dice))):
                self.dice_table.setItem(k, column, QTableWidgetItem(text))
            self.dice_table.setRowHeight(k, ROW)
        self.dice_table.setFixedHeight(ROW * (min(len(rows), MOST_ROWS) + 1) + 8)
        card, files = training.plan.card, f"weights: {result.weights}\ncard: {result.card}"
        stored = can_be_stored(card)
        if not stored:
            files += (
                f"\nuse it with: openmedlab segment IMAGE --method {card.name} --weights "
                f"{result.weights} -o OUT"
            )
        self.files_label.setText(files)
        self.use_button.setText(f"Use in {place_of(training.plan.family.task)}")
        self.use_button.setVisible(stored)

    def _open_folder(self) -> None:
        if self.controller.result is not None:
            folder = self.controller.result.weights.parent
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))


def _number(dice: float) -> str:
    return f"{dice:.3f}" if math.isfinite(dice) else "-"
