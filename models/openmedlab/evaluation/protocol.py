"""The standard protocol of interactive 3D segmentation: a first prompt, then corrective clicks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from openmedlab.core import (
    CancelToken,
    Encoding,
    InputError,
    LogitsPatch,
    Point,
    Progress,
    Prompt,
    Promptable,
    Volume,
)
from openmedlab.evaluation.metrics import dice, normalised_auc, surface_dice
from openmedlab.evaluation.simulate import (
    centre_click,
    corrective_click,
    extreme_points,
    shaken,
    tight_box,
)

Mask = npt.NDArray[np.bool_]
First = Literal["box", "click", "extreme"]


@dataclass(frozen=True)
class Protocol:
    """How an organ is clicked.

    Attributes
    ----------
    first
        The first prompt: its tight box, a click on its innermost voxel, or six extreme points.
    clicks
        Corrective clicks after it, each on the innermost voxel of the largest error component.
    jitter
        Standard deviation in voxels of the hand's tremor, 0 for ideal clicks.
    tolerance
        Of the surface Dice, in mm.
    seed
        Of the tremor.
    """

    first: First = "box"
    clicks: int = 5
    jitter: float = 0.0
    tolerance: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.first not in ("box", "click", "extreme"):
            raise InputError(f"The first prompt is box, click or extreme, not {self.first!r}.")
        if self.clicks < 0 or self.jitter < 0:
            raise InputError("The number of clicks and the jitter cannot be negative.")


@dataclass(frozen=True)
class Case:
    """One organ: Dice, surface Dice and seconds after the first prompt and after every click.

    `dice` and `nsd` have ``clicks + 1`` values (the last is repeated once nothing is wrong);
    `seconds` only those of prompts really given.
    """

    volume: str
    organ: str
    modality: str
    voxels: int
    dice: tuple[float, ...]
    nsd: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def dice_auc(self) -> float:
        """Area under `dice`, 0..1."""
        return normalised_auc(self.dice)

    @property
    def nsd_auc(self) -> float:
        """Area under `nsd`, 0..1."""
        return normalised_auc(self.nsd)


class Player:
    """Drives a promptable as an interactive session does: encodes once per region."""

    def __init__(self, promptable: Promptable, volume: Volume) -> None:
        self._promptable = promptable
        self._volume = volume
        self._encoding: Encoding | None = None
        self._patch: LogitsPatch | None = None

    def predict(self, prompts: Sequence[Prompt]) -> Mask:
        """Return the mask on the whole grid for ``prompts``, oldest first."""
        progress, cancel = Progress(), CancelToken()
        region = self._promptable.region(self._volume.geometry, prompts)
        if self._encoding is None or self._encoding.region != region:
            self._encoding = self._promptable.encode(self._volume, region, progress, cancel)
            self._patch = None
        self._patch = self._promptable.predict(
            self._encoding, prompts, self._patch, progress, cancel
        )
        mask = np.zeros(self._volume.shape, bool)
        mask[self._patch.region.slices] = self._patch.mask
        return mask


def run_case(
    promptable: Promptable, volume: Volume, truth: Mask, organ: str, protocol: Protocol
) -> Case:
    """Play ``protocol`` for one organ and score every answer.

    Parameters
    ----------
    truth
        The organ's reference mask, (z, y, x) of the volume's shape, not empty.
    """
    rng = np.random.default_rng(protocol.seed)
    spacing = volume.geometry.spacing
    prompts: list[Prompt] = [_first_prompt(truth, spacing, protocol, rng)]
    player = Player(promptable, volume)
    overlap, surface, seconds = [], [], []
    for count in range(protocol.clicks + 1):
        started = time.perf_counter()
        mask = player.predict(prompts)
        seconds.append(time.perf_counter() - started)
        overlap.append(dice(truth, mask))
        surface.append(surface_dice(truth, mask, spacing, protocol.tolerance))
        click = corrective_click(truth, mask, spacing) if count < protocol.clicks else None
        if click is None:
            break
        allowed = (truth == click.positive) & (mask != click.positive)
        prompts.append(_shake(click, allowed, protocol, rng))
    missing = protocol.clicks + 1 - len(overlap)
    return Case(
        volume.name,
        organ,
        volume.modality,
        int(np.count_nonzero(truth)),
        tuple(overlap + overlap[-1:] * missing),
        tuple(surface + surface[-1:] * missing),
        tuple(seconds),
    )


def _first_prompt(
    truth: Mask, spacing: Sequence[float], protocol: Protocol, rng: np.random.Generator
) -> Prompt:
    if protocol.first == "click":
        return _shake(centre_click(truth, spacing), truth, protocol, rng)
    return tight_box(truth) if protocol.first == "box" else extreme_points(truth)


def _shake(click: Point, allowed: Mask, protocol: Protocol, rng: np.random.Generator) -> Point:
    if not protocol.jitter:
        return click
    return Point(shaken(click.position, protocol.jitter, allowed, rng), click.positive)
