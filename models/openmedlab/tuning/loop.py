"""The training loop of everything that learns here: bundled networks and users' fine-tuning."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from openmedlab.core.errors import Cancelled, InputError
from openmedlab.core.progress import CancelToken, Progress


class Task(Protocol):
    """What is learned: the loss of an update, and the score of weights."""

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Return the loss of update ``step``, a function of the step and of fixed seeds alone."""
        ...

    def validate(self, network: nn.Module) -> float | None:
        """Return the validation loss of a network in evaluation mode; None without such data."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes
    ----------
    steps
        Updates in all; the learning rate follows a half cosine over them.
    rate, decay
        Its greatest value and the weight decay (AdamW).
    warm
        Updates over which the rate rises.
    average
        Share of the running average of the weights that survives an update.
    check
        Updates between two looks at the validation data and two checkpoints.
    patience
        Looks without a better validation loss before it stops.
    """

    steps: int = 4000
    rate: float = 2e-3
    decay: float = 1e-4
    warm: int = 50
    average: float = 0.995
    check: int = 100
    patience: int = 10


@dataclass
class History:
    """What happened so far; kept in the checkpoint.

    Attributes
    ----------
    step
        Updates done.
    best
        The lowest validation loss, at step `best_step`.
    waited
        Looks since then.
    curve
        Step, mean training loss since the last look (None at first), validation loss (None
        without data).
    """

    step: int = 0
    best: float = math.inf
    best_step: int = 0
    waited: int = 0
    curve: list[tuple[int, float | None, float | None]] = field(default_factory=list)


class Loop:
    """Trains from its newest checkpoint if there is one.

    Parameters
    ----------
    network
        Where to start, on its device. Parameters that want no gradient stay as they are,
        and so do normalisation layers in evaluation mode.
    task
        What is learned.
    schedule
        How long and how fast.
    folder
        Of the checkpoint ``checkpoint.pt``, written whole or not at all.
    purpose
        What else must agree before a checkpoint is taken up again.
    """

    def __init__(
        self, network: nn.Module, task: Task, schedule: Schedule, folder: Path, purpose: str = ""
    ) -> None:
        self.network, self.schedule, self.folder = network, schedule, folder
        self.history = History()
        self._task, self._purpose = task, purpose
        self._learned = [p for p in network.parameters() if p.requires_grad]
        self._device = str(self._learned[0].device)
        self._optimizer = torch.optim.AdamW(
            self._learned, schedule.rate, weight_decay=schedule.decay
        )
        self.averaged = {k: v.clone() for k, v in network.state_dict().items()}
        self.best = dict(self.averaged)
        self._losses: list[float] = []
        self._resume()

    def run(self, progress: Progress, cancel: CancelToken) -> None:
        """Train to the end, or until nothing improves.

        Raises
        ------
        Cancelled
            ``cancel`` was raised; a checkpoint holds the work so far.
        """
        if self.history.step == 0:
            self._judge()
        while not self.finished:
            if summed(torch.tensor(float(cancel.cancelled)), self._device) > 0:
                self.save()
                raise Cancelled
            loss = self._step()
            self._losses.append(loss)
            if self.history.step % self.schedule.check == 0 or self.finished:
                self._judge()
                self.save()
            text = f"loss {loss:.3f}"
            if math.isfinite(self.history.best):
                text += f", best on validation {self.history.best:.3f}"
            progress.report(self.history.step, self.schedule.steps, text)

    @property
    def finished(self) -> bool:
        """Whether all updates are done or nothing has improved for too long."""
        history = self.history
        return history.step >= self.schedule.steps or history.waited >= self.schedule.patience

    def _step(self) -> float:
        """Make one update; of several processes, all make the same one."""
        schedule, step = self.schedule, self.history.step
        share = 0.5 * (1 + math.cos(math.pi * step / schedule.steps))
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.rate * min(1.0, (step + 1) / schedule.warm) * max(share, 0.01)
        loss = self._task.loss(self.network, step)
        self._optimizer.zero_grad()
        loss.backward()
        average_gradients(self._learned)
        torch.nn.utils.clip_grad_norm_(self._learned, 5.0)
        self._optimizer.step()
        self.history.step += 1
        self._average()
        return float(summed(loss.detach(), self._device)) / world()

    def _average(self) -> None:
        share = min(self.schedule.average, 1 - 1 / (1 + self.history.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - share)
            else:
                self.averaged[name] = value.clone()

    def _judge(self) -> None:
        """Score the averaged weights; keep the best."""
        history, own = self.history, {k: v.clone() for k, v in self.network.state_dict().items()}
        training = [module for module in self.network.modules() if module.training]
        self.network.load_state_dict(self.averaged)
        with torch.inference_mode():
            found = self._task.validate(self.network.eval())
        self.network.load_state_dict(own)
        for module in training:
            module.training = True
        mean = sum(self._losses) / len(self._losses) if self._losses else None
        history.curve.append((history.step, mean, found))
        self._losses = []
        history.waited += found is not None
        if found is None or found < history.best:
            history.best, history.best_step = math.inf if found is None else found, history.step
            history.waited = 0
            self.best = {k: v.clone() for k, v in self.averaged.items()}

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole."""
        if rank() > 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "checkpoint.pt.part"
        torch.save(
            {
                "network": self.network.state_dict(),
                "averaged": self.averaged,
                "best": self.best,
                "optimizer": self._optimizer.state_dict(),
                "history": asdict(self.history),
                "losses": self._losses,
                "settings": self._settings(),
            },
            partial,
        )
        partial.replace(self.folder / "checkpoint.pt")

    def _settings(self) -> str:
        return json.dumps({"schedule": asdict(self.schedule), "purpose": self._purpose})

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self._device, weights_only=True)
        if state["settings"] != self._settings():
            raise InputError(
                f"{path} belongs to a training with other settings; choose another folder or "
                "remove it to begin anew."
            )
        self.network.load_state_dict(state["network"])
        self.averaged, self.best = dict(state["averaged"]), dict(state["best"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.history, self._losses = History(**state["history"]), list(state["losses"])


def best_weights(folder: Path) -> dict[str, Tensor]:
    """Return the best weights of a checkpoint folder.

    Raises
    ------
    InputError
        No training has begun there.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        raise InputError(f"{folder} holds no checkpoint.pt; train there first.")
    return dict(torch.load(path, map_location="cpu", weights_only=True)["best"])


def rank() -> int:
    """Return the number of this process among those that train together, 0 when alone."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def world() -> int:
    """Return how many processes train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def summed(value: Tensor, device: str) -> Tensor:
    """Return the sum of a value over the processes that train together; ``device`` is theirs."""
    if world() == 1:
        return value
    total = value.detach().clone().to(device)
    torch.distributed.all_reduce(total)
    return total.to(value.device)


def barrier() -> None:
    """Wait until all processes that train together are here."""
    if world() > 1:
        torch.distributed.barrier()


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace gradients by their mean over the processes that train together."""
    if world() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= world()


def short_floats(device: str) -> bool:
    """Tell whether bfloat16 makes training faster on this device instead of slower."""
    if device == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.startswith("cuda") and torch.cuda.is_bf16_supported()
