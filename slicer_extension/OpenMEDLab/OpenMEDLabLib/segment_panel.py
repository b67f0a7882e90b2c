"""*Segment*: prompts for one segment, and what becomes of them."""

from __future__ import annotations

from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from OpenMEDLabLib import placing
from OpenMEDLabLib.logic import OpenMEDLabLogic
from OpenMEDLabLib.model_choice import ModelChoice
from OpenMEDLabLib.prompt_nodes import ROLE
from OpenMEDLabLib.status import StatusBar, button
from OpenMEDLabLib.watching import PromptWatcher

TOOLS = (
    ("positive", _("+ point"), _("Click what belongs to the structure.")),
    ("negative", _("− point"), _("Click what does not belong to it.")),
    ("box", _("Box"), _("Two clicks span an ROI around the structure.")),
    ("extreme", _("Extreme points"), _("Six clicks: first and last along each axis.")),
    ("stroke", _("+ scribble"), _("Click along a line inside; double-click ends it.")),
    ("negative stroke", _("− scribble"), _("Click along a line outside; double-click ends it.")),
)
OWN_EACH_TIME = ("box", "stroke", "negative stroke")


class SegmentPanel(slicer.util.VTKObservationMixin):
    """Segmentation, segment, tools to place prompts with, undo.

    Attributes
    ----------
    active
        Whether changed prompts are shown and answered here.
    """

    def __init__(self, layout: Any, logic: OpenMEDLabLogic, status: StatusBar) -> None:
        super().__init__()
        self.logic, self.status = logic, status
        self.active = False
        self.watcher = PromptWatcher(self._prompts_changed)
        self.box = ctk.ctkCollapsibleButton()
        self.box.text = _("Segment")
        layout.addWidget(self.box)
        form = qt.QFormLayout(self.box)
        self._add_choices(form)
        self._add_tools(form)
        self._add_scribbles(form)
        self._add_actions(form)
        mode = placing.interaction_node()
        self.addObserver(mode, mode.InteractionModeChangedEvent, self._mode_changed)

    def _add_choices(self, form: Any) -> None:
        self.segmentation = slicer.qMRMLNodeComboBox()
        self.segmentation.nodeTypes = ["vtkMRMLSegmentationNode"]
        self.segmentation.noneEnabled = True
        self.segmentation.addEnabled = False
        self.segmentation.noneDisplay = _("a new segmentation")
        self.segmentation.setMRMLScene(slicer.mrmlScene)
        self.segmentation.connect("currentNodeChanged(vtkMRMLNode*)", self._segmentation_chosen)
        self.segments = qt.QComboBox()
        self.segments.connect("currentIndexChanged(int)", self._segment_chosen)
        self.new_button = button(_("New"), self.new_segment, _("Add a segment."))
        row = qt.QHBoxLayout()
        row.addWidget(self.segments, 1)
        row.addWidget(self.new_button)
        self.model = ModelChoice(self.logic.assistant, "promptable", self._model_chosen)
        form.addRow(_("Segmentation:"), self.segmentation)
        form.addRow(_("Segment:"), row)
        form.addRow(_("Model:"), self.model.combo)

    def _add_tools(self, form: Any) -> None:
        grid = qt.QGridLayout()
        self.tools = {}
        for k, (role, text, tip) in enumerate(TOOLS):
            tool = qt.QPushButton(text)
            tool.setCheckable(True)
            tool.toolTip = tip
            tool.connect("clicked(bool)", lambda on, role=role: self.place(role, on))
            grid.addWidget(tool, k // 2, k % 2)
            self.tools[role] = tool
        form.addRow(grid)

    def _add_scribbles(self, form: Any) -> None:
        self.scribbles = qt.QComboBox(), qt.QComboBox()
        tip = _("Paint into a segment of its own in the Segment Editor and choose it here.")
        for combo, title in zip(self.scribbles, (_("Painted +:"), _("Painted −:")), strict=True):
            combo.toolTip = tip
            combo.connect("currentIndexChanged(int)", self._prompts_changed)
            form.addRow(title, combo)

    def _add_actions(self, form: Any) -> None:
        self.automatic = qt.QCheckBox(_("Answer every change"))
        self.automatic.setChecked(True)
        self.from_present = qt.QCheckBox(_("Start from the segment as it is"))
        self.from_present.setChecked(True)
        form.addRow(self.automatic)
        form.addRow(self.from_present)
        self.run_button = button(_("Segment"), self.run, _("Ask for the mask now."))
        self.undo_button = button(_("Undo"), self.logic.editor.undo)
        self.redo_button = button(_("Redo"), self.logic.editor.redo)
        self.clear_button = button(_("Clear prompts"), self.clear, _("The mask stays."))
        row = qt.QHBoxLayout()
        for one in (self.run_button, self.undo_button, self.redo_button, self.clear_button):
            row.addWidget(one)
        form.addRow(row)

    # ---------------------------------------------------------------- choices
    def refresh(self) -> None:
        """Show what the logic has chosen."""
        self.model.refresh()
        node = self.logic.segmentation
        if self.segmentation.currentNode() is not node:
            self.segmentation.setCurrentNode(node)
        self._fill_segments()
        target = self.logic.target if self.active else None
        self.watcher.watch(target.prompts if target is not None else None)

    def new_segment(self) -> None:
        """Add a segment and turn to it."""
        self.status.attempt(self.logic.new_segment)
        self.refresh()

    def _segmentation_chosen(self, node: Any) -> None:
        known = self.logic.segmentation
        if node is not known:
            self.logic.segmentation = node
        self.removeObservers(self._segments_changed)
        if node is not None:
            segments = node.GetSegmentation()
            for event in (segments.SegmentAdded, segments.SegmentRemoved):
                self.addObserver(segments, event, self._segments_changed)
            if not self.logic.segment_id and segments.GetNumberOfSegments():
                self.logic.segment_id = segments.GetNthSegmentID(0)
        self.refresh()

    def _segments_changed(self, caller: Any, event: str) -> None:
        self.refresh()

    def _segment_chosen(self, index: int) -> None:
        segment_id = self.segments.itemData(index) if index >= 0 else ""
        if segment_id and segment_id != self.logic.segment_id:
            placing.stop()
            self.logic.segment_id = segment_id
            self.refresh()

    def _fill_segments(self) -> None:
        node = self.logic.segmentation
        names = []
        if node is not None:
            segments = node.GetSegmentation()
            ids = map(segments.GetNthSegmentID, range(segments.GetNumberOfSegments()))
            names = [(segments.GetSegment(one).GetName(), one) for one in ids]
        _fill(self.segments, names, self.logic.segment_id)
        for combo in self.scribbles:
            _fill(combo, [(_("none"), ""), *names], combo.itemData(combo.currentIndex) or "")

    def _model_chosen(self, name: str) -> None:
        self.logic.assistant.model = name

    # ---------------------------------------------------------------- prompts
    def place(self, role: str, on: bool) -> None:
        """Let the next clicks in the views be prompts of a kind; switch that off again."""
        if not on:
            placing.stop()
            return
        if self.logic.volume is not None and self.logic.target is None:
            self.logic.new_segment()
        self.status.attempt(self._begin_placing, role)
        self.refresh()
        self._mode_changed()

    def _begin_placing(self, role: str) -> None:
        prompts = self.logic.need_target().prompts
        once = role in OWN_EACH_TIME
        node = prompts.add(role) if once else prompts.node(role)
        placing.start(node, persistent=not once)

    def _mode_changed(self, caller: Any = None, event: str | None = None) -> None:
        node = placing.going_on()
        role = node.GetAttribute(ROLE) if node is not None else ""
        for name, tool in self.tools.items():
            tool.setChecked(name == role)

    def _prompts_changed(self, index: int = 0) -> None:
        if self.automatic.checked and self.logic.target is not None and self._some_prompt():
            self.run()

    def _some_prompt(self) -> bool:
        return self.logic.target.prompts.any_placed() or any(self._painted())

    def _painted(self) -> tuple[str, str]:
        first, second = (c.itemData(c.currentIndex) or "" for c in self.scribbles)
        return first, second

    def run(self) -> None:
        """Ask for the mask of the current segment."""
        self.status.ask(
            lambda listener: self.logic.segment(
                listener, scribbles=self._painted(), from_present=self.from_present.checked
            ),
            self._answered,
        )

    def _answered(self, answer: Any) -> None:
        _region, mask = answer
        self.status.say(_("{n} voxels").format(n=int(mask.sum())))

    def clear(self) -> None:
        """Remove the current segment's prompts."""
        placing.stop()
        if self.logic.target is not None:
            self.logic.target.prompts.clear()

    def close(self) -> None:
        """Stop following the scene."""
        self.watcher.stop()
        self.removeObservers()


def _fill(combo: Any, rows: list[tuple[str, str]], current: str) -> None:
    """Give a combo box its rows without telling anybody."""
    blocked = combo.blockSignals(True)
    combo.clear()
    for text, value in rows:
        combo.addItem(text, value)
    combo.setCurrentIndex(max(combo.findData(current), 0) if rows else -1)
    combo.blockSignals(blocked)
