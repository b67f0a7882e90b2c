"""The journal: an append-only record of a session, one JSON object a line.

Records are written by one background thread in the order they were made and
handed to the operating system at once, so that a killed process loses nothing
that was written; a line cut short by the kill is dropped when the file is
opened again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openmedlab.core.errors import InputError

FORMAT = 1
Record = dict[str, Any]


class Journal:
    """An open journal file.

    Parameters
    ----------
    path
        Created with its folder when missing, continued when there.

    Raises
    ------
    InputError
        The file cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab+")
        except OSError as error:
            raise InputError(f"The journal {self.path} cannot be written: {error}.") from error
        self._drop_torn_line()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._last: Future[None] | None = None

    def _drop_torn_line(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        keep = data.rfind(b"\n") + 1
        if keep != len(data):
            self._file.truncate(keep)

    def append(self, op: str, payload: Callable[[], Record]) -> None:
        """Queue one record; ``payload`` is called on the writer's thread."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._last = self._writer.submit(self._write, op, now, payload)

    def _write(self, op: str, now: str, payload: Callable[[], Record]) -> None:
        line = json.dumps({"op": op, "at": now, **payload()}, separators=(",", ":"))
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def flush(self) -> None:
        """Wait until everything appended so far is in the file; raise what went wrong."""
        if self._last is not None:
            self._last.result()

    def close(self) -> None:
        """Write what is queued and close the file."""
        self._writer.shutdown(wait=True)
        self._file.close()

    @staticmethod
    def read(path: Path) -> Iterator[Record]:
        """Yield the records of a journal, oldest first; a torn last line is left out.

        Raises
        ------
        InputError
            The file is missing, or a line before the last is not a record.
        """
        try:
            with Path(path).open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return
                    yield _parse(line, number, Path(path))
        except OSError as error:
            raise InputError(f"The journal {path} cannot be read: {error}.") from error


def _parse(line: bytes, number: int, path: Path) -> Record:
    try:
        record = json.loads(line)
        record["op"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"Line {number} of the journal {path} is damaged.") from None
    return dict(record)
