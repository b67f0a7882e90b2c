"""A server in a Python of its own: started, waited for, stopped; installed only when asked."""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path

import adapter_module
import pytest
import slicer
from OpenMEDLabLib import assistant, local_server, server_panel
from OpenMEDLabLib.local_server import LocalServer
from PyQt6.QtTest import QTest

from openmedlab.client import Client, WrongTokenError
from openmedlab.core import Cancelled, CancelToken, InputError, Progress

FILE = Path(__file__).parents[2] / "slicer_extension" / "OpenMEDLab" / "OpenMEDLab.py"
SERVES = importlib.util.find_spec("fastapi") is not None
needs_server = pytest.mark.skipif(not SERVES, reason="needs the server extra")
posix = pytest.mark.skipif(sys.platform == "win32", reason="stands a shell script for Python")


@pytest.fixture
def server():
    local = LocalServer()
    yield local
    local.stop()


def script(folder, line):
    """Return something that can be called like a Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
@needs_server
def test_a_server_is_started_and_stopped(server):
    reports = []
    progress = Progress(lambda *news: reports.append(news))
    started = server.start(sys.executable, progress, CancelToken())
    assert server.running
    assert "starting" in reports[0][2]
    with Client(started.address, started.token) as client:
        assert client.models()
    with Client(started.address, "guess") as client, pytest.raises(WrongTokenError):
        client.models()
    server.stop()
    assert not server.running


@posix
def test_a_python_without_it_is_told_from_one_with_it(server, tmp_path):
    assert server.version(sys.executable)
    bare = script(tmp_path, f'exec {sys.executable} -I -S "$@"')
    assert server.version(bare) == ""
    with pytest.raises(InputError, match="openmedlab"):
        server.start(bare, Progress(), CancelToken())
    assert not server.running
    for ask in (server.version, lambda p: server.start(p, Progress(), CancelToken())):
        with pytest.raises(InputError, match="no-such-python"):
            ask(str(tmp_path / "no-such-python"))


@posix
def test_waiting_for_a_server_can_be_cancelled(server, tmp_path):
    cancel, waiting = CancelToken(), threading.Event()
    silent = script(tmp_path, "exec sleep 300")

    def report(*_news):
        waiting.set()

    threading.Thread(target=lambda: waiting.wait(30) and cancel.cancel()).start()
    with pytest.raises(Cancelled):
        server.start(silent, Progress(report), cancel)
    assert not server.running


def test_installing_reports_and_removes_what_failed(server, tmp_path, monkeypatch):
    def steps(folder, python):
        make = f"import pathlib; pathlib.Path({str(folder)!r}).mkdir(); print('made')"
        return [("making", [python, "-c", make]), ("downloading", [python, "-c", LAST[0]])]

    monkeypatch.setattr(local_server, "installing", steps)
    heard = []
    progress = Progress(lambda _done, _total, text: heard.append(text))
    LAST = ["raise SystemExit('no network')"]
    with pytest.raises(InputError, match="no network"):
        server.install(tmp_path / "env", sys.executable, progress, CancelToken())
    assert not (tmp_path / "env").exists()
    assert heard == ["making", "made", "downloading", "no network"]
    LAST = ["print('done')"]
    inside = server.install(tmp_path / "env", sys.executable, progress, CancelToken())
    assert Path(inside).parts[-3] == "env"


@pytest.fixture
def panels(scene):
    widget = adapter_module.open_widget(adapter_module.load(FILE))
    yield widget.panels
    widget.exit()
    widget.cleanup()
    widget.logic.assistant.close()
    assistant._shared.clear()


def press(button):
    assert button.isEnabled()
    QTest.mouseClick(button, adapter_module.qt.Qt.MouseButton.LeftButton)


@posix
def test_nothing_is_installed_without_a_yes(panels, until, tmp_path, monkeypatch):
    questions, installed = [], []
    monkeypatch.setattr(server_panel, "environment_folder", lambda: tmp_path / "env")
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, *_: questions.append(text)
    )
    monkeypatch.setattr(LocalServer, "install", lambda *given: installed.append(given))
    panels.server.python.setText(script(tmp_path, f'exec {sys.executable} -I -S "$@"'))
    press(panels.server.start_button)
    until(lambda: questions and not panels.logic.assistant.background.busy)
    assert "2 GB" in questions[0]
    assert installed == []
    assert "Nothing was installed" in panels.status.text.text
    assert panels.server.start_button.isEnabled()


@pytest.mark.slow
@needs_server
def test_the_buttons_start_connect_and_stop(panels, until):
    panels.server.python.setText(sys.executable)
    press(panels.server.start_button)
    until(lambda: panels.logic.assistant.models, seconds=240)
    assert panels.logic.server.running
    assert panels.server.token.text
    assert "ready" in panels.status.text.text
    press(panels.server.stop_button)
    until(lambda: "was stopped" in panels.status.text.text)
    assert not panels.logic.server.running
    assert panels.server.start_button.isEnabled()
    press(panels.server.test_button)
    until(lambda: not panels.logic.assistant.background.busy, seconds=120)
    assert "ready" not in panels.status.text.text
