"""``openmedlab evaluate``: a method on a folder of labelled scans, by the standard protocol."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from openmedlab.cli.console import interruptible, progress, result, say
from openmedlab.cli.group import CANCELLED


class First(StrEnum):
    """How an object begins."""

    BOX = "box"
    CLICK = "click"
    EXTREME = "extreme"


def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="Holds one folder per scan: image and labels (.nii.gz).")
    ],
    method: Annotated[
        str, typer.Option(help="Stable name; see: openmedlab models list.")
    ] = "builtin",
    clicks: Annotated[int, typer.Option(min=0, help="Corrective clicks per organ.")] = 5,
    first: Annotated[First, typer.Option(help="The first prompt.")] = First.BOX,
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint to use instead of the stored one.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes to spread the scans over.")] = 1,
    csv: Annotated[Path | None, typer.Option(help="Also write one row per organ here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge a method: first prompt, then clicks at the centre of the largest error.

    Dice and NSD per click, their final values and areas under the curve, seconds per click.
    Ctrl-C stops after the organ at hand and reports what is finished.
    """
    from openmedlab.core import Cancelled
    from openmedlab.evaluation import Case, Protocol, Report, evaluate_folder
    from openmedlab.zoo import promptable

    model = promptable(method, weights, device)
    finished: list[Case] = []
    with progress(f"Evaluating {method}") as report, interruptible() as cancel:

        def on_case(case: Case) -> None:
            finished.append(case)
            report.report(len(finished), 0, f"{case.volume}: {case.organ}")
            cancel.check()

        try:
            found = evaluate_folder(folder, model, clicks, first.value, jobs=jobs, on_case=on_case)
        except Cancelled:
            found = Report(model.name, Protocol(first.value, clicks), tuple(finished))
    if csv is not None:
        found.to_csv(csv)
    result(found.to_json(), found.table(), as_json)
    if cancel.cancelled:
        say(f"Cancelled; {len(finished)} organs were finished.")
        raise typer.Exit(CANCELLED)
