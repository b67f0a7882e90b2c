"""Slicer's place mode: the next clicks in the views become points of one markups node."""

from __future__ import annotations

from typing import Any

import slicer


def start(node: Any, persistent: bool = True) -> None:
    """Let the user place points of ``node``; ``persistent`` goes on after the first."""
    selection, interaction = _nodes()
    selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
    selection.SetReferenceActivePlaceNodeID(node.GetID())
    interaction.SetPlaceModePersistence(int(persistent))
    interaction.SetCurrentInteractionMode(interaction.Place)


def stop() -> None:
    """Go back to ordinary mouse use."""
    interaction = _nodes()[1]
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def going_on() -> Any:
    """Return the node that points are being placed in, or None."""
    selection, interaction = _nodes()
    if interaction.GetCurrentInteractionMode() != interaction.Place:
        return None
    return slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID() or "")


def interaction_node() -> Any:
    """Return the node whose changes tell that place mode began or ended."""
    return _nodes()[1]


def _nodes() -> tuple[Any, Any]:
    logic = slicer.app.applicationLogic()
    return logic.GetSelectionNode(), logic.GetInteractionNode()
