"""The command line starts light, explains itself and fails in one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from openmedlab import __version__

HEAVY = ("numpy", "scipy", "skimage", "SimpleITK", "torch", "napari", "zarr", "dask", "httpx")
COMMANDS = ("demo", "segment", "view", "info", "samples", "evaluate", "replay", "conformance")


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "sys.argv = ['openmedlab', '--help']\n"
        "from openmedlab.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        f"    loaded = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "    assert end.code == 0, end.code\n"
        "    assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in (*COMMANDS, "models"):
        assert command in done.stdout


def test_version(cli):
    done = cli("--version")
    assert (done.code, done.out.strip()) == (0, f"openmedlab {__version__}")


@pytest.mark.parametrize("command", [*COMMANDS, "models list", "models fetch"])
def test_every_command_explains_itself(cli, command):
    done = cli(*command.split(), "--help")
    assert done.code == 0
    assert "Usage" in done.out


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("segment",), ("segment", "a.nii.gz"), ("evaluate", ".", "--first", "luck")],
)
def test_bad_usage_is_code_2(cli, arguments):
    assert cli(*arguments).code == 2


def test_python_m_runs_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "openmedlab.cli", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == f"openmedlab {__version__}"
