"""The memory guard: say no before the machine swaps, and step down when it ran out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import psutil

from openmedlab.core.errors import MemoryGuardError

T = TypeVar("T")
HEADROOM = 0.9


def available_bytes() -> int:
    """Return the memory that can be taken without swapping."""
    return int(psutil.virtual_memory().available)


def require_memory(needed: int, what: str) -> None:
    """Raise `MemoryGuardError` when ``needed`` bytes for ``what`` are not to be had."""
    free = available_bytes()
    if needed > HEADROOM * free:
        raise MemoryGuardError(
            f"{what} needs {needed / 1e9:.1f} GB but {free / 1e9:.1f} GB of memory are free; "
            "close other programs or work on a smaller region."
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that RAM or GPU memory ran out (torch is not imported)."""
    if isinstance(error, MemoryError):
        return True
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    )


def step_down(
    rungs: Sequence[tuple[str, Callable[[], T]]], tell: Callable[[str], None] = lambda _: None
) -> T:
    """Run the first of ``rungs`` that fits into memory, and tell which one it was.

    Parameters
    ----------
    rungs
        (what it is, the work), best first: ``("on the GPU", f), ("smaller tiles", g), ...``.
    tell
        Called with a sentence each time a rung ran out of memory.

    Raises
    ------
    MemoryGuardError
        Even the last rung ran out of memory.
    """
    for position, (name, work) in enumerate(rungs):
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if position + 1 < len(rungs):
                tell(f"Out of memory {name}; trying {rungs[position + 1][0]}.")
    raise MemoryGuardError(
        f"Out of memory {rungs[-1][0]}, the smallest way there is; close other programs or crop "
        "the volume."
    )
