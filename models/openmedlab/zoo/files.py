"""Files that are never half-written: room, temporary names, digests, a lock between processes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from openmedlab.core.progress import CancelToken
from openmedlab.zoo.errors import WeightsError

CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
SPARE = 64 << 20


def human(size: float) -> str:
    """Return a byte count for people (``"402 MB"``)."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raise `WeightsError` unless ``folder``'s disk has ``needed`` bytes and some to spare."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise WeightsError(
            f"{what} needs {human(needed + SPARE)} on the disk of {folder}, and {human(free)} are "
            "free; "
            "make room, or set OPENMEDLAB_HOME to a folder on another disk."
        )


def write_error(error: OSError, folder: Path) -> WeightsError:
    """Return the sentence for an error while writing into ``folder``."""
    if error.errno in FULL or "No space left" in str(error):
        return WeightsError(
            f"The disk of {folder} is full; make room, or set OPENMEDLAB_HOME to a folder on "
            "another disk, and try again."
        )
    return WeightsError(f"{folder} cannot be written: {error.strerror or error}.")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; it becomes ``path`` if all went well.

    Raises
    ------
    WeightsError
        The disk is full or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise write_error(error, path.parent) from error
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the file's SHA-256 digest in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(path: Path, cancel: CancelToken | None = None) -> dict[str, str]:
    """Return the file's ``sha256`` and ``md5``, whichever its publisher states."""
    found = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            if cancel is not None:
                cancel.check()
            for digest in found.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in found.items()}


@contextmanager
def locked(path: Path, cancel: CancelToken | None = None) -> Iterator[None]:
    """Hold ``path`` as a lock against other threads and processes.

    Waits until ``cancel`` is raised; without one it does not wait and raises `WeightsError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        while not _try_lock(file):
            if cancel is None:
                raise WeightsError(f"{path.stem} is being fetched; wait for it or stop it first.")
            cancel.check()
            time.sleep(0.05)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
