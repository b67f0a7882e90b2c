"""A list of names to tick, with a line to find them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from OpenMEDLabLib.status import button

HEIGHT = 150


class TickList:
    """Names with tick boxes; all are ticked at first."""

    def __init__(self, form: Any, title: str) -> None:
        self.search = qt.QLineEdit()
        self.search.setPlaceholderText(_("Find ..."))
        self.search.connect("textChanged(QString)", self._find)
        self.list = qt.QListWidget()
        self.list.setMaximumHeight(HEIGHT)
        self.all_button = button(_("All"), lambda: self.tick(True), _("Tick what is shown."))
        self.none_button = button(_("None"), lambda: self.tick(False), _("Untick what is shown."))
        row = qt.QHBoxLayout()
        for widget in (self.search, self.all_button, self.none_button):
            row.addWidget(widget)
        form.addRow(title, row)
        form.addRow(self.list)
        self.names: tuple[str, ...] = ()

    def show(self, names: Sequence[str]) -> None:
        """List other names."""
        if tuple(names) == self.names:
            return
        self.names = tuple(names)
        self.list.clear()
        self.list.addItems(list(names))
        self.tick(True)
        self._find(self.search.text)

    def ticked(self) -> list[str]:
        """Return the ticked names, shown or not."""
        return [item.text() for item in self._items() if item.checkState() == qt.Qt.Checked]

    def tick(self, on: bool) -> None:
        """Tick or untick all names that are shown."""
        for item in self._items():
            if not item.isHidden():
                item.setCheckState(qt.Qt.Checked if on else qt.Qt.Unchecked)

    def _items(self) -> list[Any]:
        return [self.list.item(k) for k in range(len(self.names))]

    def _find(self, text: str) -> None:
        words = text.lower().split()
        for item in self._items():
            item.setHidden(not all(w in item.text().lower() for w in words))
