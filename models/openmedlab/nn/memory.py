"""When memory ran out: step down to a way of working that needs less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from openmedlab.core.errors import MemoryGuardError

T = TypeVar("T")


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
