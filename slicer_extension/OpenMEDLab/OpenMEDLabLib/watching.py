"""Tells when a segment's prompts changed: placed, moved or removed, in any view or module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from OpenMEDLabLib.prompt_nodes import PromptNodes

SETTLE_MS = 30


class PromptWatcher(slicer.util.VTKObservationMixin):
    """Follows the markups of one segment at a time.

    Parameters
    ----------
    changed
        Called once things have settled for a moment, on the GUI thread.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._prompts: PromptNodes | None = None
        self._nodes: list[Any] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", changed)

    def watch(self, prompts: PromptNodes | None) -> None:
        """Follow these markups from now on, and no others; the others are hidden."""
        if self._prompts is not None:
            self._prompts.show(False)
        self.stop()
        self._prompts = prompts
        if prompts is None:
            return
        prompts.show(True)
        for event in (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent):
            self.addObserver(slicer.mrmlScene, event, self._scene_changed)
        self._follow()

    def stop(self) -> None:
        """Follow nothing."""
        self._timer.stop()
        self.removeObservers()
        self._nodes = []

    def _scene_changed(self, caller: Any, event: str) -> None:
        before = len(self._nodes)
        self._follow()
        if len(self._nodes) < before:
            self.settle()

    def _follow(self) -> None:
        nodes = self._prompts.all() if self._prompts is not None else []
        for node in nodes:
            for event in _events(node):
                if not self.hasObserver(node, event, self.settle):
                    self.addObserver(node, event, self.settle)
        self._nodes = nodes

    def settle(self, caller: Any = None, event: str | None = None) -> None:
        """Tell of a change in a moment, unless another one comes first."""
        self._timer.start(SETTLE_MS)


def _events(node: Any) -> tuple[int, ...]:
    return (
        node.PointPositionDefinedEvent,
        node.PointRemovedEvent,
        node.PointEndInteractionEvent,
    )
