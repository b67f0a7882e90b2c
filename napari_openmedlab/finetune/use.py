"""A fine-tuned model, taken into the weights store and chosen where it works."""

from __future__ import annotations

from typing import Any

from napari_openmedlab.whole_body.segment import open_segment
from openmedlab.zoo import NETWORKS, ModelCard


def place_of(task: str) -> str:
    """Return the widget in which models of a task work."""
    return "Segment" if task == "promptable" else "Whole body"


def can_be_stored(card: ModelCard) -> bool:
    """Whether the store takes fine-tuned weights of a model's network."""
    return card.network in NETWORKS


def open_with(viewer: Any, card: ModelCard) -> None:
    """Open the widget in which a stored model works, or bring it to the front, and choose it."""
    if place_of(card.task) == "Segment":
        segment = open_segment(viewer)
        segment.runner.refresh_methods(card.name)
        segment.choose_method(card.name)
        return
    dock, widget = viewer.window.add_plugin_dock_widget(
        "napari-openmedlab", "Whole body", tabify=True
    )
    dock.show()
    dock.raise_()
    widget.controller.refresh_methods(card.name)
    widget.controller.choose_method(card.name)
