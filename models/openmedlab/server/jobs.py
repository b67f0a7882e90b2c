"""`Jobs`: work under way in a session, by the name its client gave it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from openmedlab.core import InputError
from openmedlab.engine import Ticket

PACE = 0.1
STILL_HERE = 15.0


class UnknownJobError(InputError):
    """Nothing of that name is under way."""


class Job:
    """One piece of work and what it last reported; made where an event loop runs.

    Attributes
    ----------
    name
        The client's word for it.
    ticket
        The engine's.
    """

    def __init__(self, name: str, submit: Callable[..., Ticket[Any]], work: Any, key: Any) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._last: dict[str, Any] = {"done": 0, "total": 0, "text": "waiting"}
        self._over = False
        self.ticket = submit(work, key=key, on_report=self._report)

    def _report(self, done: int, total: int, text: str) -> None:
        """Take a report, on the inference thread."""
        self._last = {"done": done, "total": total, "text": text}
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    def end(self) -> None:
        """Tell those who follow that it is over."""
        self._over = True
        self._changed.set()

    async def events(self) -> AsyncIterator[str]:
        """Yield server-sent events: reports, at most ten a second, and the end."""
        self._changed.set()
        while not self._over:
            try:
                await asyncio.wait_for(self._changed.wait(), STILL_HERE)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            self._changed.clear()
            yield _event("progress", self._last)
            if not self._over:
                await asyncio.sleep(PACE)
        yield _event("end", {"state": self.ticket.state.value})


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
