"""The training of Axon-Small that the bundled weights and users' fine-tuning share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from openmedlab.axons.small_net import REACH, AxonSmall
from openmedlab.tuning.loop import Loop, Schedule, short_floats
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

    @property
    def schedule(self) -> Schedule:
        """What of it the loop follows."""
        return Schedule(
            steps=self.steps,
            rate=self.rate,
            average=self.average,
            check=self.check,
            patience=self.patience,
        )


class Trainer(Loop):
    """The training of Axon-Small on cubes, from its newest checkpoint if there is one.

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
        device = default_device()
        network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        purpose = f"axons {settings.batch} {settings.side} {settings.seed} {_digest(cubes)}"
        task = Patches(cubes, validation, settings, device)
        super().__init__(network.train(), task, settings.schedule, folder, purpose)


def _digest(cubes: Sequence[Cube]) -> str:
    """Return what tells these cubes, on their grey scale, from others."""
    digest = hashlib.blake2b(digest_size=8)
    for cube in cubes:
        digest.update(np.ascontiguousarray(cube.image).data)
        digest.update(np.ascontiguousarray(cube.label).data)
    return digest.hexdigest()


class Patches:
    """Learning to tell axons on patches that depend on the seed and the step alone."""

    def __init__(
        self, cubes: Sequence[Cube], validation: Sequence[Cube], settings: Settings, device: str
    ) -> None:
        self._settings, self._device = settings, device
        self._cubes = cubes
        self._weights = np.array([c.weight for c in cubes]) / sum(c.weight for c in cubes)
        self._validation = _fixed_patches(validation, settings)

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Return the loss of an update's patches."""
        settings = self._settings
        random = np.random.default_rng((settings.seed, step))
        chosen = random.choice(len(self._cubes), settings.batch, p=self._weights)
        drawn = (_patch(random, self._cubes[k], settings.side) for k in chosen)
        patches = [augment(random, *patch) for patch in drawn]
        images, labels = (
            torch.from_numpy(np.stack(part)[:, None]).to(self._device)
            for part in zip(*patches, strict=True)
        )
        with torch.autocast(self._device, torch.bfloat16, enabled=short_floats(self._device)):
            logits = network(images)
        return score(logits.float(), labels)

    def validate(self, network: nn.Module) -> float | None:
        """Return the mean loss over the validation patches; None where there are none."""
        if not self._validation:
            return None
        device = self._device
        losses = [score(network(x.to(device)), y.to(device)) for x, y in self._validation]
        return float(torch.stack(losses).mean())


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


def _patch(random: Random, cube: Cube, side: int) -> tuple[Floats, Labels]:
    """Return a random patch with the reach around it, every second one on an axon."""
    inner = np.array(cube.label.shape)
    corner = random.integers(0, np.maximum(inner - side, 0) + 1)
    if random.random() < 0.5:
        tried = random.integers(0, inner, (200, 3))
        hit = tried[cube.label[tuple(tried.T)] == 1]
        if len(hit):
            shift = random.integers(0, side, 3)
            corner = np.clip(hit[0] - shift, 0, np.maximum(inner - side, 0))
    return _cut(cube, corner, side)


def _cut(cube: Cube, corner: npt.NDArray[Any], side: int) -> tuple[Floats, Labels]:
    """Return the image with the reach around it, and the label; beyond the cube it is mirrored."""
    low = np.maximum(corner - REACH, 0)
    high = np.minimum(corner + side + REACH, cube.label.shape)
    image = cube.image[tuple(map(slice, low, high))].astype(np.float32)
    lacking = np.stack([low - corner + REACH, corner + side + REACH - high], 1)
    fits = (lacking.max(1) < image.shape).all()
    image = np.pad(image, lacking, mode="reflect" if fits else "edge")
    label = cube.label[tuple(slice(c, c + side) for c in corner)]
    short = [(0, side - n) for n in label.shape]
    return image, np.pad(label, short, constant_values=IGNORED)


def _fixed_patches(cubes: Sequence[Cube], settings: Settings) -> list[tuple[Tensor, Tensor]]:
    """Return batches for validation, the same every time: up to 64 patches."""
    random = np.random.default_rng((settings.seed, 2**31))
    each = max(1, min(8, 64 // max(len(cubes), 1)))
    patches = [_patch(random, c, settings.side) for c in cubes[:64] for _ in range(each)]
    return [
        (torch.from_numpy(image)[None, None], torch.from_numpy(label)[None, None])
        for image, label in patches
    ]
