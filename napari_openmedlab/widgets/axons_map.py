"""The block map as a picture: one cell for each column of blocks, filling from the top."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_openmedlab.axons.map import DONE, EMPTY, FAILED, QUEUED, WAITING, BlockMap

COLORS = {
    WAITING: QColor("#2a2d34"),
    QUEUED: QColor("#f2c14e"),
    EMPTY: QColor("#4a505c"),
    DONE: QColor("#3fa7a0"),
    FAILED: QColor("#e4572e"),
}
LEGEND = "teal: done, grey: empty, yellow: at work, red: failed"


class BlockMapView(QWidget):
    """Draws a `BlockMap` from above; a click tells which column was meant.

    Each cell is a column of blocks, its first slices at the top.
    """

    column_chosen = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self._map: BlockMap | None = None
        self.setMouseTracking(True)
        self.setMinimumHeight(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a height that fits a sidebar."""
        return QSize(300, 160)

    def show_map(self, blocks: BlockMap | None) -> None:
        """Draw another map, or what changed in this one."""
        self._map = blocks
        self.setVisible(blocks is not None)
        self.update()

    def cell(self, y: int, x: int) -> QRectF:
        """Return where a column is drawn."""
        assert self._map is not None
        _, rows, columns = self._map.grid.counts
        side = min(self.width() / columns, self.height() / rows)
        return QRectF(x * side, y * side, side, side)

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw all columns."""
        if self._map is None:
            return
        painter = QPainter(self)
        depth, rows, columns = self._map.grid.counts
        for y in range(rows):
            for x in range(columns):
                cell = self.cell(y, x)
                gap = min(1.0, cell.width() / 8)
                high = (cell.height() - gap) / depth
                for z, state in enumerate(self._map.column(y, x).tolist()):
                    top = cell.top() + z * high
                    part = QRectF(cell.left(), top, cell.width() - gap, high)
                    painter.fillRect(part, COLORS[state])
        painter.end()

    def _column_at(self, position: QPointF) -> tuple[int, int] | None:
        if self._map is None:
            return None
        _, rows, columns = self._map.grid.counts
        side = self.cell(0, 0).width()
        y, x = int(position.y() // side), int(position.x() // side)
        return (y, x) if y < rows and x < columns else None

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Tell which column was clicked."""
        column = self._column_at(event.position()) if event is not None else None
        if column is not None:
            self.column_chosen.emit(*column)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Show what a column is."""
        column = self._column_at(event.position()) if event is not None else None
        if column is not None and event is not None and self._map is not None:
            QToolTip.showText(event.globalPosition().toPoint(), self._map.words(*column), self)

    def leaveEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Hide the tip."""
        QToolTip.hideText()
        super().leaveEvent(event)
