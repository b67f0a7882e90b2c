"""One line for all panels: what goes on, how far it is, and the button that stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from openmedlab.core import OpenMedLabError
from OpenMEDLabLib.assistant import Listener

RED = "color: #d0433a"


class StatusBar:
    """Text, progress and *Cancel*.

    Parameters
    ----------
    layout
        Where the line goes.
    cancel
        Called by the button.
    """

    def __init__(self, layout: Any, cancel: Callable[[], None]) -> None:
        self._running = 0
        self.text = qt.QLabel("")
        self.text.setWordWrap(True)
        self.progress = qt.QProgressBar()
        self.button = qt.QPushButton(_("Cancel"))
        self.button.toolTip = _("Stop what is under way; what is finished stays.")
        self.button.connect("clicked()", cancel)
        row = qt.QHBoxLayout()
        row.addWidget(self.progress, 1)
        row.addWidget(self.button)
        layout.addWidget(self.text)
        layout.addLayout(row)
        self._rest()

    def say(self, text: str) -> None:
        """Show a sentence."""
        self.text.setStyleSheet("")
        self.text.setText(text)

    def complain(self, text: str) -> None:
        """Show what went wrong."""
        self.text.setStyleSheet(RED)
        self.text.setText(text)

    def ask(
        self,
        begin: Callable[[Listener], None],
        done: Callable[[Any], None],
        failed: Callable[[str], None] | None = None,
    ) -> None:
        """Call ``begin`` with a listener that shows here how the request goes on.

        Parameters
        ----------
        begin
            Starts the request; its errors are shown as well.
        done
            Called with the result.
        failed
            Called with the sentence in place of showing it.
        """
        self._running += 1
        self.progress.setRange(0, 0)
        self.progress.setVisible(True)
        self.button.setEnabled(True)
        try:
            begin(Listener(done, failed or self.complain, self._report, self._ended))
        except OpenMedLabError as error:
            self.complain(str(error))
            self._ended()

    def attempt(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Call ``work``; show the sentence when it cannot be done as asked."""
        try:
            work(*arguments)
        except OpenMedLabError as error:
            self.complain(str(error))

    def _report(self, done: int, total: int, text: str) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        if text:
            self.say(text)

    def _ended(self) -> None:
        self._running = max(0, self._running - 1)
        if not self._running:
            self._rest()

    def _rest(self) -> None:
        self.progress.setVisible(False)
        self.button.setEnabled(False)


def button(text: str, pressed: Callable[[], None], tip: str = "") -> Any:
    """Return a push button that calls ``pressed``."""
    made = qt.QPushButton(text)
    made.toolTip = tip
    made.connect("clicked()", pressed)
    return made
