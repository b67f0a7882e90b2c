"""Work beside the GUI thread, and its news brought back to it.

Slicer's main thread holds Python's lock while it waits for events, so a bare
thread would starve. From the first request on a Qt timer hands the lock over for a
moment and then delivers what the thread has to say: often while work is under way,
now and then otherwise, for the heartbeat that keeps the server's session.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Hashable
from typing import Any

import qt

from openmedlab.core import OpenMedLabError
from openmedlab.engine.thread import InferenceThread, Ticket, TicketState

TICK_MS = 20
REST_MS = 500
HAND_OVER_S = 0.004

Done = Callable[[Any], None]
Told = Callable[[str], None]
Report = Callable[[int, int, str], None]


class Background:
    """One thread for requests; every callback runs on the GUI thread."""

    def __init__(self, name: str = "slicer") -> None:
        self._name = name
        self._thread: InferenceThread | None = None
        self._news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._tickets: set[Ticket[Any]] = set()
        self._timer: Any = None

    @property
    def busy(self) -> bool:
        """Whether some request has not been answered yet."""
        return bool(self._tickets)

    def submit(
        self,
        work: Callable[..., Any],
        *,
        key: Hashable,
        done: Done,
        failed: Told,
        report: Report | None = None,
        ended: Callable[[], None] | None = None,
    ) -> Ticket[Any]:
        """Run ``work(progress, cancel)``; a newer request of the same ``key`` takes its place.

        Parameters
        ----------
        done, failed
            Called with the result, or with a sentence; neither after cancelling.
        report
            Called as ``report(done, total, text)`` while the work goes on.
        ended
            Called last, whatever became of the request.
        """
        if self._thread is None:
            self._thread = InferenceThread(self._name)
        ticket = self._thread.submit(
            work,
            key=key,
            on_report=lambda *news: self._post(lambda: report and report(*news)),
            on_end=lambda ended_one: self._post(
                lambda: self._deliver(ended_one, done, failed, ended)
            ),
        )
        self._tickets.add(ticket)
        self._watch()
        return ticket

    def cancel(self) -> None:
        """Stop all that waits or runs."""
        for ticket in list(self._tickets):
            ticket.cancel()

    def pump(self) -> None:
        """Deliver news; called by the timer on the GUI thread."""
        time.sleep(HAND_OVER_S)
        while not self._news.empty():
            self._news.get()()
        if not self._tickets and self._timer is not None:
            self._timer.setInterval(REST_MS)

    def close(self) -> None:
        """Cancel everything and end the thread."""
        self.cancel()
        if self._thread is not None:
            self._thread.close(timeout=0.5)
            self._thread = None
        self._tickets.clear()
        if self._timer is not None:
            self._timer.stop()

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = qt.QTimer()
            self._timer.connect("timeout()", self.pump)
        self._timer.start(TICK_MS)

    def _post(self, news: Callable[[], None]) -> None:
        self._news.put(news)

    def _deliver(
        self, ticket: Ticket[Any], done: Done, failed: Told, ended: Callable[[], None] | None
    ) -> None:
        self._tickets.discard(ticket)
        try:
            if ticket.state is TicketState.DONE:
                done(ticket.result())
            elif ticket.state is TicketState.FAILED:
                failed(sentence(ticket.error))
        except Exception as error:
            failed(sentence(error))
        finally:
            if ended is not None:
                ended()


def sentence(error: BaseException | None) -> str:
    """Return an error as a sentence for the user; what nobody foresaw goes to the log as well."""
    if isinstance(error, OpenMedLabError):
        return str(error)
    logging.error("OpenMEDLab: unexpected error", exc_info=error)
    return f"Something unexpected went wrong ({type(error).__name__}: {error}); see the log."
