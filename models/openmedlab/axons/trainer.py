"""The training loop that the bundled weights and users' fine-tuning share."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.axons.small_net import REACH, AxonSmall
from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.zoo.methods import default_device

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Random = np.random.Generator

IGNORED = 2


@dataclass(frozen=True, eq=False)
class Cube:
    """One training cube.

    Attributes
    ----------
    image
        The network's input, float (z, y, x).
    label
        0 outside axons, 1 inside, 2 not known.
    weight
        How often it is drawn.
    """

    image: npt.NDArray[Any]
    label: Labels
    weight: float = 1.0


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    steps
        Updates in all; the learning rate follows a half cosine over them.
    rate
        Its greatest value (AdamW).
    batch, side
        Patches per update, and voxels along the side of the part of a patch that is scored.
    average
        Share of the running average of the weights that survives an update.
    check
        Updates between two looks at the validation cubes and two checkpoints.
    patience
        Looks without a better validation score before it stops.
    seed
        Of everything random.
    """

    steps: int = 4000
    rate: float = 2e-3
    batch: int = 4
    side: int = 40
    average: float = 0.995
    check: int = 100
    patience: int = 10
    seed: int = 0


@dataclass
class History:
    """What happened so far; kept in the checkpoint."""

    step: int = 0
    best: float = float("inf")
    waited: int = 0


