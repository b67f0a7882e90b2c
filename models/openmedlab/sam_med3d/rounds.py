"""Prompts as SAM-Med3D's rounds: every round sees all clicks so far and the mask before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openmedlab.core import Box, ExtremePoints, MaskPrompt, Point, Prompt, PromptError, Region
from openmedlab.core.contracts import PromptList
from openmedlab.core.translate import translate

TAKES = frozenset({"point"})


@dataclass(frozen=True)
class Round:
    """One run of the decoder.

    Attributes
    ----------
    clicks
        All points so far, in native indices.
    mask
        A mask that takes the place of the last round's answer, or None.
    """

    clicks: tuple[Point, ...]
    mask: MaskPrompt | None = None


def rounds_of(prompts: PromptList) -> tuple[list[Round], tuple[str, ...]]:
    """Turn prompts, oldest first, into rounds, and say in words what was given.

    Each prompt makes a round; a scribble's or the extreme points' clicks enter
    together. A mask supersedes what came before, except the clicks it agrees with,
    and waits for the next prompt.

    Raises
    ------
    PromptError
        No prompt is positive, or one is of a kind the model cannot take.
    """
    rounds: list[Round] = []
    words: list[str] = []
    clicks: tuple[Point, ...] = ()
    waiting: MaskPrompt | None = None
    for prompt in opening_first(prompts):
        translated, said = translate([prompt], TAKES)
        points = tuple(p for p in translated if isinstance(p, Point))
        words.extend(said)
        if isinstance(prompt, MaskPrompt):
            waiting, rounds = prompt, []
            clicks = tuple(c for c in clicks if _agrees(c, prompt))
            clicks = clicks if any(c.positive for c in clicks) else (*clicks, *points)
            continue
        clicks = (*clicks, *points)
        rounds.append(Round(clicks, waiting))
        waiting = None
    if waiting is not None:
        rounds.append(Round(clicks, waiting))
    return rounds, tuple(words)


def opening_first(prompts: PromptList) -> tuple[Prompt, ...]:
    """Return the prompts with the first positive one in front.

    Raises
    ------
    PromptError
        There is no positive prompt.
    """
    first = next((p for p in prompts if getattr(p, "positive", True)), None)
    if first is None:
        raise PromptError("Only negative prompts were given; mark the object itself first.")
    at = next(k for k, p in enumerate(prompts) if p is first)
    return (first, *prompts[:at], *prompts[at + 1 :])


def middle_voxel(prompt: Prompt) -> npt.NDArray[np.int64]:
    """Return the voxel (z, y, x) in the middle of a prompt's extent."""
    positions = prompt.positions()
    return np.rint((positions.min(0) + positions.max(0)) / 2).astype(np.int64)


def known_extent(prompts: PromptList) -> Region | None:
    """Return the voxels that a 3D box or extreme points say the object fills, if any did."""
    extent: Region | None = None
    for prompt in prompts:
        if isinstance(prompt, ExtremePoints):
            box = prompt.box
        elif isinstance(prompt, Box) and prompt.positive and prompt.flat_axis is None:
            box = prompt
        else:
            continue
        extent = box.region if extent is None else extent.union(box.region)
    return extent


def _agrees(click: Point, mask: MaskPrompt) -> bool:
    voxel = Region.around(click.positions())
    return bool(mask.array(voxel).all()) == click.positive
