"""A stand-in for Slicer's application around real MRML. Runs in a process apart from napari's.

The adapter changes PyQt6 for its whole process, so these tests are collected only by
``pytest tests/slicer_extension`` (whose pytest.ini leaves pytest-qt out), not with all others.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

import pytest

APART = "pytestqt" not in sys.modules
THERE = importlib.util.find_spec("slicer") is not None
MODULE = Path(__file__).parents[2] / "slicer_extension" / "OpenMEDLab"
collect_ignore_glob = [] if APART and THERE else ["test_*.py"]

if not collect_ignore_glob:
    sys.path.insert(0, str(MODULE))
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import adapter_app
    import adapter_qt
    import slicer

    application = adapter_qt.qt_module().QApplication(["Slicer"])
    adapter_app.use_scene(*adapter_app.new_scene())


def pytest_report_header():
    if not APART:
        return "tests/slicer_extension: left out; run apart: pytest tests/slicer_extension"
    return None if THERE else "tests/slicer_extension: left out; slicer-core is not installed"


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory):
    """Keep journals and settings of tests out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENMEDLAB_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def scene():
    slicer.mrmlScene.Clear(False)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(False)


@pytest.fixture
def until():
    """Let Qt work until something is so."""

    def wait(there, seconds=30.0):
        end = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < end, "it did not happen"
            application.processEvents()
            time.sleep(0.002)

    return wait
