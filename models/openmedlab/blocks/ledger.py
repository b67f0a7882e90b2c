"""`Ledger`: which blocks are finished, kept through a kill."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openmedlab.core.errors import InputError
from openmedlab.core.journal import Journal

Facts = dict[str, Any]


class Ledger:
    """An append-only file: the plan of a run, then a line for every finished block.

    A line is written once the block's data are; one cut short by a kill is dropped, and its
    block is done again.

    Parameters
    ----------
    path
        Created when missing, continued when there.
    plan
        What decides the result. A ledger of another plan is refused.

    Raises
    ------
    InputError
        The ledger belongs to another plan, or cannot be written.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self._done: dict[str, dict[int, Facts]] = {}
        self.plan = read_plan(path)
        if self.plan is not None:
            _check_same(path, self.plan, plan)
            for record in Journal.read(path):
                if record["op"] == "block":
                    self._done.setdefault(record["stage"], {})[record["index"]] = record["facts"]
        self._journal = Journal(path)
        if self.plan is None:
            self.plan = dict(plan)
            self._journal.append("plan", lambda: {"plan": self.plan})
            self._journal.flush()

    def done(self, stage: str) -> dict[int, Facts]:
        """Return what is known of every finished block of a stage."""
        return dict(self._done.get(stage, {}))

    def finish(self, stage: str, index: int, facts: Facts) -> None:
        """Note that a block's data are written."""
        self._done.setdefault(stage, {})[index] = facts
        record = {"stage": stage, "index": index, "facts": facts}
        self._journal.append("block", lambda: record)

    def close(self) -> None:
        """Write what is queued to the disk itself and close the file."""
        path = self._journal.path
        self._journal.close()
        with path.open("ab") as file:
            os.fsync(file.fileno())


def read_plan(path: Path) -> dict[str, Any] | None:
    """Return the plan of a ledger; None where there is none yet."""
    if not path.exists():
        return None
    first = next(Journal.read(path), None)
    return None if first is None else dict(first["plan"])


def _check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            raise InputError(
                f"{path.parent.name} holds an unfinished run with another {key} "
                f"({old.get(key)}, now {new.get(key)}); repeat it with the same settings to go "
                "on, or begin anew (--restart)."
            )
