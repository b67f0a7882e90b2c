"""What all dock widgets share: a status line, and an end that comes once."""

from __future__ import annotations

from collections.abc import Callable

from napari.utils.notifications import show_warning
from psygnal.qt import start_emitting_from_queue
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget

from napari_openmedlab.widgets.small import show_sentence, timer, wrapped_label

QUEUE_MS = 10


class Dock(QWidget):
    """A widget for napari's docks.

    Attributes
    ----------
    status_label
        The line that `tell` writes; hidden while it is empty.
    """

    def __init__(self) -> None:
        super().__init__()
        start_emitting_from_queue(QUEUE_MS)
        self.status_label = wrapped_label()
        self.status_label.hide()
        self._notice = timer(self, lambda: show_warning(self.status_label.text()), once=True)
        self._end: Callable[[], None] = _once()

    def end_with(self, *calls: Callable[[], object]) -> None:
        """Call these, in this order, once the widget is closed; none may touch the widget."""
        self._end = _once(*calls)
        self.destroyed.connect(self._end)

    def event(self, event: QEvent | None) -> bool:
        """End when napari takes the widget out of its closed dock."""
        if event is not None and event.type() == QEvent.Type.ParentChange and not self.parent():
            self._end()
        return bool(super().event(event))

    def tell(self, text: str, error: bool) -> None:
        """Show a sentence; an error is a notification of napari's too."""
        show_sentence(self.status_label, text, error)
        if error:
            self._notice.start()


def _once(*calls: Callable[[], object]) -> Callable[[], None]:
    left = [*reversed(calls)]

    def end() -> None:
        while left:
            left.pop()()

    return end
