"""The two lists of the *Localize* widget: templates to look for, organs that were found."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QListWidget,
    QListWidgetItem,
    QTableWidget,
    QTableWidgetItem,
)

from napari_openmedlab.found import DONE, LOW, SURE, FoundOrgan
from napari_openmedlab.localizing import LocalizeController

ORGAN_ROLE = Qt.ItemDataRole.UserRole
GREY = "#8a8f98"


class TemplateList(QListWidget):
    """Organs of the library with the number of their templates; the ticked ones are wanted."""

    def __init__(self, controller: LocalizeController) -> None:
        super().__init__()
        self.controller = controller
        self.setToolTip("Ticked organs are looked for")
        controller.library_changed.connect(self._fill)
        self.itemChanged.connect(self._on_tick)
        self._fill()

    def _fill(self) -> None:
        library = self.controller.library
        self.blockSignals(True)
        self.clear()
        if library is None:
            hint = QListWidgetItem("Choose a template library")
            hint.setFlags(Qt.ItemFlag.NoItemFlags)
            self.addItem(hint)
        else:
            for organ in library.organs:
                self._add(organ, len(library.of(organ)))
        self.blockSignals(False)

    def _add(self, organ: str, count: int) -> None:
        item = QListWidgetItem(f"{organ.replace('_', ' ')}  ({count})")
        item.setData(ORGAN_ROLE, organ)
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        ticked = organ in self.controller.wanted
        item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self.addItem(item)

    def _on_tick(self, item: QListWidgetItem) -> None:
        organ = item.data(ORGAN_ROLE)
        if item.checkState() == Qt.CheckState.Checked:
            self.controller.wanted.add(organ)
        else:
            self.controller.wanted.discard(organ)


class OrganTable(QTableWidget):
    """Organs of the open scan: confidence, low ones in orange, and what was decided."""

    def __init__(self, controller: LocalizeController) -> None:
        super().__init__(0, 3)
        self.controller = controller
        self.setHorizontalHeaderLabels(["organ", "conf.", "state"])
        header = self.horizontalHeader()
        assert header is not None
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        rows = self.verticalHeader()
        assert rows is not None
        rows.hide()
        rows.setDefaultSectionSize(22)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.cellClicked.connect(lambda *_: self._go())
        controller.organs_changed.connect(self._fill)
        controller.picked.connect(self.choose)

    def organ(self) -> str | None:
        """Return the organ chosen."""
        item = self.item(self.currentRow(), 0)
        return None if item is None else str(item.data(ORGAN_ROLE))

    def choose(self, organ: str) -> None:
        """Choose an organ, without moving the viewer."""
        names = list(self.controller.organs)
        if organ in names:
            self.setCurrentCell(names.index(organ), 0)

    def choose_next_open(self) -> None:
        """Choose the next organ without a decision, and show it."""
        names = list(self.controller.organs)
        start = self.currentRow() + 1
        for organ in names[start:] + names[:start]:
            found = self.controller.organs[organ]
            if found.decision is None and found.located is not None:
                self.choose(organ)
                self._go()
                return

    def _go(self) -> None:
        organ = self.organ()
        if organ:
            self.controller.go_to(organ)

    def _fill(self) -> None:
        chosen = self.organ()
        self.setRowCount(len(self.controller.organs))
        for row, found in enumerate(self.controller.organs.values()):
            self._fill_row(row, found)
        names = list(self.controller.organs)
        if names:
            self.setCurrentCell(names.index(chosen) if chosen in names else 0, 0)

    def _fill_row(self, row: int, found: FoundOrgan) -> None:
        state, color = _state(found)
        confidence = f"{found.confidence:.2f}" if found.located is not None else "-"
        for column, text in enumerate((found.organ.replace("_", " "), confidence, state)):
            item = QTableWidgetItem(text)
            item.setData(ORGAN_ROLE, found.organ)
            if column:
                item.setForeground(QBrush(QColor(color)))
            self.setItem(row, column, item)


def _state(found: FoundOrgan) -> tuple[str, str]:
    """Return an organ's state in words, and its colour."""
    if found.located is None:
        return "not found", GREY
    if found.decision == "rejected":
        return "rejected", GREY
    if found.decision is not None:
        return f"{found.decision}{' ✓' if found.masked else ''}", DONE
    moved = "moved" if found.moved else "open"
    return (f"{moved}, low", LOW) if found.low else (moved, SURE)
