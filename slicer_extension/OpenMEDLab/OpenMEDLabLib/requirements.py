"""What the extension needs in Slicer's own Python: no torch, and nothing unasked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("psygnal", "httpx", "blosc2", "psutil", "platformdirs")
HERE = Path(__file__).resolve().parent
BUNDLED = HERE / "engine"
CHECKOUT = HERE.parents[2] / "models"


def missing() -> list[str]:
    """Return the packages that Slicer's Python lacks."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def find_engine() -> None:
    """Let ``import openmedlab`` find the client that came with the extension.

    An installed one is used as it is; else the copy in a built extension, else the
    checkout that the extension lies in.
    """
    if importlib.util.find_spec("openmedlab") is None:
        sys.path.append(str(BUNDLED if BUNDLED.is_dir() else CHECKOUT))


def question(packages: list[str]) -> str:
    """Return what the user is asked before anything is installed."""
    return (
        f"OpenMEDLab needs {len(packages)} small Python packages in Slicer: "
        f"{', '.join(packages)} (a few megabytes, no torch). Install them now?"
    )


def install(packages: list[str]) -> None:
    """Install packages into Slicer's Python; call only after the user agreed."""
    import slicer

    slicer.util.pip_install(packages)
    importlib.invalidate_caches()
