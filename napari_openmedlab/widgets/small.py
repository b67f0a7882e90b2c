"""Labels and timers as the panels want them."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QLabel


def wrapped_label(text: str = "") -> QLabel:
    """Return a label that breaks its lines."""
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def timer(parent: QObject, call: Callable[[], object], ms: int = 0, *, once: bool) -> QTimer:
    """Return a stopped timer that calls ``call`` every ``ms``, or once."""
    made = QTimer(parent)
    made.setInterval(ms)
    made.setSingleShot(once)
    made.timeout.connect(lambda: call())
    return made
