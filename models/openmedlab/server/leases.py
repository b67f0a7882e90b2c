"""`Leases`: who holds a session, and until when."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from openmedlab.core import OpenMedLabError
from openmedlab.server.jobs import Job


class CapacityError(OpenMedLabError):
    """All sessions are given out."""


class GoneError(OpenMedLabError):
    """No such session, or no more."""


class Occupant(Protocol):
    """What a lease is for."""

    @property
    def nbytes(self) -> int: ...

    def close(self) -> None: ...


@dataclass(eq=False)
class Lease:
    """One session given out.

    Attributes
    ----------
    token
        Names it; whoever knows it may use it.
    occupant
        The session itself.
    used, seen
        When it last worked, and when its client last gave a sign of life.
    lock
        Held by a request that changes the session.
    idle, liveness
        Seconds without work, and without a sign of life, after which it ends.
    jobs
        Work under way; a session with any is not thrown out.
    """

    token: str
    occupant: Occupant
    used: float
    seen: float
    idle: float
    liveness: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    jobs: list[Job] = field(default_factory=list)

    def job(self, name: str) -> Job | None:
        """Return the newest work of that name that is under way."""
        return next((j for j in reversed(self.jobs) if j.name == name), None)

    def begin(self, job: Job) -> None:
        """Take note of work."""
        self.jobs.append(job)

    def end(self, job: Job, now: float) -> None:
        """Take note of its end."""
        self.jobs.remove(job)
        self.used = self.seen = now


class Leases:
    """All sessions given out.

    Parameters
    ----------
    clock
        Returns seconds.
    limit
        Sessions at once.
    idle, liveness
        Seconds without work, and without a sign of life, after which a lease ends.
    """

    def __init__(
        self, clock: Callable[[], float], limit: int, idle: float, liveness: float
    ) -> None:
        self.clock = clock
        self.limit = limit
        self.idle = idle
        self.liveness = liveness
        self._held: dict[str, Lease] = {}

    def claim(
        self,
        make: Callable[[], Occupant],
        idle: float | None = None,
        liveness: float | None = None,
    ) -> Lease:
        """Give out a session; raise `CapacityError` when there is none left.

        ``idle`` and ``liveness`` differ from the usual for clients that know no heartbeat.
        """
        self.require_room()
        now = self.clock()
        times = (idle or self.idle, liveness or self.liveness)
        lease = Lease(secrets.token_hex(16), make(), now, now, *times)
        self._held[lease.token] = lease
        return lease

    def require_room(self) -> None:
        """Raise `CapacityError` when all sessions are given out."""
        self.sweep()
        if len(self._held) >= self.limit:
            raise CapacityError(
                f"All {self.limit} sessions of this server are in use; try again later."
            )

    def use(self, token: str, kind: type[Occupant]) -> Lease:
        """Return a lease that is about to work; this keeps it from idling."""
        lease = self.look(token, kind)
        lease.used = lease.seen = self.clock()
        return lease

    def beat(self, token: str, kind: type[Occupant]) -> Lease:
        """Take a sign of life, which does not count as work."""
        lease = self.look(token, kind)
        lease.seen = self.clock()
        return lease

    def look(self, token: str, kind: type[Occupant]) -> Lease:
        """Return a lease and leave its times as they are; raise `GoneError` when it ended."""
        self.sweep()
        lease = self._held.get(token)
        if lease is None or not isinstance(lease.occupant, kind):
            raise GoneError("This session is unknown or has expired; open a new one.")
        return lease

    def remaining(self, lease: Lease) -> float:
        """Seconds until ``lease`` ends for want of work."""
        return max(0.0, lease.idle - (self.clock() - lease.used))

    def release(self, token: str) -> None:
        """End a lease; an unknown one is no error."""
        lease = self._held.pop(token, None)
        if lease is not None:
            lease.occupant.close()

    def sweep(self) -> None:
        """End all leases that idled too long or whose client fell silent."""
        now = self.clock()
        for lease in list(self._held.values()):
            over = now - lease.seen > lease.liveness or now - lease.used > lease.idle
            if over and not lease.jobs:
                self.release(lease.token)

    def close(self) -> None:
        """End all leases."""
        for token in list(self._held):
            self.release(token)

    @property
    def nbytes(self) -> int:
        """Memory that all sessions hold."""
        return sum(lease.occupant.nbytes for lease in self._held.values())

    def __len__(self) -> int:
        return len(self._held)
