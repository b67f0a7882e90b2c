"""The prompt tools: what each draws, into which layer, with which key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Holder = Literal["points", "shapes"]


@dataclass(frozen=True)
class Tool:
    """A way to prompt.

    Attributes
    ----------
    name
        Stable word; keys of `TOOLS`.
    label, tip
        What the button shows.
    holder
        The layer its prompts lie in.
    mode
        That layer's mode while the tool is in hand.
    positive
        Whether its prompts are inside the object.
    key
        Keyboard shortcut.
    """

    name: str
    label: str
    tip: str
    holder: Holder
    mode: str
    positive: bool
    key: str


_ALL = (
    Tool("point+", "Point +", "Click voxels of the object", "points", "add", True, "Q"),
    Tool("point-", "Point −", "Click voxels outside the object", "points", "add", False, "W"),
    Tool("box", "Box", "Drag a box around the object", "shapes", "add_rectangle", True, "G"),
    Tool("lasso", "Lasso", "Draw round the object", "shapes", "add_polygon_lasso", True, "K"),
    Tool("scribble+", "Scribble +", "Draw over the object", "shapes", "add_path", True, "H"),
    Tool("scribble-", "Scribble −", "Draw over what is not it", "shapes", "add_path", False, "J"),
    Tool(
        "extreme",
        "Extreme",
        "Six extreme points: clicks on its surface",
        "points",
        "add",
        True,
        "U",
    ),
    Tool("move", "Move", "Select, move, delete prompts", "points", "select", True, "Shift-M"),
)
TOOLS = {tool.name: tool for tool in _ALL}

COMMAND_KEYS = {
    "run": "Shift-R",
    "next object": "N",
    "new object": "Shift-N",
    "show or hide masks": "Shift-H",
    "box: extend to this slice": "Shift-G",
}
CANCEL_KEY = "Escape"
