"""The *Segment* dock widget: prompts on an image become masks in a Labels layer."""

from __future__ import annotations

import napari
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.controller import SegmentController
from napari_openmedlab.tools import CANCEL_KEY
from napari_openmedlab.widgets import shortcuts
from napari_openmedlab.widgets.dock import Dock
from napari_openmedlab.widgets.objects_panel import ObjectsPanel
from napari_openmedlab.widgets.prompt_panel import PromptPanel
from napari_openmedlab.widgets.run_panel import MethodPanel, RunPanel
from napari_openmedlab.widgets.volume_panel import VolumePanel


class SegmentWidget(Dock):
    """Volume, objects, prompts and run in one column.

    Parameters
    ----------
    viewer
        The viewer whose image layers are segmented.

    Attributes
    ----------
    controller
        Does the work; scripts may call it directly.
    volume_combo, labels_combo, method_combo, policy_combo
        The choosers.
    tool_buttons
        Buttons by tool name: ``"point+"``, ``"point-"``, ``"box"``, ``"lasso"``,
        ``"scribble+"``, ``"scribble-"``, ``"extreme"``, ``"move"``.
    object_table, auto_run_check, run_button, cancel_button, progress_bar, made_label, \
times_label, save_button, status_label, restore_bar, guide
        What their names say.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.controller = SegmentController(viewer)
        self.controller.told.connect(self.tell)
        self._objects = ObjectsPanel(self.controller)
        self._prompts = PromptPanel(self.controller)
        self._method = MethodPanel(self.controller)
        self._run = RunPanel(self.controller)
        self._volume = VolumePanel(viewer, self.controller)
        self.help_button = QPushButton("Shortcuts")
        self.help_label = QLabel(shortcuts.help_text())
        self._name_parts()
        self._lay_out()
        self._set_up_cancel_key()
        unbind = shortcuts.bind(viewer, self.controller)
        self.end_with(
            self.controller.close, unbind, self._method.close_events, self._volume.close_events
        )

    def _name_parts(self) -> None:
        self.volume_combo = self._volume.volume_combo
        self.labels_combo = self._volume.labels_combo
        self.restore_bar = self._volume.restore_bar
        self.restore_button = self._volume.restore_button
        self.start_new_button = self._volume.start_new_button
        self.bring_back_button = self._volume.bring_back_button
        self.object_table = self._objects.table
        self.add_object_button = self._objects.add_button
        self.remove_object_button = self._objects.remove_button
        self.tool_buttons = self._prompts.tool_buttons
        self.guide = self._prompts.guide
        self.box_depth = self._prompts.box_depth
        self.place_panel = self._method.place
        self.method_combo = self._method.method_combo
        self.method_detail = self._method.detail
        self.weights_button = self._method.weights_button
        self.policy_combo = self._method.policy_combo
        self.policy_list = self._method.policy_list
        self.auto_run_check = self._run.auto_run_check
        self.run_button = self._run.run_button
        self.cancel_button = self._run.cancel_button
        self.progress_bar = self._run.progress_bar
        self.made_label = self._run.made_label
        self.times_label = self._run.times_label
        self.save_button = self._run.save_button

    def _lay_out(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        column.addWidget(self._volume)
        for title, panel in (
            ("Objects", self._objects),
            ("Prompts", self._prompts),
            ("Mask", self._method),
            ("", self._run),
        ):
            if title:
                column.addWidget(_heading(title))
            panel.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
            column.addWidget(panel)
        column.addWidget(self.status_label)
        self.help_button.setCheckable(True)
        self.help_button.setFlat(True)
        self.help_button.toggled.connect(self.help_label.setVisible)
        self.help_label.hide()
        column.addWidget(self.help_button)
        column.addWidget(self.help_label)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(320)

    def _set_up_cancel_key(self) -> None:
        """Let Escape cancel, and belong to napari again when nothing runs."""
        runner = self.controller.runner
        self._cancel_key = QShortcut(QKeySequence(CANCEL_KEY), self)
        self._cancel_key.setContext(Qt.ShortcutContext.ApplicationShortcut)
        self._cancel_key.setEnabled(False)
        self._cancel_key.activated.connect(lambda: runner.cancel())
        runner.busy_changed.connect(lambda busy: self._cancel_key.setEnabled(busy))


def _heading(title: str) -> QLabel:
    label = QLabel(title.upper())
    label.setStyleSheet("font-weight: 700; font-size: 10px; letter-spacing: 1px; margin-top: 4px;")
    return label
