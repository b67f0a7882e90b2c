"""*Server*: which one answers, and whether it can be worked with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from OpenMEDLabLib.logic import OpenMEDLabLogic
from OpenMEDLabLib.settings import ADDRESS, PYTHON, USUAL, remember, remembered
from OpenMEDLabLib.status import StatusBar, button

MADE = "openmedlab-server"


class ServerPanel:
    """Address and token, *Test*, and a server on this machine.

    Parameters
    ----------
    connected
        Called when the server's models are known.
    """

    def __init__(
        self,
        layout: Any,
        logic: OpenMEDLabLogic,
        status: StatusBar,
        connected: Callable[[], None],
    ) -> None:
        self.logic, self.status, self.connected = logic, status, connected
        self.box = ctk.ctkCollapsibleButton()
        self.box.text = _("Server")
        layout.addWidget(self.box)
        form = qt.QFormLayout(self.box)
        self.address = qt.QLineEdit(remembered(ADDRESS, USUAL))
        self.address.toolTip = _("Where the server listens: http://host:port")
        self.token = qt.QLineEdit()
        self.token.setEchoMode(qt.QLineEdit.Password)
        self.token.toolTip = _("What the server printed when it started; it is not saved.")
        self.test_button = button(_("Test and connect"), self.test)
        self.python = qt.QLineEdit(remembered(PYTHON, _usual_python()))
        self.python.toolTip = _("A Python with OpenMEDLab in it; Slicer's own stays as it is.")
        self.start_button = button(_("Start on this machine"), self.start)
        self.stop_button = button(_("Stop"), self.stop)
        row = qt.QHBoxLayout()
        row.addWidget(self.start_button)
        row.addWidget(self.stop_button)
        form.addRow(_("Address:"), self.address)
        form.addRow(_("Token:"), self.token)
        form.addRow(self.test_button)
        form.addRow(_("Python:"), self.python)
        form.addRow(row)
        self._refresh()

    def test(self) -> None:
        """Say whether the server can be worked with; if so, ask for its models."""
        self._take_over()
        self.status.say(_("Asking the server ..."))
        self.status.ask(self.logic.test, self._tested)

    def _tested(self, finding: Any) -> None:
        if finding.problem:
            self.status.complain(finding.text)
            return
        self._connect(finding.text)

    def _connect(self, text: str) -> None:
        """Ask for the server's models, then say ``text``."""

        def answered(_models: Any) -> None:
            self.status.say(text)
            self.connected()

        self.status.ask(self.logic.assistant.ask_models, answered)

    def start(self) -> None:
        """Start a server; where its Python lacks OpenMEDLab, ask whether to install it."""
        remember(PYTHON, self.python.text)
        self.start_button.setEnabled(False)
        self.status.ask(
            lambda listener: self.logic.server_version(self.python.text, listener),
            self._start_or_install,
            self._not_started,
        )

    def _start_or_install(self, version: str) -> None:
        if version:
            self.status.ask(
                lambda listener: self.logic.start_server(self.python.text, listener),
                self._started,
                self._not_started,
            )
        else:
            self._offer_to_install()

    def _offer_to_install(self) -> None:
        folder = environment_folder()
        text = _(
            "{python} has no OpenMEDLab. Make an environment in {folder} and install it there "
            "(about 2 GB with torch)? Slicer's own Python stays as it is."
        ).format(python=self.python.text, folder=folder)
        if not slicer.util.confirmOkCancelDisplay(text, _("Install the server")):
            self._not_started(_("Nothing was installed."))
            return
        self.status.ask(
            lambda listener: self.logic.install_server(folder, self.python.text, listener),
            self._installed,
            self._not_started,
        )

    def _installed(self, python: str) -> None:
        self.python.setText(python)
        self.start()

    def _started(self, started: Any) -> None:
        self.address.setText(started.address)
        self.token.setText(started.token)
        self._take_over()
        self._refresh()
        self._connect(_("The server is ready at {address}.").format(address=started.address))

    def _not_started(self, text: str) -> None:
        self.status.complain(text)
        self._refresh()

    def stop(self) -> None:
        """End the server that was started here."""
        self.stop_button.setEnabled(False)
        self.status.ask(self.logic.stop_server, self._stopped, self._not_started)

    def _stopped(self, _nothing: None) -> None:
        self.status.say(_("The server was stopped."))
        self._refresh()

    def _take_over(self) -> None:
        self.logic.assistant.address = self.address.text
        self.logic.assistant.token = self.token.text
        remember(ADDRESS, self.address.text)

    def _refresh(self) -> None:
        running = self.logic.server.running
        self.start_button.setEnabled(not running)
        self.stop_button.setEnabled(running)


def environment_folder() -> Path:
    """Return where the server's environment is made."""
    base = qt.QStandardPaths.writableLocation(qt.QStandardPaths.GenericDataLocation)
    return Path(base) / MADE


def _usual_python() -> str:
    return shutil.which("python3") or shutil.which("python") or "python3"
