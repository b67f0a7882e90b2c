"""Work on the inference thread whose result comes back on the GUI thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from psygnal import Signal

from openmedlab.core import CancelToken, Progress
from openmedlab.engine import InferenceThread, Ticket, TicketState

T = TypeVar("T")


class Background:
    """Runs one-off work (opening, restoring, saving) without blocking the viewer.

    Once it is closed, nothing is told and results that are still to come are dropped.
    """

    _ended = Signal(object)

    def __init__(self, thread: InferenceThread) -> None:
        self._thread = thread
        self._closed = False
        self._ended.connect(self._call, thread="main")

    def run(
        self,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        unwanted: Callable[[T], None] = lambda _: None,
    ) -> None:
        """Call ``work()`` on the inference thread, then ``done`` or ``failed`` on this one.

        Once this is closed, ``unwanted`` is given the result instead.
        """
        self.submit(lambda _progress, _cancel: work(), done, failed, unwanted=unwanted)

    def submit(
        self,
        work: Callable[[Progress, CancelToken], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        reported: Callable[[int, int, str], None] | None = None,
        key: Hashable = None,
        unwanted: Callable[[T], None] = lambda _: None,
    ) -> Ticket[T]:
        """Call ``work(progress, cancel)`` as `run` does; the ticket cancels it.

        ``reported`` is told how far it is, on this thread. Newer work of the same ``key``
        supersedes; ``failed`` is given `Cancelled` then.
        """

        def on_end(ticket: Ticket[T]) -> None:
            if ticket.state is TicketState.DONE:
                result = ticket.result()
                self._ended.emit(lambda: unwanted(result) if self._closed else done(result))
            elif isinstance(ticket.error, Exception):
                self._tell(partial(failed, ticket.error))

        def on_report(step: int, total: int, text: str) -> None:
            if reported is not None:
                self._tell(partial(reported, step, total, text))

        return self._thread.submit(work, key=key, on_report=on_report, on_end=on_end)

    def _tell(self, call: Callable[[], None]) -> None:
        self._ended.emit(lambda: None if self._closed else call())

    @staticmethod
    def _call(call: Callable[[], Any]) -> None:
        call()

    def close(self) -> None:
        """Give no result to anyone from now on, not even those that wait for this thread."""
        self._closed = True


def silence(owner: object) -> None:
    """Let nothing listen any more to the signals that an object's class declares."""
    for name, declared in vars(type(owner)).items():
        if isinstance(declared, Signal):
            getattr(owner, name).disconnect()
