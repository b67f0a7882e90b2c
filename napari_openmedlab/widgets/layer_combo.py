"""A combo box of the viewer's layers of one type, always up to date."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_openmedlab.widgets.small import fill_width


class LayerCombo(QComboBox):
    """Offers layers by name; `chosen` is emitted when the user picks one (or the first entry).

    Parameters
    ----------
    kind
        Type of the layers.
    none_text
        First entry that stands for no layer; empty leaves it out.
    """

    chosen = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        kind: type[Layer],
        none_text: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        fill_width(self)
        self._viewer = viewer
        self._kind = kind
        self._none_text = none_text
        self.layers: list[Layer | None] = []
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._refill)
        self._named: list[Layer] = []
        self._refill()
        self.activated.connect(lambda row: self.chosen.emit(self.layers[row]))

    def layer(self) -> Layer | None:
        """Return the layer shown."""
        row = self.currentIndex()
        return self.layers[row] if 0 <= row < len(self.layers) else None

    def newest(self) -> Layer | None:
        """Return the uppermost layer on offer."""
        return self._named[-1] if self._named else None

    def show_layer(self, layer: Layer | None) -> None:
        """Show ``layer`` as the chosen one, without a signal."""
        row = next((k for k, known in enumerate(self.layers) if known is layer), -1)
        self.setCurrentIndex(row)

    def _refill(self, event: Any = None) -> None:
        shown = self.layer()
        for layer in self._named:
            layer.events.name.disconnect(self._refill)
        self._named = [layer for layer in self._viewer.layers if isinstance(layer, self._kind)]
        for layer in self._named:
            layer.events.name.connect(self._refill)
        first: list[Layer | None] = [None] if self._none_text else []
        self.layers = first + list(reversed(self._named))
        self.clear()
        self.addItems([self._none_text if x is None else x.name for x in self.layers])
        self.show_layer(shown)

    def close_events(self) -> None:
        """Let go of the viewer."""
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.disconnect(self._refill)
        for layer in self._named:
            layer.events.name.disconnect(self._refill)
