"""What is written of a fine-tuning: the weights with what their use needs, and their cards."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from openmedlab import __version__
from openmedlab.engine.manifest import versions
from openmedlab.io.atomic import replacing
from openmedlab.tuning.families import Family
from openmedlab.tuning.loop import world
from openmedlab.zoo.checkpoint import write_safetensors
from openmedlab.zoo.registry import NETWORKS

if TYPE_CHECKING:
    from openmedlab.tuning.finetune import Result
    from openmedlab.tuning.plan import Plan


def write_weights(plan: Plan, family: Family, best: Mapping[str, Tensor], path: Path) -> None:
    """Write the best weights with their classes, frame, plans and model card."""
    tuned = {
        "classes": list(family.names) if family.task == "labels" else [],
        "frame": family.frame,
        "card": model_card(plan, family) if plan.card.network in NETWORKS else {},
    }
    metadata = {"model": plan.card.name, "tuned": json.dumps(tuned)}
    if family.plans:
        metadata["plans"] = json.dumps(family.plans)
    tensors = {name: tensor.detach().cpu() for name, tensor in best.items()}
    write_safetensors(tensors, path, metadata)


def model_card(plan: Plan, family: Family) -> dict[str, Any]:
    """Return the fields of the new model's card; licence and citation are the base's."""
    base = plan.card
    learned = ", ".join(plan.labels.values())
    volumes = len(plan.split.training) + len(plan.split.validation)
    return {
        "name": plan.name,
        "title": f"{base.title}, fine-tuned ({plan.name})",
        "task": family.task,
        "prompts": list(base.prompts),
        "dimensionality": base.dimensionality,
        "licence": base.licence,
        "licence_url": base.licence_url,
        "citation": base.citation,
        "memory": base.memory,
        "network": base.network,
        "classes": list(family.names) if family.task == "labels" else [],
        "notes": f"{base.name} fine-tuned on {volumes} volumes of a user: {learned}.",
        "files": [{"name": f"{plan.name}.safetensors"}],
    }


def write_cards(plan: Plan, result: Result, seconds: float) -> None:
    """Write ``card.json`` and ``card.md`` beside the weights."""
    record = _record(plan, result, seconds)
    with replacing(result.card.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
    with replacing(result.card) as partial:
        partial.write_text(_page(record), encoding="utf-8")


def _record(plan: Plan, result: Result, seconds: float) -> dict[str, Any]:
    request = plan.request
    return {
        "name": plan.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": f"openmedlab {__version__}",
        "base": {
            "model": plan.card.name,
            "title": plan.card.title,
            "weights": plan.start.file.name if plan.start.file else None,
            "sha256": plan.start.sha256,
            "citation": plan.card.citation,
        },
        "licence": plan.card.licence,
        "licence_url": plan.card.licence_url,
        "labels": {str(n): name for n, name in plan.labels.items()},
        "split": asdict(plan.split),
        "few_shot": request.few_shot,
        "seed": request.seed,
        "batch": plan.batch,
        "processes": world(),
        "schedule": asdict(plan.schedule),
        "learned": plan.learned,
        "parameters": plan.parameters,
        "curve": [[p.step, _number(p.training), _number(p.validation)] for p in result.curve],
        "best": {"step": result.best.step, "validation_loss": _number(result.best.validation)},
        "dice": {
            name: {"before": _number(result.before[name]), "after": _number(result.after[name])}
            for name in plan.labels.values()
        },
        "seconds": round(seconds, 1),
        "device": plan.device,
        "versions": versions(),
    }


def _number(value: float | None) -> float | None:
    return round(value, 5) if value is not None and math.isfinite(value) else None


def _page(record: Mapping[str, Any]) -> str:
    base, best = record["base"], record["best"]
    start = f"{base['weights']}, sha256 {base['sha256']}" if base["weights"] else "random weights"
    few = "; the encoder was kept as it is" if record["few_shot"] else ""
    told = {True: "-", False: "{:.3f}"}
    rows = [
        f"| {name} | {told[d['before'] is None].format(d['before'])} "
        f"| {told[d['after'] is None].format(d['after'])} |"
        for name, d in record["dice"].items()
    ]
    curve = [
        f"| {step} | {'-' if loss is None else f'{loss:.4f}'} | {found:.4f} |"
        for step, loss, found in record["curve"]
    ]
    return "\n".join(
        (
            f"# {record['name']}",
            "",
            f"{base['title']} ({base['model']}), fine-tuned{few}.",
            "",
            f"- Made: {record['made']} by {record['by']} on {record['device']}, "
            f"{record['processes']} processes, {record['seconds']:.0f} s in its last run",
            f"- Started from: {start}",
            f"- Licence: {record['licence']} ({record['licence_url']}), that of the base",
            f"- Cite: {base['citation']}",
            f"- Learned from: {', '.join(record['split']['training'])}",
            f"- Judged by: {', '.join(record['split']['validation'])}",
            f"- Seed {record['seed']}, {record['batch']} samples an update, "
            f"{record['learned']} of {record['parameters']} parameters learned",
            f"- Best: update {best['step']}, validation loss {best['validation_loss']:.4f}",
            "",
            "Judged on windows of the validation volumes alone, which also chose the best "
            "update: expect somewhat less elsewhere, and nothing is known of other scanners, "
            "patients or labels. Not a medical device.",
            "",
            "| label | Dice before | Dice after |",
            "|---|---|---|",
            *rows,
            "",
            "| update | training loss | validation loss |",
            "|---|---|---|",
            *curve,
            "",
        )
    )
