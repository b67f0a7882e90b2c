"""A screen to draw on where there is none: napari draws nothing on Qt's own offscreen platform."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from openmedlab.core import InputError

SIZE = "1400x900x24"


@contextmanager
def virtual_screen() -> Iterator[None]:
    """Point Qt at a virtual X server of its own while inside (on Linux).

    Raises
    ------
    InputError
        There is neither Xvfb nor a screen.
    """
    server = shutil.which("Xvfb")
    if not sys.platform.startswith("linux") or (server is None and os.environ.get("DISPLAY")):
        yield
        return
    if server is None:
        raise InputError(
            "There is no screen and no Xvfb to make a virtual one; install it (on Debian: "
            "sudo apt-get install xvfb) or run with --no-viewer."
        )
    process, display = _start(server)
    before = {name: os.environ.get(name) for name in ("DISPLAY", "QT_QPA_PLATFORM")}
    os.environ.update(DISPLAY=display, QT_QPA_PLATFORM="xcb")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        process.terminate()
        process.wait()


def _start(server: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start Xvfb on a free display, which it names on a pipe once it is ready."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [server, "-displayfd", str(write), "-screen", "0", SIZE, "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    if not number:
        raise InputError(
            f"Xvfb ended with code {process.wait()} before there was a screen; run with "
            "--no-viewer, or give a DISPLAY."
        )
    return process, f":{number}"
