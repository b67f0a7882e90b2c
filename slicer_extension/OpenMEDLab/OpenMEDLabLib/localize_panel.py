"""*Localize*: where organs are, by templates; their points are prompts for masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from openmedlab.core import InputError
from OpenMEDLabLib.assistant import Listener
from OpenMEDLabLib.logic import OpenMEDLabLogic
from OpenMEDLabLib.model_choice import ModelChoice
from OpenMEDLabLib.status import StatusBar, button
from OpenMEDLabLib.tick_list import TickList

HEIGHT = 120


class LocalizePanel:
    """Model, organs to look for, *Find*, and what was found with its confidence.

    Parameters
    ----------
    made
        Called when organs were found and stand in the segmentation.
    """

    def __init__(
        self, layout: Any, logic: OpenMEDLabLogic, status: StatusBar, made: Callable[[], None]
    ) -> None:
        self.logic, self.status, self._made = logic, status, made
        self.found: dict[str, tuple[str, float]] = {}
        self.box = ctk.ctkCollapsibleButton()
        self.box.text = _("Localize")
        self.box.collapsed = True
        layout.addWidget(self.box)
        form = qt.QFormLayout(self.box)
        self.model = ModelChoice(logic.assistant, "localize")
        form.addRow(_("Model:"), self.model.combo)
        self.organs = TickList(form, _("Organs:"))
        self.note = qt.QLabel("")
        self.note.setWordWrap(True)
        form.addRow(self.note)
        self.run_button = button(_("Find organs"), self.run)
        self.table = qt.QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels([_("Organ"), _("Confidence")])
        self.table.setMaximumHeight(HEIGHT)
        self.segment_button = button(
            _("Segment what was found"),
            self.segment,
            _("Let each organ's six points become its mask; correct it under Segment."),
        )
        for widget in (self.run_button, self.table, self.segment_button):
            form.addRow(widget)

    def refresh(self) -> None:
        """Show the server's models."""
        self.model.refresh()

    def ask_organs(self) -> None:
        """Ask a server just connected which organs it can find."""
        if self.model.model is None:
            self._no_organs(_("This server localises no organs."))
            return
        self.status.ask(self.logic.assistant.organs, self._show_organs, self._no_organs)

    def _show_organs(self, organs: tuple[str, ...]) -> None:
        self.organs.show(organs)
        self.note.setText("")

    def _no_organs(self, why: str) -> None:
        self.organs.show(())
        self.note.setText(why)

    def run(self) -> None:
        """Ask where the ticked organs are."""
        self.status.ask(self._begin, self._done)

    def _begin(self, listener: Listener) -> None:
        model = self.model.model
        if model is None:
            raise InputError(_("Connect to a server that localises organs."))
        ticked = self.organs.ticked()
        if not ticked:
            raise InputError(self.note.text or _("Tick at least one organ."))
        self.logic.localize(model.name, ticked, listener)

    def _done(self, found: dict[str, tuple[str, float]]) -> None:
        self.found = found
        self.table.setRowCount(len(found))
        for row, (organ, (_id, confidence)) in enumerate(found.items()):
            self.table.setItem(row, 0, qt.QTableWidgetItem(organ))
            self.table.setItem(row, 1, qt.QTableWidgetItem(f"{confidence:.2f}"))
        self.status.say(_("{n} organs found").format(n=len(found)))
        self._made()

    def segment(self) -> None:
        """Let the points of all organs found become masks."""
        ids = [segment_id for segment_id, _confidence in self.found.values()]
        for segment_id in ids:
            self.status.ask(
                lambda listener, one=segment_id: self.logic.segment_found(one, listener),
                lambda _answer: self.status.say(_("Segmented from six points each.")),
            )
