"""The Segment Editor effect *OpenMEDLab*, as Slicer loads it; the work is in `OpenMEDLabLib`."""
# ruff: noqa: N802

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from OpenMEDLabLib import requirements
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

HERE = Path(__file__)
ICON = HERE.parents[1] / "Resources" / "Icons" / "SegmentEditorEffect.png"


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    """Segments from clicks, scribbles and boxes drawn in slice views."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = "OpenMEDLab"
        scriptedEffect.title = "OpenMEDLab"
        scriptedEffect.perSegment = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.panel: Any = None

    def clone(self) -> Any:
        from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

        cloned = qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(HERE.as_posix())
        return cloned

    def icon(self) -> Any:
        return qt.QIcon(str(ICON)) if ICON.exists() else qt.QIcon()

    def helpText(self) -> str:
        return "<html>" + _(
            "Click inside the structure; a model fills it. Ctrl-click what does not belong to it, "
            "drag points to correct, or draw scribbles and boxes.<p>Masking, the editable "
            "intensity range and the overwrite mode are honoured, and each answer is one step of "
            "undo. Choose the server in the <b>OpenMEDLab</b> module.</html>"
        )

    def setupOptionsFrame(self) -> None:
        if requirements.missing():
            text = _("Open the OpenMEDLab module once to install what this effect needs.")
            button = qt.QPushButton(text)
            button.connect("clicked()", lambda: slicer.util.selectModule("OpenMEDLab"))
            self.scriptedEffect.addOptionsWidget(button)
            return
        requirements.find_engine()
        from OpenMEDLabLib.effect_panel import EffectPanel

        self.panel = EffectPanel(self.scriptedEffect)

    def activate(self) -> None:
        if self.panel is not None:
            self.panel.activate()

    def deactivate(self) -> None:
        if self.panel is not None:
            self.panel.deactivate()

    def updateGUIFromMRML(self) -> None:
        if self.panel is not None:
            self.panel.refresh()

    def processInteractionEvents(
        self, callerInteractor: Any, eventId: int, viewWidget: Any
    ) -> bool:
        return self.panel is not None and self.panel.handle(callerInteractor, eventId, viewWidget)
