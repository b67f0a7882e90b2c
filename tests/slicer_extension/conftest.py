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
    import adapter_editor
    import adapter_module
    import adapter_qt
    import adapter_widgets
    import slicer

    application = adapter_qt.qt_module().QApplication(["Slicer"])
    adapter_app.use_scene(*adapter_app.new_scene())
    for part in (adapter_module, adapter_widgets, adapter_editor):
        part.install()


def pytest_report_header():
    if not APART:
        return "tests/slicer_extension: left out; run apart: pytest tests/slicer_extension"
    return None if THERE else "tests/slicer_extension: left out; slicer-core is not installed"


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory):
    """Keep journals and settings of tests out of the user's home."""
    home = tmp_path_factory.mktemp("home")
    settings = adapter_qt.qt_module().QSettings
    settings.setDefaultFormat(settings.IniFormat)
    settings.setPath(settings.IniFormat, settings.UserScope, str(home))
    application.setOrganizationName("test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENMEDLAB_HOME", str(home))
        yield


@pytest.fixture(autouse=True)
def _no_error_unheard(capfd):
    """Fail where VTK or Qt printed an error of a callback and went on."""
    yield
    assert "Traceback" not in capfd.readouterr().err


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


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A real server with the built-in methods, and a template; its address.

    Its localizer finds the bright block of `slicer_scenes` without looking for it.
    """
    pytest.importorskip("fastapi", reason="needs the server extra")
    pytest.importorskip("blosc2", reason="needs the server extra")
    import slicer_scenes

    from openmedlab.core import ExtremePoints, Geometry, Localization, Volume
    from openmedlab.localization import methods
    from openmedlab.localization.templates import TemplateLibrary
    from openmedlab.server.run import running
    from openmedlab.server.service import Service
    from openmedlab.server.settings import Settings

    class Finder:
        name = "finder"

        def localize(self, templates, volume, progress, cancel):
            found = Localization(ExtremePoints(slicer_scenes.BLOCK), 0.75)
            return dict.fromkeys(templates.organs, found)

    folder = tmp_path_factory.mktemp("templates")
    block = slicer_scenes.block_image()
    volume = Volume(block, Geometry.from_spacing(block.shape, (2, 1, 1)), "CT", "seen before")
    points = volume.geometry.index_to_world(slicer_scenes.BLOCK)
    TemplateLibrary(folder).add("liver", points, volume)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.LOCALIZERS, "builtin", lambda choice: Finder())
        settings = Settings(port=0, token="open sesame", templates=folder)
        with running(Service(settings)) as address:
            yield address
