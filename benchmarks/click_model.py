"""openmedlab-click beside the training-free method: the tables of ``click_model.md``.

    OMP_NUM_THREADS=1 python benchmarks/click_model.py FOLDER --part 1/2 --raw part1.jsonl
    OMP_NUM_THREADS=1 python benchmarks/click_model.py FOLDER --part 2/2 --raw part2.jsonl
    python benchmarks/click_model.py FOLDER --collect part1.jsonl part2.jsonl

FOLDER is laid out like the public test volumes: sub-folders with ``image.nii.gz``,
``labels.nii.gz`` and ``meta.json``. Dice after the first prompt and after one to five clicks.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from builtin_click import Row, read

from openmedlab.core import Promptable
from openmedlab.evaluation import Case, Protocol, evaluate_sample, samples_in
from openmedlab.zoo.methods import promptable

HERE = Path(__file__).parent
METHODS = ("builtin", "openmedlab-click")
RUNS = {
    "click": Protocol("click"),
    "click, jitter 2": Protocol("click", jitter=2.0),
    "extreme": Protocol("extreme"),
    "extreme, jitter 2": Protocol("extreme", jitter=2.0),
    "box": Protocol("box"),
}
TRAINED_LIKE = "okbp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, help="weights of openmedlab-click to judge")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--runs", nargs="*", default=list(RUNS))
    parser.add_argument("--raw", type=Path, default=HERE / "click_model.jsonl")
    parser.add_argument("--collect", nargs="*", type=Path, help="raw files to join and tabulate")
    args = parser.parse_args()
    if args.collect is None:
        models = [promptable("builtin"), promptable("openmedlab-click", args.weights, "cpu")]
        play(models, args.folder, args.part, args.runs, args.raw)
        return
    rows = [row for path in args.collect for row in read(path)]
    write_csv(rows, HERE / "click_model.csv")
    print(report(rows))


def play(models: list[Promptable], folder: Path, part: str, runs: list[str], raw: Path) -> None:
    number, count = map(int, part.split("/"))
    with raw.open("w") as file:
        for sample in samples_in(folder)[number - 1 :: count]:
            for model in models:
                model.warm_up()
                for run in runs:
                    for case in evaluate_sample(model, sample, RUNS[run]):
                        file.write(
                            json.dumps({"run": f"{model.name}: {run}", **asdict(case)}) + "\n"
                        )
                        file.flush()
            print(sample.name, flush=True)


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        steps = range(len(rows[0][1].dice))
        writer.writerow(
            ["method", "first", "volume", "organ", "modality", "voxels"]
            + [f"dice_{k}" for k in steps]
            + [f"nsd_{k}" for k in steps]
        )
        for run, case in rows:
            writer.writerow(
                [*run.split(": "), case.volume, case.organ, case.modality, case.voxels]
                + [f"{v:.3f}" for v in (*case.dice, *case.nsd)]
            )


def report(rows: list[Row]) -> str:
    groups: list[tuple[str, Callable[[Case], bool]]] = [
        ("all", lambda c: True),
        ("CT, other sources", lambda c: c.modality == "CT" and TRAINED_LIKE not in c.volume),
        ("CT, other patients of a training source", lambda c: TRAINED_LIKE in c.volume),
        ("MR", lambda c: c.modality == "MR"),
    ]
    runs = [r for r in RUNS if any(name.endswith(f": {r}") for name, _ in rows)]
    parts = []
    for run in runs:
        parts.append(f"## First prompt: {run}\n\n{steps(rows, run, groups)}")
    parts.append(f"## By organ (Dice after clicks 1 to 5)\n\n{organs(rows, runs[:2])}")
    return "\n".join(parts)


def steps(rows: list[Row], run: str, groups: list[tuple[str, Callable[[Case], bool]]]) -> str:
    lines = [
        "| organs | n | method | Dice 0 | 1 | 2 | 3 | 4 | 5 | NSD 0 | 5 | s first | s later |",
        "|" + "---|" * 13,
    ]
    for title, wanted in groups:
        for method in METHODS:
            chosen = [c for name, c in rows if name == f"{method}: {run}" and wanted(c)]
            if not chosen:
                continue
            overlap, surface = (np.array([getattr(c, k) for c in chosen]) for k in ("dice", "nsd"))
            later = [s for c in chosen for s in c.seconds[1:]]
            cells = [f"{v:.3f}" for v in overlap.mean(0)]
            cells += [f"{v:.3f}" for v in surface.mean(0)[[0, -1]]]
            cells += [f"{np.median([c.seconds[0] for c in chosen]):.2f}", f"{np.median(later):.2f}"]
            lines.append(f"| {title} | {len(chosen)} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def organs(rows: list[Row], runs: list[str]) -> str:
    heads = [f"{method}, {run}" for run in runs for method in METHODS]
    lines = ["| organ | n | " + " | ".join(heads) + " |", "|---|---|" + "---|" * len(heads)]
    for organ in sorted({case.organ for _, case in rows}):
        cells, count = [], 0
        for run in runs:
            for method in METHODS:
                found = [
                    c.dice for name, c in rows if name == f"{method}: {run}" and c.organ == organ
                ]
                count = len(found)
                cells.append(" ".join(f"{v:.2f}" for v in np.mean(found, axis=0)[1:]))
        lines.append(f"| {organ} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
