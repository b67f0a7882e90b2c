"""The built-in localizer on real CTs that share organs, pair by pair, as the baseline did.

Run with OPENMEDLAB_SAMPLES naming the folder of real samples (with ``baseline.json`` in it);
prints Markdown. --rows FILE keeps every row as JSON and goes on from there.

Box IoU counts voxels, both faces included; the centre's distance and whether the true
centre lies in the box go by the box too.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.builtin.localizer import BuiltinLocalizer
from openmedlab.core import CancelToken, Localization, Progress, Volume
from openmedlab.io import sample, sample_names
from openmedlab.localization.points import points_of_mask
from openmedlab.localization.templates import Template, TemplateLibrary

GROUPS = {"headneck": "ct_headneck", "abdomen": "ct_abd,ct_upperabd"}
ORGANS = {
    "headneck": (
        "brainstem", "spinal_cord", "parotid_right", "parotid_left", "esophagus", "larynx",
        "mandible",
    ),
    "abdomen": ("liver", "spleen", "kidney_left", "kidney_right"),
}  # fmt: skip
MISSED = {"iou": 0.0, "centre_mm": float("nan"), "inside": False}
Row = dict[str, Any]


@dataclass(frozen=True)
class Some:
    """Some templates of a library."""

    library: TemplateLibrary
    templates: tuple[Template, ...]

    def features(self, template: Template, key: str, make: Callable[[Volume], Any]) -> Any:
        return self.library.features(template, key, make)


@dataclass(frozen=True)
class Case:
    """A scan and the boxes of its organs: first and last voxel (2, 3)."""

    name: str
    group: str
    volume: Volume
    boxes: dict[str, np.ndarray]


def load(library: TemplateLibrary) -> list[Case]:
    """Read the scans and mark their organs in ``library``."""
    cases = []
    for group, starts in GROUPS.items():
        for name in sorted(sample_names()):
            if not name.startswith(tuple(starts.split(","))):
                continue
            volume, labels = sample(name)
            masks = {
                label.name: labels.array == number
                for number, label in labels.labels.items()
                if label.name in ORGANS[group]
            }
            boxes = {}
            for organ in ORGANS[group]:
                if organ in masks and masks[organ].any():
                    library.add(organ, points_of_mask(masks[organ], labels.geometry), volume)
                    solid = np.argwhere(masks[organ])
                    boxes[organ] = np.array([solid.min(0), solid.max(0)])
            cases.append(Case(name, group, volume, boxes))
    return cases


def scored(found: Localization | None, true: np.ndarray, spacing: Sequence[float]) -> Row:
    if found is None:
        return {**MISSED, "confidence": 0.0}
    points = found.points.positions()
    box = np.array([points.min(0), points.max(0)])
    common = np.minimum(box[1], true[1]) - np.maximum(box[0], true[0]) + 1
    inner = float(np.maximum(common, 0).prod())
    union = (box[1] - box[0] + 1).prod() + (true[1] - true[0] + 1).prod() - inner
    middle = true.mean(0)
    return {
        "iou": inner / float(union),
        "centre_mm": float(np.linalg.norm((box.mean(0) - middle) * spacing)),
        "inside": bool(((middle >= box[0] - 0.5) & (middle <= box[1] + 0.5)).all()),
        "confidence": found.confidence,
    }


def run(library: TemplateLibrary, templates: Sequence[Template], query: Case) -> list[Row]:
    """Localise in one scan with some templates; one row per organ they share."""
    shared = tuple(t for t in templates if t.organ in query.boxes)
    if not shared:
        return []
    started = time.perf_counter()
    some: Any = Some(library, shared)
    found = BuiltinLocalizer().localize(some, query.volume, Progress(), CancelToken())
    seconds = time.perf_counter() - started
    return [
        {
            "group": query.group,
            "query": query.name,
            "organ": organ,
            "seconds": seconds,
            **scored(found.get(organ), true, query.volume.geometry.spacing),
        }
        for organ, true in query.boxes.items()
        if any(t.organ == organ for t in shared)
    ]


def measure(folder: Path, kept: Path | None) -> tuple[list[Row], list[Row]]:
    """Return the rows of every pair, and of every scan with all other templates together.

    ``kept`` holds the rows of an earlier run, which is continued after its last scan.
    """
    pairs, together = json.loads(kept.read_text("utf-8")) if kept and kept.exists() else ([], [])
    library = TemplateLibrary(folder)
    cases = load(library)
    for query in cases:
        if query.name in {r["query"] for r in together}:
            continue
        chosen: list[Template] = []
        for mate in cases:
            if mate.group == query.group and mate.name != query.name:
                own = [t for t in library.templates if t.scan == mate.volume.identity]
                chosen += own
                pairs += [{"template": mate.name, **row} for row in run(library, own, query)]
        together += run(library, chosen, query)
        if kept:
            kept.write_text(json.dumps((pairs, together)), encoding="utf-8")
    return pairs, together


def baseline() -> dict[tuple[str, str, str], Row]:
    path = Path(os.environ["OPENMEDLAB_SAMPLES"]) / "baseline.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["localisation"]
    return {(r["template"], r["query"], r["organ"]): r["affine"] for r in rows}


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    cells = list(head)
    print(f"\n| {' | '.join(cells)} |\n|{'---|' * len(cells)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def mean(rows: Sequence[Row], key: str) -> float:
    return float(np.nanmean([r[key] for r in rows]))


def report(pairs: list[Row], together: list[Row]) -> None:
    old = baseline()
    for r in pairs:
        r["affine"] = old[r["template"], r["query"], r["organ"]]["iou"]
    head = ("group", "templates", "rows", "IoU", "affine IoU", "centre mm", "centre inside", "s")
    table(head, _summary(pairs, together))
    table(("organ", "one template", "affine", "all templates"), _organs(pairs, together))
    table(("confidence", "rows", "mean IoU", "IoU >= 0.4"), _calibration(pairs))
    for name, rows in (("one template", pairs), ("all templates", together)):
        said, true = [r["confidence"] for r in rows], [r["iou"] for r in rows]
        print(f"\nCorrelation of confidence and IoU, {name}: {np.corrcoef(said, true)[0, 1]:.2f}")
    columns = ("template", "query", "organ", "iou", "affine", "centre_mm", "inside", "confidence")
    table(columns, ([_short(r[c]) for c in columns] for r in pairs))


def _summary(pairs: list[Row], together: list[Row]) -> Iterable[Iterable[Any]]:
    for group in GROUPS:
        for word, rows in (("one", pairs), ("all others", together)):
            own = [r for r in rows if r["group"] == group]
            affine = f"{mean(own, 'affine'):.3f}" if word == "one" else ""
            yield (
                group, word, len(own), f"{mean(own, 'iou'):.3f}", affine,
                f"{mean(own, 'centre_mm'):.1f}", f"{mean(own, 'inside'):.0%}",
                f"{mean(own, 'seconds'):.1f} (max {max(r['seconds'] for r in own):.1f})",
            )  # fmt: skip


def _organs(pairs: list[Row], together: list[Row]) -> Iterable[Iterable[Any]]:
    for organ in dict.fromkeys(r["organ"] for r in pairs):
        one = [r for r in pairs if r["organ"] == organ]
        many = [r for r in together if r["organ"] == organ]
        yield (
            organ, f"{mean(one, 'iou'):.2f}", f"{mean(one, 'affine'):.2f}",
            f"{mean(many, 'iou'):.2f}",
        )  # fmt: skip


def _calibration(rows: list[Row]) -> Iterable[Iterable[Any]]:
    by_step: dict[int, list[float]] = defaultdict(list)
    for r in rows:
        by_step[min(int(r["confidence"] * 5), 4)].append(r["iou"])
    for step, found in sorted(by_step.items()):
        share = np.mean(np.array(found) >= 0.4)
        yield (
            f"{step / 5:.1f} to {(step + 1) / 5:.1f}",
            len(found),
            f"{np.mean(found):.2f}",
            f"{share:.0%}",
        )


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value).removeprefix("ct_")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(*measure(Path(folder), args.rows))
