"""The *Segment* widget of a viewer: found where it is open, opened where it is needed."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels

from napari_openmedlab.controller import SegmentController


def segment_on(viewer: ViewerModel, labels: Labels) -> SegmentController | None:
    """Return the controller of an open *Segment* widget whose masks lie in a layer."""
    window = getattr(viewer, "window", None)
    for widget in window.dock_widgets.values() if window is not None else ():
        controller = getattr(widget, "controller", None)
        if isinstance(controller, SegmentController) and controller.workspace_on(labels):
            return controller
    return None


def open_segment(viewer: Any) -> SegmentController:
    """Open the *Segment* widget, or bring the open one to the front."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Segment", tabify=True)
    dock.show()
    dock.raise_()
    controller: SegmentController = widget.controller
    return controller
