"""When what lies at a path was made: workers outlive the files that they keep open."""

from __future__ import annotations

from pathlib import Path

METADATA = ("zarr.json", ".zarray", ".zgroup")


def stamp(path: Path) -> tuple[tuple[int, int], ...]:
    """Return what differs once something else lies at ``path``; chunks written change nothing.

    Of a zarr group or array it is when its metadata were made, of others when they changed.
    """
    files = [path / name for name in METADATA] if path.is_dir() else []
    kept = [file for file in files if file.exists()] or [path]
    return tuple((s.st_mtime_ns, s.st_ino) for s in (f.stat() for f in kept if f.exists()))
