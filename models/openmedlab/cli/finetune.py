"""``openmedlab finetune``: a published network learns a user's labelled volumes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmedlab.cli.console import interruptible, progress, result, say, table

if TYPE_CHECKING:
    from openmedlab.tuning.finetune import Point, Result
    from openmedlab.tuning.plan import Plan


def finetune(
    folder: Annotated[
        Path,
        typer.Argument(
            help="NAME_image.* with NAME_label.*, folders of image.* and labels.*, or nnU-Net's."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="sam-med3d, stu-net-s ... stu-net-h, pct-net-volf, ...")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for weights, card and checkpoint.")
    ],
    few_shot: Annotated[
        bool, typer.Option("--few-shot", help="Keep the encoder as it is: for about 5 volumes.")
    ] = False,
    labels: Annotated[
        str | None, typer.Option(help="Only these labels, by name or number: liver,3,...")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Start from this file instead of the stored weights.")
    ] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Start from random weights.")] = False,
    val: Annotated[
        list[str] | None, typer.Option(help="Volume that judges; repeatable; else a quarter.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="How often all volumes are seen, at most.")] = 50,
    steps: Annotated[int | None, typer.Option(help="Updates at most, instead of epochs.")] = None,
    batch: Annotated[int, typer.Option(help="Samples of an update; 0: the model's own.")] = 0,
    rate: Annotated[float, typer.Option(help="Learning rate; 0: the model's own.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")] = None,
    name: Annotated[str, typer.Option(help="Of the new model; else MODEL-tuned.")] = "",
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what it takes and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fine-tune MODEL on the labelled volumes of FOLDER; a stopped training goes on.

    Under torchrun the processes share every update.
    """
    from openmedlab.tuning.data import read_cohort
    from openmedlab.tuning.loop import rank
    from openmedlab.tuning.plan import Request, plan
    from openmedlab.tuning.processes import joined

    with joined(device) as here, interruptible() as cancel:
        leads = rank() == 0
        with progress("Checking the volumes") if leads else nullcontext() as report:
            cohort = read_cohort(folder, report, cancel)
        planned = plan(
            Request(
                model=model,
                cohort=cohort,
                out=out,
                labels=tuple(n.strip() for n in (labels or "").split(",") if n.strip()),
                weights=weights,
                scratch=scratch,
                few_shot=few_shot,
                epochs=epochs,
                steps=steps,
                batch=batch,
                rate=rate,
                validation=tuple(val or ()),
                seed=seed,
                device=here,
                name=name,
            )
        )
        if plan_only:
            record = {
                "memory": planned.memory,
                "free": planned.free,
                "steps": planned.schedule.steps,
            }
            result(record, planned.text, as_json)
            return
        if leads:
            say(planned.text)
        _train(planned, cancel, leads, as_json)


def _train(planned: Plan, cancel: Any, leads: bool, as_json: bool) -> None:
    from openmedlab.tuning.finetune import finetune as train

    if not leads:
        train(planned, cancel=cancel)
        return
    with progress("Fine-tuning") as report:
        found = train(planned, report, cancel, on_curve=_tell)
    result(_record(planned, found), _text(planned, found), as_json)


def _tell(point: Point) -> None:
    loss = "" if point.training is None else f"loss {point.training:.4f}, "
    say(f"update {point.step}: {loss}on validation {point.validation:.4f}")


def _record(planned: Plan, found: Result) -> dict[str, Any]:
    import json

    card = json.loads(found.card.with_suffix(".json").read_text(encoding="utf-8"))
    return {"weights": str(found.weights), "card": str(found.card), **card}


def _text(planned: Plan, found: Result) -> str:
    from openmedlab.zoo import cards

    rows: list[tuple[str, ...]] = [
        (name, f"{found.before[name]:.3f}", f"{found.after[name]:.3f}")
        for name in planned.labels.values()
    ]
    promptable = planned.family.task == "promptable"
    option = "segment IMAGE --method" if promptable else "label IMAGE --model"
    base = planned.card.name
    lines = [
        table(("label", "Dice before", "Dice after"), rows),
        f"best at update {found.best.step}, validation loss {found.best.validation:.4f}",
        f"{found.weights}\n{found.card}",
        f"use it with: openmedlab {option} {base} --weights {found.weights} -o OUT",
    ]
    if base in cards():
        lines.append(f"or keep it as {planned.name}: openmedlab models import {found.weights}")
    return "\n".join(lines)
