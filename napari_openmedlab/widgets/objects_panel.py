"""The object list: number, name, colour, lock, visible."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.controller import SegmentController
from openmedlab.core import LabelObject

SHOWN, COLOR, NUMBER, NAME, LOCKED = range(5)
HEADERS = ("show", "", "no.", "name", "lock")
WIDTHS = {SHOWN: 40, COLOR: 26, NUMBER: 32, LOCKED: 38}
ROW = 24


class ObjectsPanel(QWidget):
    """Table of the session's objects with buttons to add and remove."""

    def __init__(self, controller: SegmentController) -> None:
        super().__init__()
        self.controller = controller
        self._filling = False
        self.table = QTableWidget(0, len(HEADERS))
        self.add_button = QPushButton("Add object")
        self.remove_button = QPushButton("Remove")
        self._set_up_table()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.table)
        row = QHBoxLayout()
        row.addWidget(self.add_button)
        row.addWidget(self.remove_button)
        layout.addLayout(row)
        self.add_button.clicked.connect(self._add)
        self.remove_button.clicked.connect(self._remove)
        self.table.itemChanged.connect(self._on_item)
        self.table.cellClicked.connect(self._on_click)
        self.table.currentCellChanged.connect(self._on_row)
        controller.objects_changed.connect(self.refresh)
        self.refresh()

    def _set_up_table(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(HEADERS)
        header, side = table.horizontalHeader(), table.verticalHeader()
        assert header is not None
        assert side is not None
        side.hide()
        side.setDefaultSectionSize(ROW)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setShowGrid(False)
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column, width in WIDTHS.items():
            table.setColumnWidth(column, width)

    def refresh(self) -> None:
        """Show the objects of the current session."""
        workspace = self.controller.workspace
        objects = workspace.session.objects if workspace is not None else ()
        self._filling = True
        self.table.setRowCount(len(objects))
        for row, obj in enumerate(objects):
            self._fill(row, obj)
            if workspace is not None and obj.number == workspace.current:
                self.table.setCurrentCell(row, NAME)
        self._filling = False
        self.table.setFixedHeight(ROW * (min(max(len(objects), 2), 5) + 1) + 8)
        self.setEnabled(workspace is not None)

    def _fill(self, row: int, obj: LabelObject) -> None:
        checks = {SHOWN: obj.visible, LOCKED: obj.locked}
        tips = {
            SHOWN: "Show this object's mask",
            COLOR: "Click to choose another colour",
            NAME: "Double-click to rename",
            LOCKED: "Locked: no method changes it",
        }
        for column in range(len(HEADERS)):
            item = QTableWidgetItem()
            item.setToolTip(tips.get(column, "Label number"))
            flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
            if column in checks:
                flags |= Qt.ItemFlag.ItemIsUserCheckable
                state = Qt.CheckState.Checked if checks[column] else Qt.CheckState.Unchecked
                item.setCheckState(state)
            item.setFlags(flags | Qt.ItemFlag.ItemIsEditable if column == NAME else flags)
            self.table.setItem(row, column, item)
        self._item(row, COLOR).setData(Qt.ItemDataRole.DecorationRole, QColor.fromRgbF(*obj.color))
        self._item(row, NUMBER).setText(str(obj.number))
        self._item(row, NAME).setText(obj.name)

    def _item(self, row: int, column: int) -> QTableWidgetItem:
        item = self.table.item(row, column)
        assert item is not None
        return item

    def _number(self, row: int) -> int:
        return int(self._item(row, NUMBER).text())

    def _add(self) -> None:
        if self.controller.workspace is not None:
            self.controller.workspace.add_object()

    def _remove(self) -> None:
        workspace = self.controller.workspace
        if workspace is not None:
            workspace.remove_object(workspace.current)

    def _on_row(self, row: int, *_: int) -> None:
        if not self._filling and row >= 0 and self.controller.workspace is not None:
            self.controller.workspace.select(self._number(row))

    def _on_click(self, row: int, column: int) -> None:
        workspace = self.controller.workspace
        if column != COLOR or workspace is None:
            return
        obj = workspace.session.object(self._number(row))
        color = QColorDialog.getColor(QColor.fromRgbF(*obj.color), self, f"Colour of {obj.name}")
        if color.isValid():
            workspace.session.update_object(obj.number, color=color.getRgbF()[:3])

    def _on_item(self, item: QTableWidgetItem) -> None:
        workspace = self.controller.workspace
        if self._filling or workspace is None:
            return
        number = self._number(item.row())
        checked = item.checkState() == Qt.CheckState.Checked
        changes: dict[int, dict[str, Any]] = {
            SHOWN: {"visible": checked},
            LOCKED: {"locked": checked},
            NAME: {"name": item.text().strip() or f"object {number}"},
        }
        if item.column() in changes:
            workspace.session.update_object(number, **changes[item.column()])
