"""`BlockMap`: how far every column of blocks is, seen from above."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openmedlab.blocks import BlockEvent, BlockGrid

WAITING, QUEUED, EMPTY, DONE, FAILED = range(5)
WORDS = {DONE: "done", EMPTY: "empty", QUEUED: "at work", FAILED: "failed", WAITING: "to do"}
_STATES = {"kept": DONE, "queued": QUEUED, "done": DONE, "empty": EMPTY, "failed": FAILED}


class BlockMap:
    """The state of every block of a run.

    Parameters
    ----------
    grid
        The blocks.

    Attributes
    ----------
    states
        uint8 (z, y, x), one of ``WAITING``, ``QUEUED``, ``EMPTY``, ``DONE``, ``FAILED``.
    """

    def __init__(self, grid: BlockGrid) -> None:
        self.grid = grid
        self.states = np.zeros(grid.counts, np.uint8)

    def note(self, event: BlockEvent) -> None:
        """Take in what happened to a block."""
        state = _STATES[event.state]
        if event.facts.get("empty"):
            state = EMPTY
        self.states[self.grid.place(event.index)] = state

    @property
    def finished(self) -> int:
        """Blocks done or found empty."""
        return int(np.isin(self.states, (DONE, EMPTY)).sum())

    def column(self, y: int, x: int) -> npt.NDArray[np.uint8]:
        """Return the states of one column, from the first slices to the last."""
        return self.states[:, y, x]

    def words(self, y: int, x: int) -> str:
        """Say what a column is."""
        column = self.column(y, x)
        _, high, wide = self.grid.block
        names = {
            DONE: "done",
            EMPTY: "empty",
            QUEUED: "at work",
            FAILED: "failed",
            WAITING: "to do",
        }
        counts = [f"{int((column == k).sum())} {word}" for k, word in names.items()]
        told = ", ".join(c for c in counts if not c.startswith("0 "))
        return f"y {y * high} to {(y + 1) * high}, x {x * wide} to {(x + 1) * wide}: {told}"
