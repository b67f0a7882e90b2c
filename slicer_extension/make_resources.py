"""Write the extension's drawn and derived files: icons, and the code list of the 104 structures.

Run it where the engine is installed, after a change: ``python slicer_extension/make_resources.py``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from openmedlab.io.atomic import replacing
from openmedlab.stunet.structures import Structure, structures

HERE = Path(__file__).parent
RESOURCES = HERE / "OpenMEDLab" / "Resources"
CONTEXT = "OpenMEDLab structures"
SIDES = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}
SCHEMA = (
    "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"
)
SCALE = 8
Color = tuple[int, int, int, int]
BODY: Color = (58, 78, 104, 255)
ORGAN: Color = (229, 107, 87, 255)
CLICK: Color = (120, 226, 120, 255)


def code_list() -> dict[str, Any]:
    """Return the structures as a terminology that Slicer loads."""
    known = list(structures().values())
    shared = {code for code, n in Counter(s.snomed for s in known).items() if n > 1}
    types: dict[str, dict[str, Any]] = {}
    for one in known:
        if one.snomed in shared:
            row = types.setdefault(one.snomed, _row(one, _base(one.name)))
            side = SIDES["right" if "_right" in one.name else "left"]
            row.setdefault("Modifier", []).append({**_code(*side), **_shown(one)})
        else:
            types[one.snomed] = {**_row(one, one.name), **_shown(one)}
    category = {**_code("123037004", "Anatomical Structure"), "showAnatomy": False}
    codes = {"Category": [{**category, "Type": list(types.values())}]}
    return {
        "SegmentationCategoryTypeContextName": CONTEXT,
        "@schema": SCHEMA,
        "SegmentationCodes": codes,
    }


def _base(name: str) -> str:
    return name.replace("_left", "").replace("_right", "")


def _row(one: Structure, name: str) -> dict[str, Any]:
    words = name.replace("_", " ")
    return _code(one.snomed, words[0].upper() + words[1:])


def _code(value: str, meaning: str) -> dict[str, Any]:
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning}


def _shown(one: Structure) -> dict[str, Any]:
    color = [round(255 * c) for c in one.color]
    return {"recommendedDisplayRGBValue": color, "3dSlicerLabel": one.name}


def icon(size: int) -> Image.Image:
    """Draw a slice through a body with an organ found by a click."""
    side = size * SCALE
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)

    def oval(x: float, y: float, rx: float, ry: float, color: Color) -> None:
        box = [(x - rx) * side, (y - ry) * side, (x + rx) * side, (y + ry) * side]
        draw.ellipse(box, fill=color)

    oval(0.5, 0.52, 0.47, 0.36, (205, 214, 224, 255))
    oval(0.5, 0.52, 0.43, 0.32, BODY)
    oval(0.5, 0.74, 0.07, 0.08, (235, 230, 205, 255))
    oval(0.34, 0.46, 0.21, 0.20, ORGAN)
    oval(0.70, 0.50, 0.11, 0.14, (150, 168, 190, 255))
    oval(0.34, 0.45, 0.095, 0.095, (255, 255, 255, 255))
    oval(0.34, 0.45, 0.065, 0.065, CLICK)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def main() -> None:
    """Write all files."""
    (RESOURCES / "Icons").mkdir(parents=True, exist_ok=True)
    pictures = {
        HERE / "OpenMEDLab.png": 128,
        RESOURCES / "Icons" / "OpenMEDLab.png": 64,
        RESOURCES / "Icons" / "SegmentEditorEffect.png": 42,
    }
    for path, size in pictures.items():
        with replacing(path) as temporary:
            icon(size).save(temporary, format="PNG")
    with replacing(RESOURCES / "OpenMEDLab.term.json") as temporary:
        temporary.write_text(json.dumps(code_list(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
