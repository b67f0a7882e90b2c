"""Where the engine keeps things between runs: weights, encodings, journals."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path


def home() -> Path:
    """Return the data folder: ``OPENMEDLAB_HOME``, or the platform's place for user data."""
    chosen = os.environ.get("OPENMEDLAB_HOME")
    return Path(chosen).expanduser() if chosen else user_data_path("openmedlab", appauthor=False)


def journal_path(identity: str) -> Path:
    """Return where the journal of a volume with that `Volume.identity` is kept."""
    return home() / "journals" / f"{identity}.jsonl"
