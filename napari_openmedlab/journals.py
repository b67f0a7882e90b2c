"""Journals of earlier sessions on a volume: found, restored or kept aside.

The live journal of a volume has its plain name (`journal_path`). One found there from
an earlier session waits under a name with the time until the user restores it or
starts anew; nothing is ever deleted that holds work.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

_WORK = (b'{"op":"edit"', b'{"op":"prompts"')
_WAITING = ".waiting.jsonl"


def set_aside(path: Path) -> Path | None:
    """Free the name ``path`` for a new journal; return the newest earlier one with work in it."""
    if path.exists():
        if _has_work(path):
            path.rename(_stamped(path, _WAITING))
        else:
            path.unlink()
    waiting = sorted(path.parent.glob(f"{path.stem}.*{_WAITING}"))
    return waiting[-1] if waiting else None


def bring_back(waiting: Path, path: Path) -> None:
    """Put a waiting journal in the place of the live one, which must be closed."""
    if path.exists():
        if _has_work(path):
            path.rename(_stamped(path, ".jsonl"))
        else:
            path.unlink()
    waiting.rename(path)


def keep(waiting: Path) -> Path:
    """Keep a waiting journal for good, not to be offered again; return its new name."""
    kept = waiting.with_name(waiting.name.removesuffix(_WAITING) + ".jsonl")
    waiting.rename(kept)
    return kept


def written(path: Path) -> str:
    """Say when a journal was last written to."""
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def _has_work(path: Path) -> bool:
    with path.open("rb") as file:
        return any(line.startswith(_WORK) for line in file)


def _stamped(path: Path, ending: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return path.with_name(f"{path.stem}.{stamp}{ending}")
