"""What is remembered from one Slicer to the next. Tokens are not."""

from __future__ import annotations

import qt

ADDRESS, PYTHON = "OpenMEDLab/Address", "OpenMEDLab/Python"
USUAL = "http://127.0.0.1:1527"


def remembered(key: str, usual: str) -> str:
    """Return what was last used, or what is usual."""
    return str(qt.QSettings().value(key, usual) or usual)


def remember(key: str, value: str) -> None:
    """Use it again next time."""
    qt.QSettings().setValue(key, value)
