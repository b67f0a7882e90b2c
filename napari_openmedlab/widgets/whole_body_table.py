"""The table of measures and the list of warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QAbstractItemView,
    QListWidget,
    QListWidgetItem,
    QTableWidget,
    QTableWidgetItem,
)

from napari_openmedlab.widgets.whole_body_tree import spoken
from openmedlab.labeling.statistics import LabelStatistics
from openmedlab.labeling.warnings import LabelWarning

HEADERS = (
    "structure", "ml", "mean HU", "SD", "L mm", "P mm", "S mm", "border", "changed",
)  # fmt: skip
TIPS = (
    "Double-click a row: go to the centre of the structure",
    "Volume",
    "Mean of the image inside",
    "Standard deviation of the image inside",
    "Centroid, to the patient's left",
    "Centroid, to the patient's back",
    "Centroid, to the patient's head",
    "Whether a face of the volume may cut the structure off",
    "Voxels gained and lost by hand and clicks",
)
WIDTHS = (170, 68, 66, 52, 58, 58, 58, 54, 92)
STRUCTURE, ML = 0, 1
NO_WARNINGS = "Nothing that deserves a second look was found."
ROW = 22
NUMBER = Qt.ItemDataRole.UserRole


class _Cell(QTableWidgetItem):
    """A cell that sorts by a value instead of its text."""

    def __init__(self, text: str, value: float | str) -> None:
        super().__init__(text)
        self._value = value
        if not isinstance(value, str):
            self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        theirs = other._value if isinstance(other, _Cell) else ""
        if isinstance(self._value, str) or isinstance(theirs, str):
            return str(self._value) < str(theirs)
        return self._value < theirs


class MeasuresTable(QTableWidget):
    """One row for each structure found; a click on a header sorts.

    Notes
    -----
    Signals: ``chosen(int)`` a row was selected, by label number; ``place_wanted(int)`` it was
    double-clicked.
    """

    chosen = Signal(int)
    place_wanted = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, len(HEADERS))
        self.setHorizontalHeaderLabels(HEADERS)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        side, header = self.verticalHeader(), self.horizontalHeader()
        assert side is not None
        assert header is not None
        side.hide()
        side.setDefaultSectionSize(ROW)
        header.setSortIndicator(STRUCTURE, Qt.SortOrder.AscendingOrder)
        for column, (width, tip) in enumerate(zip(WIDTHS, TIPS, strict=True)):
            self.setColumnWidth(column, width)
            head = self.horizontalHeaderItem(column)
            assert head is not None
            head.setToolTip(tip)
        self.currentCellChanged.connect(lambda row, *_: self.chosen.emit(self.number(row)))
        self.cellDoubleClicked.connect(lambda row, _: self.place_wanted.emit(self.number(row)))

    def number(self, row: int) -> int:
        """Return the label number of a row; 0 where there is none."""
        item = self.item(row, STRUCTURE)
        return int(item.data(NUMBER)) if item is not None else 0

    def fill(
        self,
        rows: Sequence[LabelStatistics],
        counts: Mapping[int, tuple[int, int]],
        icons: Mapping[int, QIcon],
    ) -> None:
        """Show the measures, in the order that the user chose."""
        current = self.number(self.currentRow())
        self.blockSignals(True)
        self.setSortingEnabled(False)
        self.setRowCount(len(rows))
        for at, row in enumerate(rows):
            for column, cell in enumerate(_cells(row, counts.get(row.number, (0, 0)))):
                self.setItem(at, column, cell)
            first = self.item(at, STRUCTURE)
            assert first is not None
            first.setData(NUMBER, row.number)
            first.setIcon(icons[row.number])
        self.setSortingEnabled(True)
        self.select(current)
        self.blockSignals(False)

    def select(self, number: int) -> None:
        """Select a structure by number, without a signal."""
        before = self.blockSignals(True)
        rows = [row for row in range(self.rowCount()) if self.number(row) == number]
        self.setCurrentCell(rows[0] if rows else -1, STRUCTURE)
        self.blockSignals(before)


def _cells(row: LabelStatistics, changed: tuple[int, int]) -> list[_Cell]:
    gained, lost = changed
    told = f"+{gained:,} −{lost:,}" if gained or lost else ""
    numbers = (row.ml, row.mean, row.sd, *row.centroid)
    return [
        _Cell(spoken(row.name), row.name),
        *(_Cell(_figure(v), -math.inf if math.isnan(v) else v) for v in numbers),
        _Cell("yes" if row.touches_border else "", "yes" if row.touches_border else "no"),
        _Cell(told, gained + lost),
    ]


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.1f}"


class WarningList(QListWidget):
    """Sentences about what deserves a second look.

    Notes
    -----
    Signals: ``chosen(str)`` and ``place_wanted(str)`` with the name of the structure.
    """

    chosen = Signal(str)
    place_wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setAlternatingRowColors(True)
        self.currentItemChanged.connect(self._on_current)
        self.itemDoubleClicked.connect(lambda item: self.place_wanted.emit(item.data(NUMBER)))

    def _on_current(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.chosen.emit(item.data(NUMBER))

    def fill(self, warnings: Sequence[LabelWarning], measured: bool) -> None:
        """Show warnings; where there are none, say so once all was ``measured``."""
        self.blockSignals(True)
        self.clear()
        if measured and not warnings:
            item = QListWidgetItem(NO_WARNINGS)
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            self.addItem(item)
        for warning in warnings:
            item = QListWidgetItem(f"⚠  {spoken(warning.text)}")
            item.setData(NUMBER, warning.name)
            self.addItem(item)
        self.blockSignals(False)
