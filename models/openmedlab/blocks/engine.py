"""`each_block`: one stage over all blocks, a bounded window of them at a time."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypedDict, Unpack

from openmedlab.blocks.crew import Crew
from openmedlab.blocks.grid import BlockGrid
from openmedlab.blocks.ledger import Facts, Ledger
from openmedlab.core.errors import InputError, OpenMedLabError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.region import Region

BlockState = Literal["kept", "queued", "done", "empty", "failed"]
Stage = Callable[..., Facts]

AHEAD = 2
MOST_FAILURES = 50
LOOK_S = 0.2
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class BlocksFailed(InputError):  # noqa: N818 - names the state
    """Some blocks could not be done; the others are finished and kept."""


@dataclass(frozen=True)
class BlockEvent:
    """What happened to one block, for a block map.

    Attributes
    ----------
    stage
        Word of the stage: ``"segment"``, ``"label"``, ...
    index, region
        The block.
    state
        ``kept`` from an earlier run, ``queued`` (handed to the workers), ``done``,
        ``empty`` (done without work) or ``failed``.
    facts
        What the stage returned; for ``failed`` the ``reason``.
    """

    stage: str
    index: int
    region: Region
    state: BlockState
    facts: Facts = field(default_factory=dict)


OnBlock = Callable[[BlockEvent], None]


class BlockOptions(TypedDict, total=False):
    """The further parameters of `each_block`."""

    ledger: Ledger | None
    blocks: Sequence[int] | None
    arguments: Callable[[int], tuple[Any, ...]]
    progress: Progress | None
    cancel: CancelToken | None
    on_block: OnBlock


def run_blocks(
    stage: str, function: Stage, grid: BlockGrid, crew: Crew, **options: Unpack[BlockOptions]
) -> dict[int, Facts]:
    """Return what `each_block` yields, by block, once all are done."""
    return dict(each_block(stage, function, grid, crew, **options))


def each_block(
    stage: str,
    function: Stage,
    grid: BlockGrid,
    crew: Crew,
    *,
    ledger: Ledger | None = None,
    blocks: Sequence[int] | None = None,
    arguments: Callable[[int], tuple[Any, ...]] = lambda _: (),
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    on_block: OnBlock = lambda _: None,
) -> Iterator[tuple[int, Facts]]:
    """Call ``function(index, region, *arguments(index))`` once for every block.

    Parameters
    ----------
    stage
        Its word in the ledger, in events and in the progress.
    function
        Picklable; writes what it makes and returns small plain values. Loaded once in every
        worker. ``{"empty": True}`` means that nothing had to be done.
    blocks
        Which ones; all by default.
    ledger
        Where given, finished blocks are noted there and left out by the next run.
    on_block
        Called on this thread with every `BlockEvent`: ``kept`` ones first, then
        ``queued`` and one of ``done``, ``empty``, ``failed`` for each block.

    Yields
    ------
    int, dict
        A block and what the function returned: those of earlier runs, then each as it comes.

    Raises
    ------
    BlocksFailed
        A block could not be done or the disk is full. All others that could be are kept.
    Cancelled
        After ``cancel``; what was finished is kept.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    known = ledger.done(stage) if ledger else {}
    wanted = range(len(grid)) if blocks is None else blocks
    kept = [index for index in wanted if index in known]
    for index in kept:
        on_block(BlockEvent(stage, index, grid.region(index), "kept", known[index]))
        yield index, known[index]
    window = _Window(crew, function, grid, arguments)
    done, failures = len(kept), dict[int, str]()
    progress.report(done, len(wanted), stage)
    for index, state, facts in window.run([k for k in wanted if k not in known], cancel):
        if state == "failed":
            failures[index] = facts["reason"]
            if facts.get("stop") or len(failures) >= MOST_FAILURES:
                window.stop()
        elif state != "queued":
            done += 1
            if ledger:
                ledger.finish(stage, index, facts)
        on_block(BlockEvent(stage, index, grid.region(index), state, facts))
        if state != "queued":
            progress.report(done + len(failures), len(wanted), stage)
        if state in ("done", "empty"):
            yield index, facts
    if failures:
        raise BlocksFailed(_sentence(failures, done, len(wanted), ledger is not None))
    cancel.check()


