"""Where real scans lie, when they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def samples_folder() -> Path:
    named = os.environ.get("OPENMEDLAB_SAMPLES")
    if not named or not (Path(named) / "ct").is_dir():
        pytest.skip("OPENMEDLAB_SAMPLES names no folder with real scans")
    return Path(named) / "ct"
