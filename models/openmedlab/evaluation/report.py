"""`Report`: what an evaluation found, as JSON, CSV and a table to read."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.evaluation.protocol import Case, Protocol

MEASURES: dict[str, Callable[[Case], float]] = {
    "dice_first": lambda c: c.dice[0],
    "dice_final": lambda c: c.dice[-1],
    "dice_auc": lambda c: c.dice_auc,
    "nsd_first": lambda c: c.nsd[0],
    "nsd_final": lambda c: c.nsd[-1],
    "nsd_auc": lambda c: c.nsd_auc,
}


@dataclass(frozen=True)
class Report:
    """The cases of an evaluation, in the order of volumes and labels.

    Attributes
    ----------
    method
        Stable word of the method judged.
    protocol
        How its organs were clicked.
    cases
        One per organ.
    """

    method: str
    protocol: Protocol
    cases: tuple[Case, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Means over the organs, the median seconds per click, and what was done."""
        values: dict[str, Any] = {
            name: _mean(measure(c) for c in self.cases) for name, measure in MEASURES.items()
        }
        spent = [s for c in self.cases for s in c.seconds]
        values["seconds_per_click"] = float(np.median(spent)) if spent else None
        return {
            **values,
            "organs": len(self.cases),
            "method": self.method,
            "first": self.protocol.first,
            "clicks": self.protocol.clicks,
            "jitter": self.protocol.jitter,
        }

    def to_json(self) -> dict[str, Any]:
        """Return ``{"summary": {...}, "cases": [...]}`` of plain values."""
        return {"summary": self.summary, "cases": [asdict(c) for c in self.cases]}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line per organ: what it is, the measures, and Dice after every prompt."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        steps = [f"dice_{k}" for k in range(self.protocol.clicks + 1)]
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            head = ["volume", "organ", "modality", "voxels"]
            writer.writerow([*head, *MEASURES, "seconds_per_click", *steps])
            for case in self.cases:
                measured = [f"{measure(case):.4f}" for measure in MEASURES.values()]
                writer.writerow(
                    [case.volume, case.organ, case.modality, case.voxels]
                    + [*measured, f"{np.median(case.seconds):.3f}"]
                    + [f"{d:.4f}" for d in case.dice]
                )
        part.replace(target)

    def table(self, by: str = "volume") -> str:
        """Return a plain-text table of means by ``"volume"``, ``"organ"`` or ``"modality"``."""
        groups: dict[str, list[Case]] = {}
        for case in self.cases:
            groups.setdefault(getattr(case, by), []).append(case)
        rows = [_row(name, cases) for name, cases in sorted(groups.items())]
        rows.append(_row("all", list(self.cases)))
        head = [by, "organs", *(m.replace("_", " ") for m in MEASURES), "s/click"]
        return _aligned([head, *rows])


def _row(name: str, cases: list[Case]) -> list[str]:
    means = [_mean(measure(c) for c in cases) for measure in MEASURES.values()]
    spent = [s for c in cases for s in c.seconds]
    shown = ["-" if m is None else f"{m:.3f}" for m in means]
    return [name, str(len(cases)), *shown, f"{np.median(spent):.2f}" if spent else "-"]


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([first, *rest]))
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else None
