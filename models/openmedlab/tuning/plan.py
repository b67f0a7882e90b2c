"""What will be fine-tuned, on what, and what it takes: known before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openmedlab.core import InputError
from openmedlab.core.errors import MemoryGuardError
from openmedlab.tuning.data import Cohort, Split
from openmedlab.tuning.loop import Schedule, world
from openmedlab.zoo import WeightsError, WeightsStore, cards
from openmedlab.zoo.card import ModelCard

if TYPE_CHECKING:
    from openmedlab.tuning.families import Family

WINDOWS_PER_EPOCH = 4
LOOKS = 40
PATIENCE = 10
HEADROOM = 0.9


@dataclass(frozen=True)
class Request:
    """What to fine-tune, on what, and how.

    Attributes
    ----------
    model
        One of `tunable`: ``"sam-med3d"``, ``"stu-net-s"``, ``"pct-net-volf"``, ...
    cohort
        The labelled volumes, from `read_cohort`.
    out
        Folder of the weights, their card and the checkpoint; a training that was stopped
        there goes on.
    labels
        Names (or numbers) of the labels to learn; all by default.
    weights
        Where to start instead of at the stored weights.
    scratch
        Start from random weights.
    few_shot
        Keep the encoder as it is: for a handful of volumes.
    epochs, steps
        How long at most; ``steps`` counts if given. In an epoch every volume is looked at
        four times.
    batch
        Samples of an update over all processes; 0 takes the family's own number.
    rate
        The greatest learning rate; 0 takes the family's own.
    validation
        Volumes that judge; by default a quarter, drawn by ``seed``.
    seed
        Of everything random.
    device
        ``"cpu"``, ``"cuda"``, ...; by default the GPU where there is one.
    name
        Of the new model; by default the base's with ``-tuned``.
    """

    model: str
    cohort: Cohort
    out: Path
    labels: tuple[str, ...] = ()
    weights: Path | None = None
    scratch: bool = False
    few_shot: bool = False
    epochs: int = 50
    steps: int | None = None
    batch: int = 0
    rate: float = 0.0
    validation: tuple[str, ...] = ()
    seed: int = 0
    device: str | None = None
    name: str = ""


@dataclass(frozen=True)
class Start:
    """Where it starts: a file with its digest and the classes it knows, or random weights."""

    file: Path | None = None
    sha256: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes
    ----------
    request
        What it is for.
    card
        Of the model it starts from.
    name
        Of the new model.
    start
        The weights it starts from.
    labels
        Names to learn by their numbers in the labelmaps.
    split
        Volumes to learn from and to judge by.
    schedule
        Updates, learning rate, looks at the validation volumes, patience.
    batch
        Samples of an update over all processes.
    learned, parameters
        Numbers of the network that change, and all.
    memory
        Bytes that a process will need at most.
    device
        Where it runs.
    """

    request: Request
    card: ModelCard
    name: str
    start: Start
    labels: dict[int, str]
    split: Split
    schedule: Schedule
    batch: int
    learned: int
    parameters: int
    memory: int
    device: str

    @property
    def family(self) -> Family:
        """How networks of this kind learn."""
        from openmedlab.tuning.families import family

        return family(self.card, self.labels, self.request.cohort, self.start.file)

    @property
    def free(self) -> int:
        """Bytes that are free now where it would run."""
        from openmedlab.tuning.memory import free_bytes

        return free_bytes(self.device)

    @property
    def text(self) -> str:
        """The plan in a few lines for a person."""
        start = "from random weights" if self.start.file is None else f"from {self.start.file.name}"
        few = ", its encoder kept as it is" if self.request.few_shot else ""
        return "\n".join(
            (
                f"{self.name}: {self.card.title} {start}{few}",
                f"labels: {', '.join(self.labels.values())}",
                f"learns from {', '.join(self.split.training)}",
                f"judged by {', '.join(self.split.validation)}",
                f"{self.schedule.steps} updates at most of {self.batch} samples, a look at the "
                f"validation volumes every {self.schedule.check}",
                f"{self.learned / 1e6:.1f} of {self.parameters / 1e6:.1f} M parameters learn",
                f"needs {self.memory / 1e9:.1f} GB on {self.device}, where {self.free / 1e9:.1f} "
                "GB are free",
            )
        )

    def require_memory(self) -> None:
        """Raise `MemoryGuardError` where less memory is free than it needs."""
        free = self.free
        if self.memory > HEADROOM * free:
            hint = "" if self.request.few_shot else "keep the encoder as it is (few-shot), "
            raise MemoryGuardError(
                f"Fine-tuning {self.request.model} needs {self.memory / 1e9:.1f} GB on "
                f"{self.device} but {free / 1e9:.1f} GB are free; {hint}take fewer samples an "
                "update, a smaller model, or close other programs."
            )


