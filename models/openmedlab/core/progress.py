"""`Progress` and `CancelToken`: what long work reports and looks at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

from openmedlab.core.errors import Cancelled

Stage = Literal["queue", "prepare", "infer", "write"]


class CancelToken:
    """A flag that one thread raises and another looks at between pieces of work."""

    def __init__(self) -> None:
        self._flag = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._flag.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._flag.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if `cancel` was called."""
        if self._flag.is_set():
            raise Cancelled


@dataclass
class Timings:
    """Seconds spent waiting, preparing input, in the network or solver, and writing back."""

    queue: float = 0.0
    prepare: float = 0.0
    infer: float = 0.0
    write: float = 0.0

    @property
    def total(self) -> float:
        """Sum of the four."""
        return self.queue + self.prepare + self.infer + self.write

    def to_json(self) -> dict[str, float]:
        """Return the four times by name."""
        return asdict(self)

    def __str__(self) -> str:
        return " | ".join(f"{name} {1000 * value:.0f} ms" for name, value in asdict(self).items())


class Progress:
    """Reports ``done/total`` with a text, and measures the four times.

    Parameters
    ----------
    on_report
        Called as ``on_report(done, total, text)`` on the working thread;
        ``total == 0`` means unknown.
    """

    def __init__(self, on_report: Callable[[int, int, str], None] | None = None) -> None:
        self._on_report = on_report
        self.timings = Timings()

    def report(self, done: int, total: int, text: str = "") -> None:
        """Say how far the work is."""
        if self._on_report is not None:
            self._on_report(done, total, text)

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Add the time spent inside to one of the four times."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            setattr(self.timings, name, getattr(self.timings, name) + spent)
