"""Masks into segments through the Segment Editor's own logic, so that its rules and undo hold."""

from __future__ import annotations

from typing import Any, Protocol

import slicer

from openmedlab.core import InputError, Region
from OpenMEDLabLib.masks import Mask, fill, image_array

EDITOR_TAG = "SegmentEditor"


class Editor(Protocol):
    """What a mask is written through: the module's own editor logic, or an effect."""

    def use(self, segmentation: Any, volume: Any, segment_id: str) -> None:
        """Turn to a segment of ``segmentation``, drawn over ``volume``."""
        ...

    def labelmap(self) -> Any:
        """Return an empty image on the segmentation's reference geometry."""
        ...

    def save_state(self) -> None:
        """Remember the segmentation for undo."""
        ...

    def set_segment(self, segmentation: Any, segment_id: str, labelmap: Any) -> None:
        """Let ``labelmap`` be the segment wherever masking allows it."""
        ...


def write_mask(
    editor: Editor, region: Region, mask: Mask, volume: Any, segmentation: Any, segment_id: str
) -> None:
    """Make a mask on the grid of ``volume`` the segment's new shape, as one undoable step.

    The editor's masking, editable intensity range and overwrite mode apply; where
    they forbid a change the segment stays as it was.

    Raises
    ------
    InputError
        The segmentation's geometry does not reach the mask, or the editor left it.
    """
    editor.use(segmentation, volume, segment_id)
    target = editor.labelmap()
    if target is None:
        raise InputError(
            f"The segmentation {segmentation.GetName()!r} has no geometry; choose its source "
            "volume in the Segment Editor."
        )
    fill(target, region, mask, volume, segmentation)
    if mask.any() and not image_array(target).any():
        raise InputError(
            f"The structure lies outside of the geometry of {segmentation.GetName()!r}; set the "
            f"segmentation's geometry from {volume.GetName()!r} in the Segment Editor."
        )
    editor.save_state()
    editor.set_segment(segmentation, segment_id, target)


class ModuleEditor:
    """The module's own editor logic, with the settings that the Segment Editor module shows."""

    def __init__(self) -> None:
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(slicer.mrmlScene)

    def use(self, segmentation: Any, volume: Any, segment_id: str) -> None:
        node = editor_node()
        if self.logic.GetSegmentEditorNode() is not node:
            self.logic.SetSegmentEditorNode(node)
        if self.logic.GetSegmentationNode() is not segmentation:
            self.logic.SetSegmentationNode(segmentation)
        if self.logic.GetSourceVolumeNode() is not volume:
            self.logic.SetSourceVolumeNode(volume)
        self.logic.SetCurrentSegmentID(segment_id)

    def labelmap(self) -> Any:
        self.logic.UpdateReferenceGeometryImage()
        self.logic.UpdateAlignedSourceVolume()
        self.logic.UpdateMaskLabelmap()
        self.logic.ResetModifierLabelmapToDefault()
        return self.logic.GetModifierLabelmap()

    def save_state(self) -> None:
        self.logic.SaveStateForUndo()

    def set_segment(self, segmentation: Any, segment_id: str, labelmap: Any) -> None:
        mode = slicer.vtkSlicerSegmentEditorLogic.ModificationModeSet
        self.logic.ModifySegmentByLabelmap(segmentation, segment_id, labelmap, mode, False, False)

    def undo(self) -> None:
        """Take back the newest step."""
        self.logic.Undo()

    def redo(self) -> None:
        """Do again what `undo` took back."""
        self.logic.Redo()


class EffectEditor:
    """The Segment Editor that an effect belongs to."""

    def __init__(self, effect: Any) -> None:
        self.effect = effect

    def use(self, segmentation: Any, volume: Any, segment_id: str) -> None:
        node = self.effect.parameterSetNode()
        if node is None or node.GetSegmentationNode() is not segmentation:
            raise InputError("The Segment Editor went on to another segmentation meanwhile.")

    def labelmap(self) -> Any:
        return self.effect.defaultModifierLabelmap()

    def save_state(self) -> None:
        self.effect.saveStateForUndo()

    def set_segment(self, segmentation: Any, segment_id: str, labelmap: Any) -> None:
        mode = slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeSet
        self.effect.modifySegmentByLabelmap(segmentation, segment_id, labelmap, mode)


def editor_node() -> Any:
    """Return the Segment Editor module's settings node, made where there is none yet."""
    scene = slicer.mrmlScene
    node = scene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(EDITOR_TAG)
        node = scene.AddNode(node)
    return node