def tunable() -> dict[str, ModelCard]:
    """Return the cards of all models that can be fine-tuned, by name."""
    from openmedlab.tuning.click import CARD
    from openmedlab.tuning.families import FAMILIES

    known = {name: card for name, card in cards().items() if card.network in FAMILIES}
    return {CARD.name: CARD, **known}


def plan(request: Request) -> Plan:
    """Return what a request comes to; nothing is trained yet, and no weights are read.

    Raises
    ------
    InputError
        The model cannot be fine-tuned, or the request does not fit the cohort.
    WeightsError
        The weights to start from are not here.
    """
    from openmedlab.tuning.families import family
    from openmedlab.tuning.memory import measure
    from openmedlab.zoo.methods import default_device

    known = tunable()
    if request.model not in known:
        raise InputError(f"{request.model!r} cannot be fine-tuned; choose from {', '.join(known)}.")
    card, labels = known[request.model], request.cohort.chosen(request.labels)
    start = _start(request)
    made = family(card, labels, request.cohort, start.file)
    if start.file is None and not made.scratch:
        raise InputError(
            f"{request.model} is too large to learn from nothing on a cohort; start from its "
            "weights."
        )
    split = Split.of(request.cohort.names, request.seed, request.validation)
    batch = request.batch or max(made.batch, world())
    if batch % world():
        raise InputError(
            f"{batch} samples an update cannot be shared by {world()} processes; take a multiple."
        )
    device = request.device or default_device()
    needs = measure(made, request.few_shot, batch // world())
    return Plan(
        request=request,
        card=card,
        name=request.name or f"{request.model.removesuffix('-tuned')}-tuned",
        start=start,
        labels=labels,
        split=split,
        schedule=_schedule(request, made, len(split.training), batch),
        batch=batch,
        learned=needs.learned,
        parameters=needs.parameters,
        memory=needs.memory,
        device=device,
    )


def _start(request: Request) -> Start:
    from openmedlab.zoo.tuned import class_names

    if request.scratch:
        return Start()
    store = WeightsStore()
    file = _bundled(request) or store.require(request.model, request.weights)
    return Start(file, store.sha256(file), class_names(file))


def _bundled(request: Request) -> Path | None:
    """Return the file of the bundled click model, which no store keeps."""
    from openmedlab.tuning.click import BUNDLED, CARD

    if request.model != CARD.name:
        return None
    file = request.weights or BUNDLED
    if not file.is_file():
        raise WeightsError(f"{file} is not a file; give the path of a checkpoint.")
    return file


def _schedule(request: Request, family: Family, volumes: int, batch: int) -> Schedule:
    steps = request.steps or math.ceil(request.epochs * WINDOWS_PER_EPOCH * volumes / batch)
    if steps < 1 or request.epochs < 1:
        raise InputError("Nothing is learned in no time; give 1 epoch (or update) or more.")
    return Schedule(
        steps=steps,
        rate=request.rate or family.rate,
        warm=min(50, max(1, steps // 10)),
        average=min(max(0.5, 1 - 20 / steps), family.average),
        check=max(1, math.ceil(steps / LOOKS)),
        patience=PATIENCE,
    )
