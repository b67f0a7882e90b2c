"""One long-lived inference thread per device: a queue where the newest click wins."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from enum import StrEnum
from typing import Any, Generic, TypeVar

from openmedlab.core.errors import Cancelled
from openmedlab.core.progress import CancelToken, Progress

T = TypeVar("T")
Work = Callable[[Progress, CancelToken], T]


class TicketState(StrEnum):
    """Where a request is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


class Ticket(Generic[T]):
    """A request to the inference thread; made by `InferenceThread.submit`."""

    def __init__(
        self,
        work: Work[T],
        key: Hashable,
        idle: bool,
        on_report: Callable[[int, int, str], None] | None,
        on_end: Callable[[Ticket[T]], None] | None,
    ) -> None:
        self.key = key
        self.idle = idle
        self.state = TicketState.QUEUED
        self.cancel_token = CancelToken()
        self.progress = Progress(on_report)
        self._on_end = on_end
        self._stop_reason = TicketState.CANCELLED
        self._work: Work[T] | None = work
        self._future: Future[T] = Future()
        self._queued_at = time.perf_counter()
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Stop the request: at once when it waits, at its next check when it runs."""
        self._stop(TicketState.CANCELLED)

    def _stop(self, reason: TicketState) -> None:
        with self._lock:
            self._stop_reason = reason
            self.cancel_token.cancel()
            waiting = self.state is TicketState.QUEUED
            if waiting:
                self.state = reason
        if waiting:
            self._end(reason, error=Cancelled())

    def result(self, timeout: float | None = None) -> T:
        """Wait for the answer; raise `Cancelled` or what the work raised."""
        return self._future.result(timeout)

    @property
    def future(self) -> Future[T]:
        """The answer to come, for `asyncio.wrap_future`; not to be cancelled itself."""
        return self._future

    @property
    def error(self) -> BaseException | None:
        """What went wrong, once finished."""
        return self._future.exception(0) if self._future.done() else None

    def _run(self) -> None:
        with self._lock:
            if self.state is not TicketState.QUEUED or self._work is None:
                return
            self.state = TicketState.RUNNING
        self.progress.timings.queue = time.perf_counter() - self._queued_at
        try:
            self.cancel_token.check()
            value = self._work(self.progress, self.cancel_token)
        except Cancelled as error:
            self._end(self._stop_reason, error=error)
        except BaseException as error:
            self._end(TicketState.FAILED, error=error)
        else:
            self._end(TicketState.DONE, value=value)

    def _end(self, state: TicketState, *, value: Any = None, error: Any = None) -> None:
        self._work = None
        self.state = state
        if error is None:
            self._future.set_result(value)
        else:
            self._future.set_exception(error)
        if self._on_end is not None:
            self._on_end(self)


class InferenceThread:
    """Runs all work of one device, warm-up included, on a single thread.

    cuDNN keeps its plans per thread, so a pool would make every click slow.

    Parameters
    ----------
    device
        Name of the device (``"cpu"``, ``"cuda:0"``); names the thread.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._heap: list[tuple[bool, int, Ticket[Any]]] = []
        self._count = itertools.count()
        self._ready = threading.Condition()
        self._running: Ticket[Any] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=f"inference-{device}", daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Work[T],
        *,
        key: Hashable = None,
        idle: bool = False,
        on_report: Callable[[int, int, str], None] | None = None,
        on_end: Callable[[Ticket[T]], None] | None = None,
    ) -> Ticket[T]:
        """Queue ``work(progress, cancel)``.

        Parameters
        ----------
        key
            Requests of the same key supersede each other: one that waits is
            dropped, one that runs is asked to stop.
        idle
            Prefetch and the like: runs when nothing else waits, and gives way
            to the next real request.
        on_report
            Called as ``on_report(done, total, text)`` on the inference thread.
        on_end
            Called once with the ticket, whatever became of it: on the inference
            thread, or on the caller of `cancel` and `submit` for one that never ran.
        """
        ticket: Ticket[T] = Ticket(work, key, idle, on_report, on_end)
        with self._ready:
            if self._closed:
                raise RuntimeError("This inference thread was shut down.")
            waiting = [t for _, _, t in self._heap]
            superseded = [t for t in [*waiting, self._running] if t and self._yields(t, ticket)]
            self._heap = [e for e in self._heap if e[2] not in superseded]
            heapq.heapify(self._heap)
            heapq.heappush(self._heap, (idle, next(self._count), ticket))
            self._ready.notify()
        for old in superseded:
            old._stop(TicketState.SUPERSEDED)
        return ticket

    @staticmethod
    def _yields(old: Ticket[Any], new: Ticket[Any]) -> bool:
        same = new.key is not None and old.key == new.key
        return same or (old.idle and not new.idle and old.state is TicketState.RUNNING)

    def _loop(self) -> None:
        while True:
            with self._ready:
                while not self._heap:
                    if self._closed:
                        return
                    self._ready.wait()
                ticket = heapq.heappop(self._heap)[2]
                self._running = ticket
            ticket._run()
            with self._ready:
                self._running = None
            del ticket

    def close(self, timeout: float = 5.0) -> None:
        """Cancel what waits and runs, and end the thread."""
        with self._ready:
            self._closed = True
            pending = [t for _, _, t in self._heap]
            if self._running is not None:
                pending.append(self._running)
            self._heap.clear()
            self._ready.notify_all()
        for ticket in pending:
            ticket.cancel()
        self._thread.join(timeout)


_threads: dict[str, InferenceThread] = {}
_threads_lock = threading.Lock()


def inference_thread(device: str = "cpu") -> InferenceThread:
    """Return the one inference thread of ``device``, started on first use."""
    with _threads_lock:
        thread = _threads.get(device)
        if thread is None or thread._closed:
            thread = _threads[device] = InferenceThread(device)
        return thread


def close_inference_threads() -> None:
    """End all inference threads (at exit, between tests)."""
    with _threads_lock:
        threads = list(_threads.values())
        _threads.clear()
    for thread in threads:
        thread.close()
