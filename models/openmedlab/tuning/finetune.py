"""Fine-tuning a published network on a user's labelled volumes: ``plan``, then ``finetune``."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from openmedlab.core.progress import CancelToken, Progress
from openmedlab.engine.manifest import fingerprint
from openmedlab.tuning.card import write_cards, write_weights
from openmedlab.tuning.cases import prepared_cases
from openmedlab.tuning.families import Family
from openmedlab.tuning.loop import Loop, barrier, rank
from openmedlab.tuning.memory import restrict
from openmedlab.tuning.plan import Plan, Request, plan
from openmedlab.tuning.task import CohortTask
from openmedlab.zoo.checkpoint import read_checkpoint

__all__ = ["Plan", "Point", "Request", "Result", "finetune", "plan"]


@dataclass(frozen=True)
class Point:
    """One look at the validation volumes.

    Attributes
    ----------
    step
        Updates done.
    training
        Mean loss since the last look; None before the first update.
    validation
        Loss on the validation volumes.
    """

    step: int
    training: float | None
    validation: float


@dataclass(frozen=True)
class Result:
    """What came of it.

    Attributes
    ----------
    weights
        The best weights, for ``--weights``.
    card
        What they are and what they were trained on, for people; ``.json`` beside it.
    curve
        All looks, the first before any update.
    best
        The look whose weights were kept.
    before, after
        Dice on the validation volumes by label, of the start and of the best weights.
    """

    weights: Path
    card: Path
    curve: tuple[Point, ...]
    best: Point
    before: dict[str, float]
    after: dict[str, float]


def finetune(
    plan: Plan,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    on_curve: Callable[[Point], None] = lambda _: None,
) -> Result:
    """Train as planned, from the checkpoint in the same folder if there is one.

    Parameters
    ----------
    on_curve
        Called on the working thread with every look at the validation volumes, those of the
        checkpoint first.

    Raises
    ------
    MemoryGuardError
        Less memory is free than it needs.
    InputError
        The folder holds a training with other settings, or a volume cannot be used.
    WeightsError
        The weights to start from do not fit.
    Cancelled
        ``cancel`` was raised; the work so far is in the folder.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    plan.require_memory()
    began = time.monotonic()
    family, request = plan.family, plan.request
    cases = prepared_cases(plan, family, progress, cancel)
    learned, judged = (
        [cases[name] for name in names] for names in (plan.split.training, plan.split.validation)
    )
    task = CohortTask(family, learned, judged, plan.batch, request.seed, plan.device)
    network = started(plan, family)
    progress.report(0, plan.schedule.steps, "judging the start")
    before = task.dice(network)
    loop = Loop(network, task, plan.schedule, request.out, _purpose(plan))
    loop.run(_telling(loop, progress, on_curve), cancel)
    network.load_state_dict(loop.best)
    progress.report(loop.history.step, plan.schedule.steps, "judging the best weights")
    after = task.dice(network)
    curve = tuple(map(_point, loop.history.curve))
    best = next(p for p in curve if p.step == loop.history.best_step)
    weights, card = request.out / "weights.safetensors", request.out / "card.md"
    result = Result(weights, card, curve, best, before, after)
    if rank() == 0:
        write_weights(plan, family, loop.best, weights)
        write_cards(plan, result, time.monotonic() - began)
    barrier()
    return result


def started(plan: Plan, family: Family) -> nn.Module:
    """Return the network at its start, on its device, with only what learns wanting gradients.

    Raises
    ------
    WeightsError
        The weights do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.request.seed)
        network = family.network()
        if plan.start.file is not None:
            family.begin(network, read_checkpoint(plan.start.file), plan.start.classes)
    restrict(network, family, plan.request.few_shot)
    return network.to(plan.device)


def _purpose(plan: Plan) -> str:
    """Return what else must be equal for a checkpoint to be taken up again."""
    request = plan.request
    return json.dumps(
        {
            "model": request.model,
            "start": plan.start.sha256,
            "labels": list(plan.labels.items()),
            "split": [plan.split.training, plan.split.validation],
            "files": [[fingerprint(p.image), fingerprint(p.label)] for p in request.cohort.pairs],
            "few_shot": request.few_shot,
            "batch": plan.batch,
            "seed": request.seed,
        }
    )


def _telling(loop: Loop, progress: Progress, on_curve: Callable[[Point], None]) -> Progress:
    """Return a progress that also hands on what is new of the curve."""
    told = 0

    def report(done: int, total: int, text: str) -> None:
        nonlocal told
        curve = loop.history.curve
        for entry in curve[told:]:
            on_curve(_point(entry))
        told = len(curve)
        progress.report(done, total, text)

    return Progress(report)


def _point(entry: tuple[int, float | None, float | None]) -> Point:
    step, training, validation = entry
    return Point(step, training, math.nan if validation is None else validation)
