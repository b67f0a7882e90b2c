"""A server on this machine, in a Python environment of its own: Slicer's stays as it is."""

from __future__ import annotations

import json
import os
import queue
import secrets
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from openmedlab.core import CancelToken, InputError, Progress

PACKAGE = "napari-openmedlab[local,server]"
LOOK_S = 0.1
LAST_LINES = 4
VERSION = "from importlib.metadata import version; print(version('napari-openmedlab'))"
HIDDEN = getattr(subprocess, "CREATE_NO_WINDOW", 0)


@dataclass(frozen=True)
class Started:
    """Where a server that was started listens, and its token."""

    address: str
    token: str


class LocalServer:
    """At most one server process, ended with Slicer.

    Parameters
    ----------
    environment
        Variables for the process; Slicer's own would confuse another Python.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(os.environ if environment is None else environment)
        self._process: subprocess.Popen[str] | None = None

    @property
    def running(self) -> bool:
        """Whether the server that was started still runs."""
        return self._process is not None and self._process.poll() is None

    def version(self, python: str) -> str:
        """Return the version of OpenMEDLab in a Python; empty where it has none.

        Raises
        ------
        InputError
            There is no such Python.
        """
        try:
            done = subprocess.run(
                [python, "-c", VERSION],
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                creationflags=HIDDEN,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"{python!r} is not a Python that can be run.") from error
        return done.stdout.strip() if done.returncode == 0 else ""

    def start(self, python: str, progress: Progress, cancel: CancelToken) -> Started:
        """Start a server and wait until it listens.

        Raises
        ------
        InputError
            It ended before it listened; its last words.
        Cancelled
            The user did not want to wait.
        """
        self.stop()
        token = secrets.token_urlsafe(16)
        progress.report(0, 0, "starting the server")
        command = [python, "-m", "openmedlab.cli", "serve", "--port", "0", "--json"]
        self._process = self._popen(command, {"OPENMEDLAB_TOKEN": token})
        try:
            return self._first_answer(self._process, token, cancel)
        except BaseException:
            self.stop()
            raise

    def _first_answer(
        self, process: subprocess.Popen[str], token: str, cancel: CancelToken
    ) -> Started:
        said: deque[str] = deque(maxlen=LAST_LINES)
        for line in _lines(process, cancel):
            if line.startswith("{"):
                return Started(json.loads(line)["address"], token)
            said.append(line)
        raise InputError(f"The server did not start: {' '.join(said) or 'it said nothing'}")

    def stop(self) -> None:
        """End the server that was started."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def install(self, folder: Path, python: str, progress: Progress, cancel: CancelToken) -> str:
        """Make an environment in ``folder`` with OpenMEDLab in it; return its Python.

        Raises
        ------
        InputError
            A step failed; its last words.
        Cancelled
            The user stopped it; the unfinished folder is removed.
        """
        fresh = not folder.exists()
        try:
            for text, command in installing(folder, python):
                progress.report(0, 0, text)
                self._run(command, progress, cancel)
        except BaseException:
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return str(python_in(folder))

    def _run(self, command: Sequence[str], progress: Progress, cancel: CancelToken) -> None:
        process = self._popen(command, {})
        said: deque[str] = deque(maxlen=LAST_LINES)
        try:
            for line in _lines(process, cancel):
                said.append(line)
                progress.report(0, 0, line[:120])
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            raise InputError(f"Installing failed: {' '.join(said)}")

    def _popen(self, command: Sequence[str], extra: Mapping[str, str]) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                list(command),
                env={**self._environment, **extra, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                creationflags=HIDDEN,
            )
        except OSError as error:
            raise InputError(f"{command[0]!r} cannot be run: {error.strerror}.") from error


def installing(folder: Path, python: str) -> list[tuple[str, list[str]]]:
    """Return the steps that make an environment, each with what to tell meanwhile."""
    inside = str(python_in(folder))
    return [
        ("making the environment", [python, "-m", "venv", str(folder)]),
        ("downloading OpenMEDLab", [inside, "-m", "pip", "install", PACKAGE]),
    ]


def python_in(folder: Path) -> Path:
    """Return the Python of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _lines(process: subprocess.Popen[str], cancel: CancelToken) -> Iterator[str]:
    """Yield what a process prints until it ends or is cancelled; goes on reading afterwards."""
    heard: queue.Queue[str | None] = queue.Queue()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            heard.put(line.strip())
        heard.put(None)

    threading.Thread(target=listen, name="openmedlab-server-output", daemon=True).start()
    while True:
        cancel.check()
        try:
            line = heard.get(timeout=LOOK_S)
        except queue.Empty:
            continue
        if line is None:
            return
        if line:
            yield line
