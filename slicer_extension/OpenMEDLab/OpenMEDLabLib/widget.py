"""The module's panels, put together. They ask the logic and show; nothing else."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from OpenMEDLabLib import placing
from OpenMEDLabLib.body_panel import BodyPanel
from OpenMEDLabLib.localize_panel import LocalizePanel
from OpenMEDLabLib.logic import OpenMEDLabLogic
from OpenMEDLabLib.segment_panel import SegmentPanel
from OpenMEDLabLib.server_panel import ServerPanel
from OpenMEDLabLib.status import StatusBar


class Panels(slicer.util.VTKObservationMixin):
    """*Server*, volume, *Segment*, *Whole body*, *Localize*, status.

    Parameters
    ----------
    layout
        Of the module's widget.
    logic
        What the panels ask.
    """

    def __init__(self, layout: Any, logic: OpenMEDLabLogic) -> None:
        super().__init__()
        self.logic = logic
        frame = qt.QVBoxLayout()
        self.status = StatusBar(frame, logic.assistant.cancel)
        self.server = ServerPanel(layout, logic, self.status, self._connected)
        form = qt.QFormLayout()
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.noneEnabled = True
        self.volume.addEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        form.addRow(_("Volume:"), self.volume)
        layout.addLayout(form)
        self.segment = SegmentPanel(layout, logic, self.status)
        self.body = BodyPanel(layout, logic, self.status, self._segmented)
        self.localize = LocalizePanel(layout, logic, self.status, self.refresh)
        layout.addLayout(frame)
        layout.addStretch(1)
        self.volume.connect("currentNodeChanged(vtkMRMLNode*)", self._volume_chosen)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.EndCloseEvent, self._scene_closed)
        self.addObserver(scene, scene.EndImportEvent, self._scene_read)
        self.refresh()

    def refresh(self) -> None:
        """Show what the logic has chosen and the server offers."""
        if self.volume.currentNode() is not self.logic.volume:
            self.volume.setCurrentNode(self.logic.volume)
        for panel in (self.segment, self.body, self.localize):
            panel.refresh()

    def enter(self) -> None:
        """Answer changed prompts from now on."""
        self.segment.active = True
        self.refresh()

    def leave(self) -> None:
        """Leave prompts to others when the user goes to another module."""
        placing.stop()
        self.segment.active = False
        self.refresh()

    def close(self) -> None:
        """Let go of the scene, the server's sessions and a server that was started here."""
        self.removeObservers()
        self.segment.close()
        self.logic.close()

    def _connected(self) -> None:
        self.refresh()
        self.localize.ask_organs()

    def _volume_chosen(self, node: Any) -> None:
        self.logic.volume = node
        self.refresh()

    def _segmented(self, node: Any) -> None:
        self.logic.segmentation = node
        self.refresh()

    def _scene_closed(self, caller: Any, event: str) -> None:
        self.logic.assistant.forget()
        self.refresh()

    def _scene_read(self, caller: Any, event: str) -> None:
        self.refresh()
