"""Names of organs that are offered, with their SNOMED CT codes and colours."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from openmedlab.core import Label
from openmedlab.stunet.structures import structures

_FURTHER = {
    "brainstem": "15926001",
    "spinal_cord": "2748008",
    "parotid_left": "45289007",
    "parotid_right": "45289007",
    "submandibular_gland_left": "54019009",
    "submandibular_gland_right": "54019009",
    "larynx": "4596009",
    "mandible": "91609006",
    "thyroid": "69748006",
    "eye_left": "81745001",
    "eye_right": "81745001",
    "optic_nerve_left": "18234004",
    "optic_nerve_right": "18234004",
    "prostate": "41216001",
}
_PALETTE = (
    (0.90, 0.30, 0.26),
    (0.20, 0.67, 0.86),
    (0.40, 0.80, 0.40),
    (0.95, 0.75, 0.20),
    (0.66, 0.45, 0.88),
    (0.98, 0.52, 0.70),
    (0.35, 0.85, 0.80),
    (0.75, 0.60, 0.42),
)


@cache
def known_organs() -> Mapping[str, Label]:
    """Return the structures that have a code here, by name."""
    found = {s.name: s.label for s in structures().values()}
    further = {name: Label(name, None, code) for name, code in _FURTHER.items()}
    return {**further, **found}


def organ_label(name: str, code: str = "", number: int = 0) -> Label:
    """Return what a labelmap says of an organ; ``number`` chooses a colour where it has none."""
    known = known_organs().get(name, Label(name))
    color = known.color or _PALETTE[number % len(_PALETTE)]
    return Label(name, color, code or known.code)
