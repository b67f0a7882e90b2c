"""Training and validation loss over the updates, drawn as they come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from openmedlab.tuning.finetune import Point

TRAINING, VALIDATION, BEST = QColor("#f2a33c"), QColor("#3fa7d6"), QColor("#3fbf7f")
GROUND, GRID, TEXT = QColor("#1d2026"), QColor("#343942"), QColor("#b9bfca")
LEFT, TOP, RIGHT, BOTTOM = 44, 22, 12, 34
TICKS = 5


class LossPlot(QWidget):
    """Two curves with axes; the best look at the validation volumes is marked."""

    def __init__(self) -> None:
        super().__init__()
        self._points: list[Point] = []
        self._steps = 1
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(180)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a height that fits a sidebar."""
        return QSize(320, 240)

    @property
    def shown(self) -> int:
        """How many looks are drawn."""
        return len(self._points)

    def show_points(self, points: Sequence[Point], steps: int) -> None:
        """Draw the looks so far of a training of ``steps`` updates at most."""
        if (list(points), steps) == (self._points, self._steps):
            return
        self._points, self._steps = list(points), max(steps, 1)
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw axes, curves and the best look."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), GROUND)
        training = _finite((p.step, p.training) for p in self._points)
        validation = _finite((p.step, p.validation) for p in self._points)
        if validation:
            low, high = _span([v for _, v in (*training, *validation)])
            self._axes(painter, low, high)
            for curve, color in ((training, TRAINING), (validation, VALIDATION)):
                self._curve(painter, [self._place(s, v, low, high) for s, v in curve], color)
            best = min(validation, key=lambda entry: entry[1])
            painter.setPen(QPen(BEST, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(self._place(*best, low, high), 5.0, 5.0)
        self._legend(painter)
        painter.end()

    @property
    def _area(self) -> QRectF:
        return QRectF(LEFT, TOP, self.width() - LEFT - RIGHT, self.height() - TOP - BOTTOM)

    def _place(self, step: float, value: float, low: float, high: float) -> QPointF:
        area = self._area
        across, up = step / self._steps, (value - low) / (high - low)
        return QPointF(area.left() + across * area.width(), area.bottom() - up * area.height())

    def _axes(self, painter: QPainter, low: float, high: float) -> None:
        area, right = self._area, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        digits = max(0, -math.floor(math.log10(_round_step(high - low))))
        for value in _ticks(low, high):
            y = self._place(0, value, low, high).y()
            painter.setPen(GRID)
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(TEXT)
            painter.drawText(QRectF(0, y - 8, LEFT - 6, 16), right, f"{value:.{digits}f}")
        centre = Qt.AlignmentFlag.AlignCenter
        for step in _ticks(0, self._steps):
            if step == int(step):
                x = self._place(step, low, low, high).x()
                label = QRectF(x - 30, area.bottom() + 2, 60, 14)
                painter.drawText(label, centre, f"{step:.0f}")
        painter.drawText(QRectF(LEFT, self.height() - 18, area.width(), 16), centre, "updates")

    @staticmethod
    def _curve(painter: QPainter, places: list[QPointF], color: QColor) -> None:
        painter.setPen(QPen(color, 2))
        painter.drawPolyline(QPolygonF(places))
        painter.setBrush(color)
        for place in places:
            painter.drawEllipse(place, 1.5, 1.5)

    @staticmethod
    def _legend(painter: QPainter) -> None:
        left = float(LEFT)
        for color, text in ((TRAINING, "training loss"), (VALIDATION, "validation loss")):
            painter.setPen(QPen(color, 2))
            painter.drawLine(QPointF(left, 11), QPointF(left + 16, 11))
            painter.setPen(TEXT)
            painter.drawText(QPointF(left + 21, 15), text)
            left += 36 + painter.fontMetrics().horizontalAdvance(text)


def _finite(entries: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    return [(step, v) for step, v in entries if v is not None and math.isfinite(v)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return rounded ends round all values."""
    step = _round_step(max(values) - min(values) or 1.0)
    low = math.floor(min(values) / step) * step
    return low, max(math.ceil(max(values) / step) * step, low + step)


def _ticks(low: float, high: float) -> list[float]:
    step = _round_step(high - low)
    return [low + k * step for k in range(math.floor((high - low) / step + 1e-9) + 1)]


def _round_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten that parts a span in about `TICKS`."""
    power = 10.0 ** math.floor(math.log10(span / TICKS))
    return next(power * k for k in (1, 2, 5, 10) if power * k * TICKS >= span * (1 - 1e-9))
