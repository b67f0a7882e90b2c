"""Results go to stdout, everything else to stderr; progress is drawn on a terminal only."""

from __future__ import annotations

import json
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from openmedlab.core import CancelToken, Progress


def say(text: str) -> None:
    """Print a message for a person, on stderr."""
    typer.echo(text, err=True)


def result(record: Any, text: str, as_json: bool) -> None:
    """Print a command's result on stdout: ``record`` as JSON, or ``text``."""
    typer.echo(json.dumps(record, indent=1) if as_json else text)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return rows in aligned columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) for r in (header, *rows))
    return "\n".join(line.rstrip() for line in lines)


def plain_warnings() -> None:
    """Show the engine's own warnings as a sentence; leave other libraries' as they are."""
    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category.__module__.startswith("openmedlab"):
            say(f"Note: {message}")
        else:
            shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show


@contextmanager
def progress(text: str) -> Iterator[Progress]:
    """Yield a `Progress` that draws a bar on stderr when that is a terminal."""
    from openmedlab.core import Progress

    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(text, total=None)

        def report(done: int, total: int, words: str) -> None:
            bars.update(task, completed=done, total=total or None, description=words or text)

        yield Progress(report)


@contextmanager
def interruptible() -> Iterator[CancelToken]:
    """Yield a token that the first Ctrl-C cancels; the second one stops at once."""
    from openmedlab.core import CancelToken

    token = CancelToken()

    def stop(_number: int, _frame: object) -> None:
        if token.cancelled:
            raise KeyboardInterrupt
        token.cancel()
        say("Cancelling; press Ctrl-C again to stop at once.")

    if threading.current_thread() is not threading.main_thread():
        yield token
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield token
    finally:
        signal.signal(signal.SIGINT, before)


def read_json(path: Path) -> Any:
    """Return the JSON in a file; one sentence when there is none."""
    from openmedlab.core import InputError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.") from error
