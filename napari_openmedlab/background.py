"""Work on the inference thread whose result comes back on the GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from psygnal import Signal

from openmedlab.engine import InferenceThread, Ticket, TicketState

T = TypeVar("T")


class Background:
    """Runs one-off work (opening, restoring, saving) without blocking the viewer."""

    _ended = Signal(object)

    def __init__(self, thread: InferenceThread) -> None:
        self._thread = thread
        self._ended.connect(self._call, thread="main")

    def run(
        self,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Call ``work()`` on the inference thread, then ``done`` or ``failed`` on this one."""

        def on_end(ticket: Ticket[T]) -> None:
            if ticket.state is TicketState.DONE:
                self._ended.emit(partial(done, ticket.result()))
            elif isinstance(ticket.error, Exception):
                self._ended.emit(partial(failed, ticket.error))

        self._thread.submit(lambda _progress, _cancel: work(), on_end=on_end)

    @staticmethod
    def _call(result: Callable[[], Any]) -> None:
        result()
