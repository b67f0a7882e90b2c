"""Keyboard shortcuts, bound on the viewer while the widget lives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.components import ViewerModel

from napari_openmedlab.controller import SegmentController
from napari_openmedlab.tools import CANCEL_KEY, COMMAND_KEYS, TOOLS


def bind(viewer: ViewerModel, controller: SegmentController) -> Callable[[], None]:
    """Bind all shortcuts; return the function that takes them away again."""
    actions: dict[str, Callable[[], Any]] = {
        tool.key: partial(controller.take, name) for name, tool in TOOLS.items()
    }
    commands = {
        "run": controller.run,
        "next object": controller.next_object,
        "new object": controller.add_object,
        "show or hide masks": controller.toggle_masks,
        "box: extend to this slice": controller.extend_box_here,
    }
    actions |= {COMMAND_KEYS[name]: action for name, action in commands.items()}
    for key, action in actions.items():
        viewer.bind_key(key, _ignoring_viewer(action), overwrite=True)

    def unbind() -> None:
        for key in actions:
            viewer.bind_key(key, None, overwrite=True)

    return unbind


def _ignoring_viewer(action: Callable[[], Any]) -> Callable[[ViewerModel], None]:
    def pressed(viewer: ViewerModel) -> None:
        action()

    return pressed


def help_text() -> str:
    """Return the table of shortcuts, as rich text."""
    rows = {tool.label: tool.key for tool in TOOLS.values()}
    rows |= COMMAND_KEYS
    rows |= {"cancel": CANCEL_KEY, "undo, redo (label layer)": "Ctrl-Z, Ctrl-Shift-Z"}
    cells = "".join(
        f"<tr><td><b>{k}</b>&nbsp;&nbsp;</td><td>{n}</td></tr>" for n, k in rows.items()
    )
    return f"<table>{cells}</table>"