def _sentence(failures: dict[int, str], done: int, total: int, resumable: bool) -> str:
    first = min(failures)
    count = f"{len(failures)} blocks" if len(failures) > 1 else f"Block {first}"
    which = f"; the first, block {first}:" if len(failures) > 1 else ":"
    kept = " and kept; repeat the command to go on from there"
    return (
        f"{count} could not be done{which} {failures[first].rstrip('.')}. "
        f"{done} of {total} blocks are finished{kept if resumable else '; repeat the command'}."
    )


@dataclass(eq=False)
class _Window:
    """The blocks that are with the workers now."""

    crew: Crew
    function: Stage
    grid: BlockGrid
    arguments: Callable[[int], tuple[Any, ...]]
    _stopped: bool = False

    def stop(self) -> None:
        """Hand out no more blocks; those with the workers are waited for."""
        self._stopped = True

    def run(self, todo: list[int], cancel: CancelToken) -> Iterator[tuple[int, BlockState, Facts]]:
        """Yield ``queued`` and the outcome of every block, as they come."""
        import cloudpickle

        blob = cloudpickle.dumps(self.function)
        back: SimpleQueue[Any] = SimpleQueue()
        running: dict[Any, int] = {}
        waiting = iter(todo)
        room = self._room()
        while True:
            while not self._stopped and not cancel.cancelled and len(running) < room:
                index = next(waiting, None)
                if index is None:
                    break
                running[self._submit(blob, index, back)] = index
                yield index, "queued", {}
            if not running:
                return
            if cancel.cancelled and not self._stopped:
                self.stop()
                _drop_unstarted(self.crew.client, running)
            try:
                future = back.get(timeout=LOOK_S)
            except Empty:
                room = self._room()
                continue
            index = running.pop(future, None)
            if index is not None and not (future.cancelled() and self._stopped):
                yield index, *_outcome(future)

    def _room(self) -> int:
        return AHEAD * self.crew.size()

    def _submit(self, blob: bytes, index: int, back: SimpleQueue[Any]) -> Any:
        future = self.crew.client.submit(
            _work,
            blob,
            index,
            self.grid.region(index),
            self.arguments(index),
            pure=False,
            resources=self.crew.resources or None,
        )
        future.add_done_callback(back.put)
        return future


def _drop_unstarted(client: Any, running: dict[Any, int]) -> None:
    """Cancel what no worker has begun; what has begun is finished and kept.

    A block that begins in this very moment may be lost, and is done again by the next run.
    """
    begun = {key for keys in client.processing().values() for key in keys}
    client.cancel([f for f in running if f.key not in begun])


def _outcome(future: Any) -> tuple[BlockState, Facts]:
    from distributed import KilledWorker

    try:
        facts: Facts = future.result()
    except (asyncio.CancelledError, CancelledError):
        return "failed", {"reason": "the scheduler of the workers was lost", "stop": True}
    except KilledWorker:
        reason = (
            "its worker was ended again and again, most likely for want of memory; take smaller "
            "blocks or fewer workers"
        )
        return "failed", {"reason": reason}
    except OSError as error:
        full = error.errno in NO_SPACE
        reason = f"{error.filename or 'the output'} cannot be written, {error.strerror or error}"
        return "failed", {"reason": reason, "stop": full}
    except OpenMedLabError as error:
        return "failed", {"reason": str(error)}
    return ("empty" if facts.get("empty") else "done"), facts


@lru_cache(maxsize=4)
def _loaded(blob: bytes) -> Stage:
    import cloudpickle

    loaded: Stage = cloudpickle.loads(blob)
    return loaded


def _work(blob: bytes, index: int, region: Region, arguments: tuple[Any, ...]) -> Facts:
    return _loaded(blob)(index, region, *arguments)
