"""One piece of work per scan: here one after the other, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from openmedlab.core.errors import InputError, OpenMedLabError
from openmedlab.core.progress import CancelToken, Progress

CONNECT_S = 20


@dataclass(frozen=True)
class Failed:
    """A scan that could not be done, and why, in a sentence."""

    image: Path
    reason: str


class Job(Protocol):
    """One scan; plain values, so that it travels to a worker."""

    @property
    def image(self) -> Path: ...


J = TypeVar("J", bound=Job)
R = TypeVar("R")
Work = Callable[[J, CancelToken | None], R]


def run_cohort(
    jobs: Sequence[J],
    work: Work[J, R],
    *,
    scheduler: str | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    on_outcome: Callable[[R | Failed], None] = lambda _: None,
) -> list[R | Failed]:
    """Do ``work(job, cancel)`` for every job; one that fails does not stop the others.

    Parameters
    ----------
    jobs
        What there is to do.
    work
        A function of a module, so that it can be named to a worker.
    scheduler
        Address of a Dask scheduler whose workers see the same folders; without one,
        everything is done here, one after the other.
    on_outcome
        Called with each outcome as it comes.

    Returns
    -------
    list
        What ``work`` returned, or `Failed`, in the order of ``jobs``.

    Raises
    ------
    InputError
        No scheduler answers at that address.
    Cancelled
        Between two jobs.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    done = _here(jobs, work, cancel) if scheduler is None else _there(jobs, work, scheduler, cancel)
    outcomes: dict[int, R | Failed] = {}
    progress.report(0, len(jobs))
    for number, outcome in done:
        outcomes[number] = outcome
        on_outcome(outcome)
        progress.report(len(outcomes), len(jobs), jobs[number].image.name)
    return [outcomes[k] for k in range(len(jobs))]


def guarded(work: Work[J, R], job: J, cancel: CancelToken | None = None) -> R | Failed:
    """Do one job; what is wrong with its scan becomes a `Failed`."""
    try:
        return work(job, cancel)
    except (OpenMedLabError, MemoryError, OSError) as error:
        return Failed(job.image, str(error) or type(error).__name__)


def _here(
    jobs: Sequence[J], work: Work[J, R], cancel: CancelToken
) -> Iterator[tuple[int, R | Failed]]:
    for number, job in enumerate(jobs):
        cancel.check()
        yield number, guarded(work, job, cancel)


def _there(
    jobs: Sequence[J], work: Work[J, R], address: str, cancel: CancelToken
) -> Iterator[tuple[int, R | Failed]]:
    try:
        distributed: Any = import_module("distributed")
    except ModuleNotFoundError as error:
        raise InputError(
            "A scheduler needs Dask's cluster part; install it with: "
            "pip install 'napari-openmedlab[cluster]'."
        ) from error
    try:
        client = distributed.Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise InputError(f"No Dask scheduler answers at {address}; check the address.") from error
    with client:
        futures = [client.submit(guarded, work, job, pure=False) for job in jobs]
        numbers = {future.key: number for number, future in enumerate(futures)}
        for future in distributed.as_completed(futures):
            if cancel.cancelled:
                client.cancel(futures)
                cancel.check()
            yield numbers[future.key], future.result()
