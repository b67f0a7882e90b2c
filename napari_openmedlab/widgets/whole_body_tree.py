"""The tree of structures: what to label, what is shown, how large it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QBrush, QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QHeaderView,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from openmedlab.core import Label
from openmedlab.labeling.groups import grouped

NAME, SHOWN, ML = range(3)
HEADERS = ("to label", "show", "ml")
TIPS = (
    "Ticked structures are labelled by the next run",
    "Ticked structures are visible in the viewer",
    "Volume in millilitres",
)
WIDTHS = {SHOWN: 50, ML: 76}
ROW = 22
ON, OFF, PART = (
    Qt.CheckState.Checked,
    Qt.CheckState.Unchecked,
    Qt.CheckState.PartiallyChecked,
)
STRUCTURE = Qt.ItemDataRole.UserRole
AMBER = "#ffb454"


@dataclass(frozen=True)
class Entry:
    """One structure of the tree.

    Attributes
    ----------
    label
        Name, colour and code.
    offered
        Whether the model can label it.
    number
        Its label in the result; 0 where it has none.
    shown
        Whether it is visible.
    ml
        Its volume, as text.
    doubt
        Warnings about it.
    """

    label: Label
    offered: bool
    number: int = 0
    shown: bool = False
    ml: str = ""
    doubt: str = ""


def spoken(name: str) -> str:
    """Return a structure's name as people write it."""
    return name.replace("_", " ")


def swatch(rgb: tuple[float, float, float] | None) -> QIcon:
    """Return a small square of a colour."""
    pixels = QPixmap(12, 12)
    pixels.fill(QColor.fromRgbF(*rgb) if rgb is not None else QColor("transparent"))
    return QIcon(pixels)


class StructureTree(QWidget):
    """Search box and tree; groups and the whole tick all that is in view.

    Notes
    -----
    Signals: ``ticked()`` what to label changed; ``show_wanted(list, bool)`` numbers to show
    or hide; ``chosen(int)`` a structure was selected, by number; ``place_wanted(int)`` it
    was double-clicked.
    """

    ticked = Signal()
    show_wanted = Signal(list, bool)
    chosen = Signal(int)
    place_wanted = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.search_edit = QLineEdit()
        self.search_edit.setPlaceholderText("Search structures, e.g. kidney left")
        self.search_edit.setClearButtonEnabled(True)
        self.tree = _tree()
        self.leaves: dict[str, QTreeWidgetItem] = {}
        self.whole = QTreeWidgetItem()
        self._entries: dict[str, Entry] = {}
        self._unticked: set[str] = set()
        self._filling = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.search_edit)
        layout.addWidget(self.tree)
        self.search_edit.textChanged.connect(self._filter)
        self.tree.itemChanged.connect(self._on_item)
        self.tree.currentItemChanged.connect(lambda item, _: self.chosen.emit(self._number(item)))
        self.tree.itemDoubleClicked.connect(self._on_double_click)

    # --------------------------------------------------------------- filling
    def fill(self, entries: Iterable[Entry]) -> None:
        """Show structures; ticks, selection and search stay."""
        new = {entry.label.name: entry for entry in entries}
        rebuild = list(new) != list(self._entries)
        self._entries = new
        self._filling = True
        if rebuild:
            self._build()
        for name, item in self.leaves.items():
            self._show_entry(item, new[name])
        self._filling = False
        self._filter()

    def _build(self) -> None:
        current = self.tree.currentItem()
        name = current.data(NAME, STRUCTURE) if current is not None else None
        self.tree.clear()
        self.leaves = {}
        self.whole = _branch("all structures")
        self.tree.addTopLevelItem(self.whole)
        parts = grouped(entry.label for entry in self._entries.values())
        for part, labels in parts.items():
            branch = _branch(part)
            self.whole.addChild(branch)
            for label in labels:
                self.leaves[label.name] = _leaf(label)
                branch.addChild(self.leaves[label.name])
            branch.setExpanded(len(parts) < 4)
        self.whole.setExpanded(True)
        if name in self.leaves:
            self.tree.setCurrentItem(self.leaves[name])

    def _show_entry(self, item: QTreeWidgetItem, entry: Entry) -> None:
        label = entry.label
        ticked = None if not entry.offered else ON if label.name not in self._unticked else OFF
        _set_check(item, NAME, ticked)
        _set_check(item, SHOWN, None if not entry.number else ON if entry.shown else OFF)
        item.setText(ML, entry.ml)
        item.setIcon(NAME, swatch(label.color))
        item.setForeground(ML, QBrush(QColor(AMBER)) if entry.doubt else QBrush())
        code = f"\nSNOMED CT {label.code}" if label.code else ""
        item.setToolTip(NAME, f"{label.name}{code}\nDouble-click: go to its centre")
        item.setToolTip(ML, entry.doubt)

    # ---------------------------------------------------------------- search
    def _filter(self) -> None:
        """Hide what does not hold all the words searched for."""
        words = self.search_edit.text().lower().replace("_", " ").split()
        for branch in self._branches():
            own = _children(branch)
            for item in own:
                text = f"{item.text(NAME)} {branch.text(NAME)}".lower()
                item.setHidden(not all(word in text for word in words))
            branch.setHidden(all(item.isHidden() for item in own))
            if words:
                branch.setExpanded(True)
        self._show_branches()

    def _branches(self) -> list[QTreeWidgetItem]:
        return _children(self.whole)

    def _show_branches(self) -> None:
        """Let every group, and the whole, say what its structures in view are."""
        self._filling = True
        for column in (NAME, SHOWN):
            for branch in (*self._branches(), self.whole):
                _set_check(branch, column, _common(_checks(branch, column)))
        self._filling = False

    # ----------------------------------------------------------------- ticks
    @property
    def wanted(self) -> set[str]:
        """Names to label."""
        offered = {name for name, entry in self._entries.items() if entry.offered}
        return offered - self._unticked

    @property
    def offered(self) -> int:
        """How many structures could be labelled."""
        return sum(entry.offered for entry in self._entries.values())

    def _on_item(self, item: QTreeWidgetItem, column: int) -> None:
        if self._filling or column not in (NAME, SHOWN):
            return
        on = item.checkState(column) == ON
        names = [leaf.data(NAME, STRUCTURE) for leaf in _leaves(item, column)]
        if column == NAME:
            self._unticked = self._unticked - set(names) if on else self._unticked | set(names)
            self.fill(self._entries.values())
            self.ticked.emit()
        else:
            self.show_wanted.emit([self._entries[name].number for name in names], on)

    # ------------------------------------------------------------- selection
    def _number(self, item: QTreeWidgetItem | None) -> int:
        name = item.data(NAME, STRUCTURE) if item is not None else None
        return self._entries[name].number if name in self._entries else 0

    def select(self, number: int) -> None:
        """Select a structure by number, without a signal."""
        for name, entry in self._entries.items():
            if entry.number == number and number:
                self.tree.blockSignals(True)
                self.tree.setCurrentItem(self.leaves[name])
                self.tree.blockSignals(False)

    def _on_double_click(self, item: QTreeWidgetItem, column: int) -> None:
        number = self._number(item)
        if number and column != SHOWN:
            self.place_wanted.emit(number)


