"""Labels and timers as the panels want them."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QComboBox, QLabel, QSizePolicy


def wrapped_label(text: str = "") -> QLabel:
    """Return a label that breaks its lines."""
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def show_sentence(label: QLabel, text: str, error: bool) -> None:
    """Show a sentence, an error in orange; hide the label where there is none."""
    label.setText(text)
    label.setVisible(bool(text))
    label.setStyleSheet("color: #ffb454;" if error else "")


def fill_width(combo: QComboBox) -> None:
    """Let a combo box take the width there is, however long its entries are."""
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)


def timer(parent: QObject, call: Callable[[], object], ms: int = 0, *, once: bool) -> QTimer:
    """Return a stopped timer that calls ``call`` every ``ms``, or once."""
    made = QTimer(parent)
    made.setInterval(ms)
    made.setSingleShot(once)
    made.timeout.connect(lambda: call())
    return made
