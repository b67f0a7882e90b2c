"""The Segment Editor effect: prompts drawn in slice views, answers through the editor."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from OpenMEDLabLib.assistant import Assistant, Target, shared
from OpenMEDLabLib.model_choice import ModelChoice
from OpenMEDLabLib.pointer import Pointer, near_a_point, position_of
from OpenMEDLabLib.settings import ADDRESS, USUAL, remembered
from OpenMEDLabLib.status import StatusBar, button
from OpenMEDLabLib.watching import PromptWatcher
from OpenMEDLabLib.writing import EffectEditor

TOOLS = (
    ("positive", _("+ point"), _("Click what belongs to the segment (Ctrl: what does not).")),
    ("negative", _("− point"), _("Click what does not belong to it.")),
    ("stroke", _("+ scribble"), _("Draw a line inside the segment (Ctrl: outside).")),
    ("negative stroke", _("− scribble"), _("Draw a line outside.")),
    ("box", _("Box"), _("Draw a box around it on this slice.")),
    ("extreme", _("Extreme points"), _("Six clicks: first and last along each axis.")),
)


class EffectPanel:
    """The effect's options, and what the mouse does in slice views.

    Parameters
    ----------
    effect
        The `qSlicerSegmentEditorScriptedEffect` that this is the script of.
    assistant
        Asks the server; by default the one the module uses as well.
    """

    def __init__(self, effect: Any, assistant: Assistant | None = None) -> None:
        self.effect = effect
        self.assistant = assistant or shared()
        self.editor = EffectEditor(effect)
        self.pointer = Pointer()
        self.watcher = PromptWatcher(self._prompts_changed)
        self.active = False
        self._watched: tuple[str, str] | None = None
        frame = qt.QWidget()
        layout = qt.QVBoxLayout(frame)
        self._add_tools(layout)
        self._add_options(layout)
        self.status = StatusBar(layout, self.assistant.cancel)
        effect.addOptionsWidget(frame)

    def _add_tools(self, layout: Any) -> None:
        grid = qt.QGridLayout()
        self.tools = {}
        for k, (role, text, tip) in enumerate(TOOLS):
            tool = qt.QPushButton(text)
            tool.setCheckable(True)
            tool.toolTip = tip
            tool.connect("clicked()", lambda role=role: self.pick(role))
            grid.addWidget(tool, k // 2, k % 2)
            self.tools[role] = tool
        layout.addLayout(grid)
        self.tools[self.pointer.tool].setChecked(True)

    def _add_options(self, layout: Any) -> None:
        form = qt.QFormLayout()
        self.model = ModelChoice(self.assistant, "promptable", self._model_chosen)
        self.automatic = qt.QCheckBox(_("Answer every change"))
        self.automatic.setChecked(True)
        self.from_present = qt.QCheckBox(_("Start from the segment as it is"))
        self.from_present.setChecked(True)
        form.addRow(_("Model:"), self.model.combo)
        form.addRow(self.automatic)
        form.addRow(self.from_present)
        layout.addLayout(form)
        self.run_button = button(_("Segment"), self.run, _("Ask for the mask now."))
        self.clear_button = button(_("Clear prompts"), self.clear, _("The mask stays."))
        self.server_button = button(
            _("Server ..."),
            lambda: slicer.util.selectModule("OpenMEDLab"),
            _("Choose or start a server in the OpenMEDLab module."),
        )
        row = qt.QHBoxLayout()
        for one in (self.run_button, self.clear_button, self.server_button):
            row.addWidget(one)
        layout.addLayout(row)

    @property
    def target(self) -> Target | None:
        """The editor's current segment; None while something is not chosen."""
        node = self.effect.parameterSetNode()
        if node is None:
            return None
        segmentation, volume = node.GetSegmentationNode(), node.GetSourceVolumeNode()
        segment_id = node.GetSelectedSegmentID()
        if segmentation is None or volume is None or not segment_id:
            return None
        target = Target(volume, segmentation, segment_id)
        return target if target.alive else None

    def activate(self) -> None:
        """Begin to follow the editor's current segment."""
        self.active = True
        if not self.assistant.address:
            self.assistant.address = remembered(ADDRESS, USUAL)
        if not self.assistant.models:
            self.status.ask(self.assistant.ask_models, lambda _models: self.refresh())
        self.refresh()

    def deactivate(self) -> None:
        """Give up what is being drawn and hide the prompts; a request under way goes on."""
        self.active = False
        self.pointer.forget()
        self.refresh()

    def refresh(self) -> None:
        """Follow the editor's choices."""
        self.model.refresh()
        target = self.target if self.active else None
        key = target.key if target is not None else None
        if key != self._watched:
            self._watched = key
            self.pointer.forget()
            self.watcher.watch(target.prompts if target is not None else None)

    def pick(self, role: str) -> None:
        """Draw with another tool from now on."""
        self.pointer.tool = role
        for name, tool in self.tools.items():
            tool.setChecked(name == role)

    def handle(self, interactor: Any, event: int, view: Any) -> bool:
        """Take a mouse event of a view; return whether nobody else shall have it."""
        target = self.target
        if target is None or view.className() != "qMRMLSliceWidget":
            return False
        xy, slice_node = interactor.GetEventPosition(), view.sliceLogic().GetSliceNode()
        position = position_of(xy, slice_node)
        if event == vtk.vtkCommand.LeftButtonPressEvent:
            panning = interactor.GetShiftKey() or interactor.GetAltKey()
            if panning or near_a_point(target.prompts, xy, slice_node):
                return False
            opposite = bool(interactor.GetControlKey())
            self.pointer.press(target.prompts, position, slice_node, opposite)
            return True
        if not self.pointer.drawing:
            return False
        if event == vtk.vtkCommand.MouseMoveEvent:
            self.pointer.move(position)
            return True
        if event == vtk.vtkCommand.LeftButtonReleaseEvent:
            self.pointer.release(position)
            self.watcher.settle()
            return True
        return False

    def run(self) -> None:
        """Ask for the mask of the current segment."""
        target = self.target
        if target is None:
            self.status.complain(_("Choose a source volume and a segment in the Segment Editor."))
            return
        self.status.ask(
            lambda listener: self.assistant.segment(
                target, self.editor, listener, from_present=self.from_present.checked
            ),
            lambda answer: self.status.say(_("{n} voxels").format(n=int(answer[1].sum()))),
        )

    def clear(self) -> None:
        """Remove the current segment's prompts."""
        if self.target is not None:
            self.target.prompts.clear()

    def _model_chosen(self, name: str) -> None:
        self.assistant.model = name

    def _prompts_changed(self) -> None:
        wanted = self.automatic.checked and not self.pointer.drawing
        if wanted and self.target is not None and self.target.prompts.any_placed():
            self.run()