def _tree() -> QTreeWidget:
    tree = QTreeWidget()
    tree.setHeaderLabels(HEADERS)
    tree.setIndentation(14)
    tree.setUniformRowHeights(True)
    tree.setExpandsOnDoubleClick(True)
    tree.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    tree.setStyleSheet(f"QTreeView::item {{ height: {ROW}px; }}")
    head, header = tree.headerItem(), tree.header()
    assert head is not None
    assert header is not None
    for column, tip in enumerate(TIPS):
        head.setToolTip(column, tip)
    header.setStretchLastSection(False)
    header.setMinimumSectionSize(20)
    header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
    for column, width in WIDTHS.items():
        tree.setColumnWidth(column, width)
    return tree


def _branch(text: str) -> QTreeWidgetItem:
    item = QTreeWidgetItem([text])
    item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
    return item


def _leaf(label: Label) -> QTreeWidgetItem:
    item = QTreeWidgetItem([spoken(label.name)])
    item.setFlags(
        Qt.ItemFlag.ItemIsEnabled
        | Qt.ItemFlag.ItemIsSelectable
        | Qt.ItemFlag.ItemIsUserCheckable
        | Qt.ItemFlag.ItemNeverHasChildren
    )
    item.setData(NAME, STRUCTURE, label.name)
    item.setTextAlignment(ML, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item


def _set_check(item: QTreeWidgetItem, column: int, state: Qt.CheckState | None) -> None:
    """Tick, untick, or (None) show no box."""
    item.setData(column, Qt.ItemDataRole.CheckStateRole, state)


def _children(item: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    found = (item.child(k) for k in range(item.childCount()))
    return [child for child in found if child is not None]


def _leaves(item: QTreeWidgetItem, column: int) -> Iterator[QTreeWidgetItem]:
    """Yield an item's structures in view that have a box in a column; itself if it is one."""
    if item.data(NAME, STRUCTURE) is not None:
        yield item
        return
    for child in _children(item):
        boxed = child.childCount() or child.data(column, Qt.ItemDataRole.CheckStateRole) is not None
        if boxed and not child.isHidden():
            yield from _leaves(child, column)


def _checks(item: QTreeWidgetItem, column: int) -> set[Qt.CheckState]:
    return {leaf.checkState(column) for leaf in _leaves(item, column)}


def _common(states: set[Qt.CheckState]) -> Qt.CheckState | None:
    """Return the state that says it of all: of none, no box."""
    if not states:
        return None
    return states.pop() if len(states) == 1 else PART
