"""The memory guard: say no before the machine swaps."""

from __future__ import annotations

import psutil

from openmedlab.core.errors import MemoryGuardError

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
