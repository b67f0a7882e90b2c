"""The 104 structures of the released weights: names, groups, codes, colours, other numberings."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Literal

from openmedlab.core import InputError, Label

Numbering = Literal["totalsegmentator_v1", "totalsegmentator_v2"]


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes
    ----------
    name
        TotalSegmentator v1's name.
    group
        For a class tree.
    snomed
        SNOMED CT code; left and right share one.
    color
        RGB, each 0..1.
    others
        Its number in other numberings; absent where they lack it.
    """

    name: str
    group: str
    snomed: str
    color: tuple[float, float, float]
    others: Mapping[str, int]

    @property
    def label(self) -> Label:
        """What a labelmap says of it."""
        return Label(self.name, self.color, self.snomed)


@cache
def structures() -> Mapping[int, Structure]:
    """Return the structures by STU-Net's output number (1 to 104)."""
    text = resources.files(__package__).joinpath("structures.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {number: _structure(row) for number, row in enumerate(rows, 1)}


def numbers_in(numbering: Numbering) -> dict[int, int]:
    """Return STU-Net's number to that of another numbering, matched by name only."""
    found = structures().items()
    return {n: s.others[numbering] for n, s in found if numbering in s.others}


def numbers_by_name(theirs: Mapping[int, str]) -> dict[int, int]:
    """Return STU-Net's number to the number of the same name in any other labelmap."""
    by_name = {name: number for number, name in theirs.items()}
    found = structures().items()
    return {n: by_name[s.name] for n, s in found if s.name in by_name}


def chosen(names: Collection[str] | None, known: Mapping[int, str]) -> set[int]:
    """Return the numbers of the wanted classes, all of them for None.

    Raises
    ------
    InputError
        A name is not among ``known``; the nearest ones are named.
    """
    if names is None:
        return set(known)
    by_name = {name: number for number, name in known.items()}
    for name in names:
        if name not in by_name:
            near = ", ".join(get_close_matches(name, by_name, 3, 0.4)) or "see the model's card"
            raise InputError(f"There is no structure {name!r}; near names: {near}.")
    return {by_name[name] for name in names}


def _structure(row: Mapping[str, str]) -> Structure:
    r, g, b = (int(row["color"][k : k + 2], 16) / 255 for k in (1, 3, 5))
    others = {k: int(row[k]) for k in ("totalsegmentator_v1", "totalsegmentator_v2") if row[k]}
    return Structure(row["name"], row["group"], row["snomed"], (r, g, b), others)
