"""SNOMED CT entries and colours on segments."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import slicer

from openmedlab.core import Label

CODES = Path(__file__).parents[1] / "Resources" / "OpenMEDLab.term.json"
REGION = "Anatomic codes - DICOM master list~^^~^^"
NOTHING = "^^"
Row = dict[str, Any]


def load_code_list() -> bool:
    """Offer the 104 structures in Slicer's own terminology selector; return whether it did."""
    logic = slicer.modules.terminologies.logic()
    return bool(logic.LoadTerminologyFromFile(str(CODES)))


def describe(segment: Any, label: Label) -> None:
    """Set a segment's name, colour and, where its code is known, its terminology entry."""
    segment.SetName(label.name)
    if label.color is not None:
        segment.SetColor(*label.color)
    entry = entry_for(label)
    if entry:
        segment.SetTerminology(entry)


def label_named(name: str) -> Label:
    """Return name, colour and code of one of the 104 structures; of any other, its name."""
    known = _codes()[2].get(name)
    if known is None:
        return Label(name)
    kind, side = known
    shown = (side or kind)["recommendedDisplayRGBValue"]
    r, g, b = (value / 255 for value in shown)
    return Label(name, (r, g, b), kind["CodeValue"])


def entry_for(label: Label) -> str:
    """Return a label's terminology entry as Slicer writes it; empty where it has no code."""
    context, category, known = _codes()
    if label.name in known:
        kind, side = known[label.name]
    elif label.code:
        meaning = label.name.replace("_", " ")
        kind, side = {"CodeValue": label.code, "CodeMeaning": meaning}, None
    else:
        return ""
    parts = (context, _code(category), _code(kind), _code(side) if side else NOTHING, REGION)
    return "~".join(parts)


@cache
def _codes() -> tuple[str, Row, dict[str, tuple[Row, Row | None]]]:
    """Return the list's name, its category, and type and side by structure name."""
    content = json.loads(CODES.read_text(encoding="utf-8"))
    category = content["SegmentationCodes"]["Category"][0]
    known: dict[str, tuple[Row, Row | None]] = {}
    for kind in category["Type"]:
        if "3dSlicerLabel" in kind:
            known[kind["3dSlicerLabel"]] = (kind, None)
        for side in kind.get("Modifier", ()):
            known[side["3dSlicerLabel"]] = (kind, side)
    return content["SegmentationCategoryTypeContextName"], category, known


def _code(row: Row) -> str:
    return f"SCT^{row['CodeValue']}^{row['CodeMeaning']}"
