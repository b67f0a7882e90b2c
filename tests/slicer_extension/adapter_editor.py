"""The Segment Editor around a scripted effect, for tests; the editor logic is the wheel's.

The effect's own file is loaded unchanged. What Qt does in Slicer's C++ (options frame, activation,
mouse events of views) is done here as there.
"""

from __future__ import annotations

import sys
import types

import adapter_module
import adapter_qt
import slicer
import vtk

qt = adapter_qt.qt_module()
EVENTS = ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent")
ABOVE_ALL = 2.0


class AbstractScriptedSegmentEditorEffect:
    def __init__(self, scripted):
        self.scriptedEffect = scripted


class qSlicerSegmentEditorScriptedEffect:
    """What an effect's script calls, answered by the editor logic."""

    def __init__(self, parent):
        self.editor = None
        self.frame = qt.QWidget()
        self.frame.setLayout(qt.QVBoxLayout())

    def setPythonSource(self, path):
        script = adapter_module.load(path)
        self.script = script.SegmentEditorEffect(self)

    def self(self):
        return self

    def register(self):
        REGISTERED.append(self)

    def addOptionsWidget(self, widget):
        self.frame.layout().addWidget(widget)

    def parameterSetNode(self):
        return self.editor.node

    def saveStateForUndo(self):
        self.editor.logic.SaveStateForUndo()

    def defaultModifierLabelmap(self):
        logic = self.editor.logic
        logic.UpdateReferenceGeometryImage()
        logic.UpdateAlignedSourceVolume()
        logic.UpdateMaskLabelmap()
        logic.ResetModifierLabelmapToDefault()
        return logic.GetModifierLabelmap()

    def modifySegmentByLabelmap(self, segmentation, segment_id, labelmap, mode, bypass=False):
        self.editor.logic.ModifySegmentByLabelmap(
            segmentation, segment_id, labelmap, mode, False, bypass
        )


REGISTERED: list[qSlicerSegmentEditorScriptedEffect] = []


class SegmentEditor:
    """The editor's widget as far as effects see it."""

    def __init__(self, node):
        self.node = node
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.logic.SetSegmentEditorNode(node)
        self.effect = None
        self._observed = []

    def choose(self, segmentation, volume, segment_id):
        self.logic.SetSegmentationNode(segmentation)
        self.logic.SetSourceVolumeNode(volume)
        self.logic.SetCurrentSegmentID(segment_id)
        if self.effect is not None:
            self.effect.script.updateGUIFromMRML()

    def use(self, effect):
        """Make a copy of a registered effect the active one, as each editor does."""
        self.effect = effect.script.clone()
        self.effect.editor = self
        self.effect.script.setupOptionsFrame()
        self.effect.script.activate()
        self.effect.script.updateGUIFromMRML()
        return self.effect.script.panel

    def leave(self):
        if self.effect is not None:
            self.effect.script.deactivate()
        for interactor, tag in self._observed:
            interactor.RemoveObserver(tag)
        self._observed = []

    def watch(self, interactor, slice_node):
        """Give the effect the mouse events of a view, before anybody else."""
        logic = types.SimpleNamespace(GetSliceNode=lambda: slice_node)
        view = types.SimpleNamespace(className=lambda: "qMRMLSliceWidget", sliceLogic=lambda: logic)
        for name in EVENTS:
            event = getattr(vtk.vtkCommand, name)
            tags = []

            def pass_on(caller, _name, event=event, tags=tags):
                if self.effect.script.processInteractionEvents(caller, event, view):
                    caller.GetCommand(tags[0]).AbortFlagOn()

            tags.append(interactor.AddObserver(event, pass_on, ABOVE_ALL))
            self._observed.append((interactor, tags[0]))


def install():
    """Put the modules that effects import in their places."""
    effects = types.ModuleType("SegmentEditorEffects")
    effects.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect
    made = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    made.qSlicerSegmentEditorScriptedEffect = qSlicerSegmentEditorScriptedEffect
    sys.modules["SegmentEditorEffects"] = effects
    sys.modules["qSlicerSegmentationsEditorEffectsPythonQt"] = made
    slicer.qSlicerSegmentEditorAbstractEffect = types.SimpleNamespace(
        ModificationModeSet=slicer.vtkSlicerSegmentEditorLogic.ModificationModeSet
    )
