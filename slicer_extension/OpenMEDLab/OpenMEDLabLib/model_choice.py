"""A combo box of the server's models for one task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from OpenMEDLabLib.assistant import Assistant


class ModelChoice:
    """Keeps the user's choice while the list is read anew.

    Parameters
    ----------
    task
        ``"promptable"``, ``"labels"`` or ``"localize"``.
    chosen
        Called with the model's name when another one is chosen.
    """

    def __init__(
        self, assistant: Assistant, task: str, chosen: Callable[[str], None] = lambda _name: None
    ) -> None:
        self._assistant, self._task, self._chosen = assistant, task, chosen
        self._shown: list[str] = []
        self.combo = qt.QComboBox()
        self.combo.connect("currentIndexChanged(int)", self._picked)

    @property
    def model(self) -> Any:
        """The chosen model as the server describes it, or None."""
        known = {m.name: m for m in self._assistant.offers(self._task)}
        return known.get(self.combo.itemData(self.combo.currentIndex) or "")

    def refresh(self) -> None:
        """Show what the server offers now; models that lack something say what."""
        models = self._assistant.offers(self._task)
        rows = [m.title if m.state == "ready" else f"{m.title} ({m.state})" for m in models]
        if rows == self._shown:
            return
        self._shown = rows
        before = self.combo.itemData(self.combo.currentIndex) if self.combo.count else None
        self.combo.clear()
        for row, model in zip(rows, models, strict=True):
            self.combo.addItem(row, model.name)
        self.combo.setCurrentIndex(max(self.combo.findData(before), 0) if rows else -1)

    def _picked(self, index: int) -> None:
        if index >= 0:
            self._chosen(self.combo.itemData(index))
