"""What is built and installed: the self test, the CMake files, the bundled part of the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import adapter_module
import pytest

EXTENSION = Path(__file__).parents[2] / "slicer_extension"
ENGINE = EXTENSION.parent / "models" / "openmedlab"
BUNDLED = ("core", "client", "engine")
SLICER = """
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/use.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/nothing.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/nothing.cmake")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "installed")
set(EXTENSION_NAME "${PROJECT_NAME}")
"""
USE = """
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(one ${MY_SCRIPTS} ${MY_RESOURCES})
    get_filename_component(folder "${CMAKE_BINARY_DIR}/lib/qt-scripted-modules/${one}" DIRECTORY)
    file(COPY "${CMAKE_CURRENT_SOURCE_DIR}/${one}" DESTINATION "${folder}")
  endforeach()
endfunction()
"""
CLICK = """
import sys
import numpy as np
from openmedlab.client import Client
from openmedlab.core import Geometry, Point, Volume
from openmedlab.engine.thread import InferenceThread
array = np.full((10, 12, 14), -100, np.int16)
array[3:7, 3:9, 3:11] = 150
volume = Volume(array, Geometry.from_spacing(array.shape, (2, 1, 1)), "CT", "scan")
with Client(sys.argv[1], "open sesame") as client:
    session = client.open(volume)
    number = session.add_object("block").number
    session.set_prompts(number, [Point((5, 6, 7))])
    edit = session.predict(number)
    assert (edit.after != edit.before).sum() > 50
assert not {"torch", "scipy", "skimage", "napari"} & set(sys.modules)
"""


def test_the_self_test_passes(scene):
    module = adapter_module.load(EXTENSION / "OpenMEDLab" / "OpenMEDLab.py")
    test = module.OpenMEDLabTest()
    test.runTest()
    assert len(test.said) == 5


@pytest.fixture
def bundle(tmp_path):
    """The part of the engine that a built extension carries, alone in a folder."""
    for part in BUNDLED:
        shutil.copytree(
            ENGINE / part, tmp_path / "openmedlab" / part, ignore=lambda *_: ["__pycache__"]
        )
    shutil.copy(ENGINE / "__init__.py", tmp_path / "openmedlab")
    return tmp_path


def test_the_bundled_engine_is_enough(bundle, server):
    done = subprocess.run(
        [sys.executable, "-c", CLICK, server],
        env={**os.environ, "PYTHONPATH": str(bundle)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("cmake") is None, reason="CMake is not installed")
def test_the_cmake_files_gather_every_file(tmp_path):
    slicer = tmp_path / "Slicer"
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(SLICER)
    (slicer / "use.cmake").write_text(USE)
    (slicer / "nothing.cmake").write_text("")
    done = subprocess.run(
        ["cmake", "-S", EXTENSION, "-B", tmp_path / "build", f"-DSlicer_DIR={slicer}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = tmp_path / "build" / "lib" / "qt-scripted-modules"
    source = EXTENSION / "OpenMEDLab"
    for one in (*source.rglob("*.py"), *source.glob("Resources/**/*.*")):
        assert (built / one.relative_to(source)).exists(), one
    for part in BUNDLED:
        for one in (ENGINE / part).glob("*.py"):
            copied = built / "OpenMEDLabLib" / "engine" / "openmedlab" / part / one.name
            assert copied.exists(), one