class Trainer:
    """The training loop, from its newest checkpoint if there is one.

    Parameters
    ----------
    network
        Where to start.
    cubes, validation
        To train on and to judge by; without validation cubes it runs to the end.
    settings
        How to train.
    folder
        Of the checkpoint ``checkpoint.pt``, written whole or not at all.
    """

    def __init__(
        self,
        network: AxonSmall,
        cubes: Sequence[Cube],
        validation: Sequence[Cube],
        settings: Settings,
        folder: Path,
    ) -> None:
        self.settings, self.folder, self.history = settings, folder, History()
        self._cubes = [_padded(cube) for cube in cubes]
        self._weights = np.array([c.weight for c in cubes]) / sum(c.weight for c in cubes)
        self._validation = _fixed_patches([_padded(c) for c in validation], settings)
        self._device = default_device()
        self.network = _placed(network, self._device)
        self.averaged = {k: v.clone() for k, v in network.state_dict().items()}
        self.best = dict(self.averaged)
        self._optimizer = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=1e-4)
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
            if cancel.cancelled:
                self.save()
            cancel.check()
            loss = self._step()
            if self.history.step % self.settings.check == 0 or self.finished:
                self._judge()
                self.save()
            text = f"loss {loss:.3f}, best on validation {self.history.best:.3f}"
            progress.report(self.history.step, self.settings.steps, text)

    @property
    def finished(self) -> bool:
        """Whether all updates are done or nothing has improved for too long."""
        history = self.history
        return history.step >= self.settings.steps or history.waited >= self.settings.patience

    def _step(self) -> float:
        """Make one update with patches that depend on the seed and the step alone."""
        settings, step = self.settings, self.history.step
        random = np.random.default_rng((settings.seed, step))
        chosen = random.choice(len(self._cubes), settings.batch, p=self._weights)
        patches = [augment(random, *_patch(random, self._cubes[k], settings.side)) for k in chosen]
        images, labels = (
            torch.from_numpy(np.stack(part)[:, None]).to(self._device)
            for part in zip(*patches, strict=True)
        )
        warm = min(1.0, (step + 1) / 50)
        share = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate * warm * max(share, 0.01)
        self.network.train()
        with torch.autocast(self._device, torch.bfloat16, enabled=_has_bfloat16(self._device)):
            logits = self.network(images)
        loss = score(logits.float(), labels)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimizer.step()
        self.history.step += 1
        self._average()
        return float(loss.detach())

    def _average(self) -> None:
        share = min(self.settings.average, 1 - 1 / (1 + self.history.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - share)
            else:
                self.averaged[name] = value.clone()

    def _judge(self) -> None:
        """Score the averaged weights on the validation patches; keep the best."""
        if not self._validation:
            self.best = {k: v.clone() for k, v in self.averaged.items()}
            return
        found = validation_loss(self.averaged, self._validation, self._device)
        self.history.waited += 1
        if found < self.history.best:
            self.history.best, self.history.waited = found, 0
            self.best = {k: v.clone() for k, v in self.averaged.items()}

    def save(self) -> None:
        """Write the checkpoint, the old one stays until the new one is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "checkpoint.pt.part"
        torch.save(
            {
                "network": self.network.state_dict(),
                "averaged": self.averaged,
                "best": self.best,
                "optimizer": self._optimizer.state_dict(),
                "history": asdict(self.history),
                "settings": json.dumps(asdict(self.settings)),
            },
            partial,
        )
        partial.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self._device, weights_only=True)
        if json.loads(state["settings"]) != asdict(self.settings):
            raise InputError(
                f"{path} belongs to a training with other settings; choose another folder or "
                "remove it to begin anew."
            )
        self.network.load_state_dict(state["network"])
        self.averaged, self.best = dict(state["averaged"]), dict(state["best"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.history = History(**state["history"])


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
    state = torch.load(path, map_location="cpu", weights_only=True)
    return dict(state["best"])


def score(logits: Tensor, labels: Tensor) -> Tensor:
    """Return cross entropy plus soft Dice loss where the label is known."""
    known = (labels != IGNORED).float()
    wanted = (labels == 1).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    entropy = (entropy * known).sum() / known.sum().clamp(min=1)
    found = logits.sigmoid() * known
    overlap = (2 * (found * wanted).sum() + 1) / (found.sum() + (wanted * known).sum() + 1)
    return entropy + 0.3 * (1 - overlap)


def augment(random: Random, image: Floats, label: Labels) -> tuple[Floats, Labels]:
    """Return a patch turned, mirrored, brightened, blurred, made noisy."""
    turns = int(random.integers(4))
    image, label = np.rot90(image, turns, (1, 2)), np.rot90(label, turns, (1, 2))
    for axis in range(3):
        if random.random() < 0.5:
            image, label = np.flip(image, axis), np.flip(label, axis)
    image = image + np.float32(random.normal(0, 0.3))
    if random.random() < 0.5:
        image = image * np.float32(random.uniform(0.7, 1.4))
    if random.random() < 0.3:
        noise = random.standard_normal(image.shape, np.float32)
        image = image + noise * np.float32(random.uniform(0, 0.15))
    return np.ascontiguousarray(image, np.float32), np.ascontiguousarray(label)


def _padded(cube: Cube) -> Cube:
    """Return the cube with the network's reach around it: repeated image, unknown label."""
    image = np.pad(cube.image, REACH, mode="reflect" if min(cube.image.shape) > REACH else "edge")
    return Cube(image, np.pad(cube.label, REACH, constant_values=IGNORED), cube.weight)


def _patch(random: Random, cube: Cube, side: int) -> tuple[Floats, Labels]:
    """Return a random patch with the reach around it, every second one on an axon."""
    inner = np.array(cube.label.shape) - 2 * REACH
    corner = random.integers(0, np.maximum(inner - side, 0) + 1)
    if random.random() < 0.5:
        tried = random.integers(0, inner, (200, 3))
        hit = tried[cube.label[tuple((tried + REACH).T)] == 1]
        if len(hit):
            shift = random.integers(0, side, 3)
            corner = np.clip(hit[0] - shift, 0, np.maximum(inner - side, 0))
    return _cut(cube, corner, side)


def _cut(cube: Cube, corner: npt.NDArray[Any], side: int) -> tuple[Floats, Labels]:
    wide = tuple(slice(c, c + side + 2 * REACH) for c in corner)
    image, label = cube.image[wide], cube.label[wide]
    lacking = [(0, side + 2 * REACH - n) for n in image.shape]
    image = np.pad(image.astype(np.float32), lacking, mode="edge")
    label = np.pad(label, lacking, constant_values=IGNORED)
    inner = slice(REACH, -REACH)
    return image, label[inner, inner, inner]


def _fixed_patches(cubes: Sequence[Cube], settings: Settings) -> list[tuple[Tensor, Tensor]]:
    """Return batches for validation, the same every time: up to 64 patches."""
    random = np.random.default_rng((settings.seed, 2**31))
    each = max(1, min(8, 64 // max(len(cubes), 1)))
    patches = [_patch(random, c, settings.side) for c in cubes[:64] for _ in range(each)]
    return [
        (torch.from_numpy(image)[None, None], torch.from_numpy(label)[None, None])
        for image, label in patches
    ]


def validation_loss(
    state: dict[str, Tensor], batches: Sequence[tuple[Tensor, Tensor]], device: str
) -> float:
    """Return the mean loss of weights over batches."""
    network = AxonSmall()
    network.load_state_dict(state)
    network = _placed(network.eval(), device)
    with torch.inference_mode():
        losses = [score(network(x.to(device)), y.to(device)) for x, y in batches]
    return float(torch.stack(losses).mean())


def _placed(network: AxonSmall, device: str) -> AxonSmall:
    return network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _has_bfloat16(device: str) -> bool:
    """Tell whether short floats make training faster here instead of slower."""
    if device == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device == "cuda" and torch.cuda.is_bf16_supported()
