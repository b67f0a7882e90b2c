"""Score the built-in click segmentation and write the tables of ``builtin_click.md``.

    OMP_NUM_THREADS=1 python benchmarks/builtin_click.py FOLDER --baseline baseline.json

FOLDER is laid out like the public test volumes: sub-folders with ``image.nii.gz``,
``labels.nii.gz`` and ``meta.json``. One process, so that the seconds are those of one core.
``--part K/N`` plays every N-th volume only and ``--collect`` joins such parts.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from openmedlab.builtin import ClickSegmenter
from openmedlab.builtin.curves import CALIBRATED_ON
from openmedlab.evaluation import Case, Protocol, evaluate_sample, samples_in

HERE = Path(__file__).parent
RUNS = {
    "extreme": Protocol("extreme"),
    "click": Protocol("click"),
    "box": Protocol("box"),
    "click, jitter 2": Protocol("click", jitter=2.0),
}
Row = tuple[str, Case]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--baseline", type=Path, help="baseline.json of the classical methods")
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--runs", nargs="*", default=list(RUNS))
    parser.add_argument("--raw", type=Path, default=HERE / "builtin_click.jsonl")
    parser.add_argument("--collect", nargs="*", type=Path, help="raw files to join and tabulate")
    args = parser.parse_args()
    if args.collect is None:
        play(args.folder, args.part, args.runs, args.raw)
    rows = [row for path in args.collect or [args.raw] for row in read(path)]
    baseline = json.loads(args.baseline.read_text())["seg"] if args.baseline else []
    write_csv(rows, HERE / "builtin_click.csv")
    (HERE / "builtin_click.md").write_text(report(rows, baseline))


def play(folder: Path, part: str, runs: list[str], raw: Path) -> None:
    number, count = map(int, part.split("/"))
    method = ClickSegmenter()
    method.warm_up()
    with raw.open("w") as file:
        for sample in samples_in(folder)[number - 1 :: count]:
            for run in runs:
                for case in evaluate_sample(method, sample, RUNS[run]):
                    file.write(json.dumps({"run": run, **asdict(case)}) + "\n")
                    file.flush()
            print(sample.name, flush=True)


def read(path: Path) -> list[Row]:
    rows = []
    for line in path.read_text().splitlines():
        data = json.loads(line)
        run = data.pop("run")
        series = {key: tuple(data.pop(key)) for key in ("dice", "nsd", "seconds")}
        rows.append((run, Case(**data, **series)))
    return rows


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        steps = range(len(rows[0][1].dice))
        writer.writerow(
            ["first", "volume", "organ", "modality", "voxels"]
            + [f"dice_{k}" for k in steps]
            + [f"nsd_{k}" for k in steps]
            + ["seconds_first", "seconds_later"]
        )
        for run, case in rows:
            later = f"{np.median(case.seconds[1:]):.2f}" if case.seconds[1:] else ""
            writer.writerow(
                [run, case.volume, case.organ, case.modality, case.voxels]
                + [f"{v:.3f}" for v in (*case.dice, *case.nsd)]
                + [f"{case.seconds[0]:.2f}", later]
            )


def report(rows: list[Row], baseline: list[dict]) -> str:
    groups: list[tuple[str, Callable[[Case], bool]]] = [
        ("all", lambda c: True),
        ("calibration half", lambda c: c.volume in CALIBRATED_ON),
        ("held-out half", lambda c: c.volume not in CALIBRATED_ON),
        ("CT", lambda c: c.modality == "CT"),
        ("MR", lambda c: c.modality == "MR"),
    ]
    parts = [(HERE / "builtin_click_head.md").read_text()]
    for run in dict.fromkeys(run for run, _ in rows):
        cases = [case for name, case in rows if name == run]
        parts.append(f"## First prompt: {run}\n")
        parts.append(steps_table(cases, groups))
    parts.append("## Beside the classical baseline\n")
    parts.append(ratio_table(rows, baseline) if baseline else "")
    for by in ("volume", "organ"):
        parts.append(f"## By {by} (mean Dice after the first prompt -> after five clicks)\n")
        parts.append(by_table(rows, by))
    return "\n".join(parts)


def steps_table(cases: list[Case], groups: Iterable[tuple[str, Callable[[Case], bool]]]) -> str:
    lines = [
        "| organs | n | Dice 0 | 1 | 2 | 3 | 4 | 5 | median 0 | median 5 "
        "| NSD 0 | NSD 5 | s first | s later | s 95 % |",
        "|" + "---|" * 15,
    ]
    for name, wanted in groups:
        chosen = [c for c in cases if wanted(c)]
        if not chosen:
            continue
        overlap, surface = (np.array([getattr(c, k) for c in chosen]) for k in ("dice", "nsd"))
        first = [c.seconds[0] for c in chosen]
        later = [s for c in chosen for s in c.seconds[1:]]
        cells = [f"{v:.3f}" for v in overlap.mean(0)]
        cells += [f"{v:.3f}" for v in np.median(overlap, axis=0)[[0, -1]]]
        cells += [f"{v:.3f}" for v in surface.mean(0)[[0, -1]]]
        cells += [f"{np.median(first):.2f}", f"{np.median(later):.2f}"]
        cells += [f"{np.percentile(first + later, 95):.2f}"]
        lines.append(f"| {name} | {len(chosen)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ratio_table(rows: list[Row], baseline: list[dict]) -> str:
    known = {(r["volume"], r["organ"]): r for r in baseline if "error" not in r}
    lines = ["| what | baseline | ours | ratio |", "|---|---|---|---|"]
    for title, run, step, value in (
        ("six extreme points", "extreme", 0, lambda r: r["dice_ext6_rw"]),
        ("extreme points + 3 clicks", "extreme", 3, _after_three),
        ("one centre click", "click", 0, lambda r: r.get("dice_click1_cc")),
    ):
        pairs = [
            (value(known[c.volume, c.organ]), c.dice[step])
            for name, c in rows
            if name == run and (c.volume, c.organ) in known
        ]
        theirs, ours = np.array([p for p in pairs if p[0] is not None]).mean(0)
        lines.append(f"| {title} | {theirs:.3f} | {ours:.3f} | {ours / theirs:.2f} |")
    return "\n".join(lines) + "\n"


def _after_three(row: dict) -> float:
    return (row["dice_ext6_rw_plus"] or [row["dice_ext6_rw"]])[-1]


def by_table(rows: list[Row], by: str) -> str:
    runs = list(dict.fromkeys(run for run, _ in rows))
    lines = [f"| {by} | n | " + " | ".join(runs) + " |", "|---|---|" + "---|" * len(runs)]
    for name in sorted({getattr(case, by) for _, case in rows}):
        cells, count = [], 0
        for run in runs:
            found = [c.dice for r, c in rows if r == run and getattr(c, by) == name]
            count = max(count, len(found))
            cells.append("{:.2f} -> {:.2f}".format(*np.mean(found, axis=0)[[0, -1]]))
        lines.append(f"| {name} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
