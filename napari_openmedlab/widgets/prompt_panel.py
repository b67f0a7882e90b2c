"""The prompt tools, the depth of boxes and the extreme-point guide."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.controller import SegmentController
from napari_openmedlab.layers.prompts import AMBER, GREEN, RED
from napari_openmedlab.tools import COMMAND_KEYS, TOOLS
from napari_openmedlab.widgets.extreme_guide import ExtremeGuide

COLUMNS = 4
AXES = "zyx"


class PromptPanel(QWidget):
    """A button for each tool; beneath, what the tool in hand needs."""

    def __init__(self, controller: SegmentController) -> None:
        super().__init__()
        self.controller = controller
        self.tool_buttons = {name: self._button(name) for name in TOOLS}
        self.guide = ExtremeGuide()
        self.box_depth = BoxDepth(controller)
        grid = QGridLayout()
        grid.setSpacing(3)
        for k, button in enumerate(self.tool_buttons.values()):
            grid.addWidget(button, k // COLUMNS, k % COLUMNS)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(grid)
        layout.addWidget(self.box_depth)
        layout.addWidget(self.guide)
        controller.tool_changed.connect(self.refresh)
        controller.prompts_changed.connect(self.refresh)
        controller.objects_changed.connect(self.refresh)
        controller.opened.connect(self.refresh)
        self.refresh()

    def _button(self, name: str) -> QPushButton:
        tool = TOOLS[name]
        button = QPushButton(tool.label)
        button.setCheckable(True)
        button.setToolTip(f"{tool.tip} ({tool.key})")
        button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        color = AMBER if name == "extreme" else GREEN if tool.positive else RED
        if name == "move":
            color = "#6cb6ff"
        button.setStyleSheet(
            f"QPushButton {{ padding: 4px 2px; }} QPushButton:checked {{ background: {color};"
            " color: black; }"
        )
        button.clicked.connect(lambda on: self.controller.take(name if on else None))
        return button

    def refresh(self) -> None:
        """Show the tool in hand and how far its prompts are."""
        workspace, tool = self.controller.workspace, self.controller.tool
        self.setEnabled(workspace is not None)
        for name, button in self.tool_buttons.items():
            button.setChecked(name == tool)
        self.guide.setVisible(tool == "extreme")
        if workspace is not None and tool == "extreme":
            geometry = workspace.session.volume.geometry
            self.guide.show_steps(geometry, workspace.prompts.extreme_points(workspace.current))
        self.box_depth.refresh()


class BoxDepth(QWidget):
    """How far the newest box reaches across its plane: flat, or through slices a to b."""

    def __init__(self, controller: SegmentController) -> None:
        super().__init__()
        self.controller = controller
        self._filling = False
        self.label = QLabel()
        self.first, self.last = QSpinBox(), QSpinBox()
        self.here_button = QPushButton("to here")
        self.here_button.setToolTip(
            f"Extend the box to the slice in view ({COMMAND_KEYS['box: extend to this slice']})"
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.label, self.first, QLabel("to"), self.last, self.here_button):
            layout.addWidget(widget)
        for spin in (self.first, self.last):
            spin.setKeyboardTracking(False)
            spin.valueChanged.connect(self._on_spin)
        self.here_button.clicked.connect(lambda: controller.extend_box_here())

    def refresh(self) -> None:
        """Show the newest box of the current object, while the box tool is in hand."""
        workspace = self.controller.workspace
        row = workspace.prompts.newest_box(workspace.current) if workspace is not None else None
        self.setVisible(self.controller.tool == "box" and row is not None)
        if workspace is None or row is None:
            return
        axis, first, last = workspace.prompts.box_depth(row)
        self._filling = True
        self.label.setText(f"box through {AXES[axis]}")
        for spin, value in ((self.first, first), (self.last, last)):
            spin.setRange(0, workspace.session.volume.shape[axis] - 1)
            spin.setValue(round(value))
        self._filling = False

    def _on_spin(self) -> None:
        if not self._filling:
            self.controller.extend_box(self.first.value(), self.last.value())
