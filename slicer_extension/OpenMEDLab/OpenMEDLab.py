"""OpenMEDLab in 3D Slicer: the module, its widget, and its self test.

Slicer asks for camel case names; the work is in OpenMEDLabLib, imported when first needed.
"""
# ruff: noqa: N802

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from OpenMEDLabLib import requirements
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

EFFECT = Path(__file__).parent / "SegmentEditorOpenMEDLabLib" / "SegmentEditorEffect.py"
HELP = """
Segment with a few clicks, label the whole body, and find organs, with the models of an
OpenMEDLab server on this machine or another one. The same clicks work inside the Segment
Editor, as its effect <b>OpenMEDLab</b>. Nothing is installed without asking, and Slicer's
Python needs no torch. <p>For research; not a medical device.</p>
"""
THANKS = "Built on OpenMEDLab's published models; see each model's card for its licence and paper."


class OpenMEDLab(ScriptedLoadableModule):
    """What Slicer lists, and where the Segment Editor effect is announced."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "OpenMEDLab"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Markups", "Terminologies"]
        parent.contributors = ["The napari-openmedlab authors"]
        parent.helpText = HELP
        parent.acknowledgementText = THANKS
        slicer.app.connect("startupCompleted()", announce)


def announce() -> None:
    """Register the Segment Editor effect and the code list once Slicer is up."""
    from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

    effect = qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(EFFECT.as_posix())
    effect.self().register()
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(
        str(Path(__file__).parent / "Resources" / "OpenMEDLab.term.json")
    )


class OpenMEDLabWidget(ScriptedLoadableModuleWidget):
    """The module's panels, or the question whether to install what they need."""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        self.panels: Any = None
        self.packages = requirements.missing()
        if self.packages:
            self._ask_to_install()
        else:
            self._build()

    def _ask_to_install(self) -> None:
        self.question = qt.QLabel(requirements.question(self.packages))
        self.question.setWordWrap(True)
        self.install_button = qt.QPushButton(_("Install"))
        self.install_button.connect("clicked()", self._install)
        self.layout.addWidget(self.question)
        self.layout.addWidget(self.install_button)
        self.layout.addStretch(1)

    def _install(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed.")):
            requirements.install(self.packages)
            self.question.setVisible(False)
            self.install_button.setVisible(False)
            self._build()
            self.panels.enter()

    def _build(self) -> None:
        requirements.find_engine()
        from OpenMEDLabLib.logic import OpenMEDLabLogic
        from OpenMEDLabLib.widget import Panels

        self.logic = OpenMEDLabLogic()
        self.panels = Panels(self.layout, self.logic)

    def enter(self) -> None:
        if self.panels is not None:
            self.panels.enter()

    def exit(self) -> None:
        if self.panels is not None:
            self.panels.leave()

    def cleanup(self) -> None:
        if self.panels is not None:
            self.panels.close()


class OpenMEDLabTest(ScriptedLoadableModuleTest):
    """Checks that need neither a server nor a network; real Slicer can run them."""

    def runTest(self) -> None:
        missing = requirements.missing()
        if missing:
            self.fail(f"install first: {missing}")
        requirements.find_engine()
        from OpenMEDLabLib import selftest

        for check in selftest.CHECKS:
            slicer.mrmlScene.Clear(False)
            self.delayDisplay(check.__doc__)
            check()
        slicer.mrmlScene.Clear(False)
        self.delayDisplay(_("All checks passed"))
