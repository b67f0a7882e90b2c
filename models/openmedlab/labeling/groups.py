"""Structures by part of the body, for class trees; looked up by name, never by number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from openmedlab.core import Label
from openmedlab.stunet.structures import structures

OTHERS = "other structures"
PARTS = (
    "organs",
    "digestive tract",
    "heart",
    "vessels",
    "airways and lungs",
    "muscles",
    "bones",
    "ribs",
    "vertebrae",
    "soft parts",
    OTHERS,
)
_PREFIXES = {"rib_": "ribs", "vertebrae_": "vertebrae", "lung_": "airways and lungs"}
_FURTHER = {
    "airways": "airways and lungs",
    "bone": "bones",
    "soft_tissue": "soft parts",
    "fat": "soft parts",
    "body": "soft parts",
}
_SPINE = str.maketrans("CTLS", "abcd")


def grouped(labels: Iterable[Label]) -> dict[str, list[Label]]:
    """Return labels by part of the body, both in an order that people expect.

    Names that no model here uses are in the last group, ``"other structures"``.
    """
    found: dict[str, list[Label]] = {part: [] for part in PARTS}
    for label in labels:
        found[part_of(label.name)].append(label)
    return {part: sorted(own, key=_order) for part, own in found.items() if own}


def part_of(name: str) -> str:
    """Return the part of the body (one of `PARTS`) of a structure's name."""
    for prefix, part in _PREFIXES.items():
        if name.startswith(prefix):
            return part
    return _known().get(name, OTHERS)


@cache
def _known() -> dict[str, str]:
    return {s.name: s.group for s in structures().values()} | _FURTHER


def _order(label: Label) -> tuple[str | int, ...]:
    """Numbers by value, vertebrae from the head down, the rest by letter."""
    name = label.name
    if name.startswith("vertebrae_"):
        level = name.removeprefix("vertebrae_")
        name = level[:1].translate(_SPINE) + level[1:]
    words = re.split(r"(\d+)", name)
    return tuple(int(w) if w.isdecimal() else w for w in words)
