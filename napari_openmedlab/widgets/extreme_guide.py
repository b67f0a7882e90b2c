"""The guide to six extreme points: what is set, what comes next, what is missing."""

from __future__ import annotations

from collections.abc import Collection

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_openmedlab.widgets.small import wrapped_label
from openmedlab.core import Geometry

WORDS = {
    "L": "left",
    "R": "right",
    "A": "anterior (front)",
    "P": "posterior (back)",
    "S": "superior (top)",
    "I": "inferior (bottom)",
}
OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}
DONE, NEXT, MISSING = QColor("#3ddc84"), QColor("#ffc83d"), QColor("#8a8f98")


def step_letters(geometry: Geometry) -> tuple[str, ...]:
    """Return the anatomical direction of the six steps, first and last along z, y, x."""
    return tuple(letter for code in geometry.codes for letter in (OPPOSITE[code], code))


def step_names(geometry: Geometry) -> tuple[str, ...]:
    """Return what a user looks for at each step: ``"most inferior (bottom)"``, ...

    Volumes measured in micrometres have no patient: theirs are the ends of z, y and x.
    """
    if geometry.unit == "micrometer":
        return tuple(f"{end} {axis}" for axis in "zyx" for end in ("lowest", "highest"))
    return tuple(f"most {WORDS[letter]}" for letter in step_letters(geometry))


class Sketch(QWidget):
    """An organ from the front and from below with the six points on it."""

    _PLACES = {  # noqa: RUF012 - constant
        "S": (0, 0.5, 0.0),
        "I": (0, 0.5, 1.0),
        "R": (0, 0.0, 0.5),
        "L": (0, 1.0, 0.5),
        "A": (1, 0.5, 0.0),
        "P": (1, 0.5, 1.0),
    }

    def __init__(self) -> None:
        super().__init__()
        self._colors: dict[str, QColor] = {}
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        return QSize(90, 172)

    def show_steps(self, colors: dict[str, QColor]) -> None:
        """Colour the points by anatomical letter."""
        self._colors = colors
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().text().color()
        organs = (QRectF(22, 20, 44, 48), QRectF(22, 116, 44, 32))
        for organ, caption in zip(organs, ("front", "below"), strict=True):
            painter.setPen(QPen(text, 1.2))
            painter.setBrush(QColor(text.red(), text.green(), text.blue(), 30))
            painter.drawEllipse(organ)
            painter.drawText(organ, Qt.AlignmentFlag.AlignCenter, caption)
        for letter, (which, u, v) in self._PLACES.items():
            self._draw_point(painter, organs[which], letter, u, v)

    def _draw_point(
        self, painter: QPainter, organ: QRectF, letter: str, u: float, v: float
    ) -> None:
        color = self._colors.get(letter, MISSING)
        at = QPointF(organ.left() + u * organ.width(), organ.top() + v * organ.height())
        painter.setPen(QPen(color, 2))
        painter.setBrush(color if color is not MISSING else Qt.BrushStyle.NoBrush)
        size = 6 if color is NEXT else 4
        painter.drawEllipse(at, size, size)
        painter.setPen(color)
        beside = QRectF(at.x() - 20 + 30 * (u - 0.5), at.y() - 8 + 30 * (v - 0.5), 40, 16)
        painter.drawText(beside, Qt.AlignmentFlag.AlignCenter, letter)


class ExtremeGuide(QWidget):
    """Six steps in words and in a sketch."""

    def __init__(self) -> None:
        super().__init__()
        self.sketch = Sketch()
        self.headline = wrapped_label()
        self.steps = [QLabel() for _ in range(6)]
        right = QVBoxLayout()
        right.setSpacing(1)
        right.addWidget(self.headline)
        for step in self.steps:
            right.addWidget(step)
        right.addStretch()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.sketch)
        layout.addLayout(right, 1)

    def show_steps(self, geometry: Geometry, done: Collection[int]) -> None:
        """Show which of the six are set; the first missing one is next."""
        names, letters = step_names(geometry), step_letters(geometry)
        missing = [step for step in range(6) if step not in done]
        colors = {}
        for step, (label, name) in enumerate(zip(self.steps, names, strict=True)):
            color = DONE if step in done else NEXT if step == missing[0] else MISSING
            mark = "✓" if step in done else "▶" if step == missing[0] else "○"
            weight = 700 if color is NEXT else 400
            label.setText(f"{mark}  {name}")
            label.setStyleSheet(f"color: {color.name()}; font-weight: {weight};")
            colors[letters[step]] = color
        self.sketch.show_steps(colors)
        self.headline.setText(_headline(missing, names))


def _headline(missing: list[int], names: tuple[str, ...]) -> str:
    if not missing:
        return "All six set. Drag one with Move, or click again to put the nearest right."
    left = "last one" if len(missing) == 1 else f"{len(missing)} missing"
    return f"Click the object's <b>{names[missing[0]]}</b> voxel ({left}); scroll to its slice."
