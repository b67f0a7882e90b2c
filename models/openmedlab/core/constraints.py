"""Prompts as hard facts: the voxels a mask must or must not contain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from openmedlab.core.contracts import LogitsPatch, PromptList
from openmedlab.core.errors import PromptError
from openmedlab.core.geometry import Geometry
from openmedlab.core.prompts import ExtremePoints, Lasso, MaskPrompt, Point, Prompt, Scribble
from openmedlab.core.region import Region
from openmedlab.core.translate import lasso_voxels

Voxels = npt.NDArray[np.int64]
Verdict = dict[tuple[int, int, int], bool]
CERTAIN = 1.0


def check_prompts(prompts: PromptList, geometry: Geometry) -> None:
    """Raise `PromptError` unless ``prompts`` can start a mask on ``geometry``."""
    for prompt in prompts:
        prompt.check(geometry)
    if not any(getattr(p, "positive", True) for p in prompts):
        raise PromptError("Only negative prompts so far; add a positive point, box or scribble.")


def hard_voxels(prompts: PromptList) -> tuple[Voxels, Voxels]:
    """Return the voxels that must be inside and those that must be outside, (N, 3) each.

    Points, scribbles, the inside of lassos and extreme points count. Where prompts
    contradict each other the newest (last) wins; a mask overrules the clicks before it
    that it contradicts.
    """
    verdict: Verdict = {}
    for prompt in prompts:
        if isinstance(prompt, MaskPrompt):
            verdict = _agreeing(verdict, prompt)
        for voxel in _facts(prompt).tolist():
            verdict[(voxel[0], voxel[1], voxel[2])] = bool(getattr(prompt, "positive", True))
    inside = [v for v, positive in verdict.items() if positive]
    outside = [v for v, positive in verdict.items() if not positive]
    return np.array(inside, np.int64).reshape(-1, 3), np.array(outside, np.int64).reshape(-1, 3)


def _agreeing(verdict: Verdict, prompt: MaskPrompt) -> Verdict:
    """Return the part of ``verdict`` that a mask does not contradict."""
    mask, box = prompt.array(), prompt.region
    kept = {}
    for voxel, positive in verdict.items():
        spot = Region.around([voxel])
        inside = box.contains(spot) and bool(mask[spot.relative_to(box).slices])
        if inside == positive:
            kept[voxel] = positive
    return kept


def _facts(prompt: Prompt) -> Voxels:
    if isinstance(prompt, Lasso):
        return lasso_voxels(prompt)
    if isinstance(prompt, Point | Scribble | ExtremePoints):
        return np.rint(prompt.positions()).astype(np.int64)
    return np.empty((0, 3), np.int64)


def pin(patch: LogitsPatch, prompts: PromptList) -> LogitsPatch:
    """Return ``patch`` with every clicked voxel as it was clicked.

    The patch grows where a positive voxel lies outside of it; logits that already
    have the right sign are left alone.
    """
    inside, outside = hard_voxels(prompts)
    if _agrees(patch, inside, True) and _agrees(patch, outside, False):
        return patch
    region = patch.region.union(Region.around(inside)) if len(inside) else patch.region
    logits = np.full(region.shape, -CERTAIN, np.float32)
    logits[patch.region.relative_to(region).slices] = patch.logits
    for voxels, sign in ((inside, 1.0), (outside, -1.0)):
        local = voxels - np.asarray(region.start)
        local = local[((local >= 0) & (local < np.asarray(region.shape))).all(axis=1)]
        at = tuple(local.T)
        wrong = (logits[at] > 0) != (sign > 0)
        logits[at] = np.where(wrong, np.float32(sign * CERTAIN), logits[at])
    return replace(patch, region=region, logits=logits)


def _agrees(patch: LogitsPatch, voxels: Voxels, positive: bool) -> bool:
    """Whether every one of ``voxels`` is on its side; outside of the patch is negative."""
    local = voxels - np.asarray(patch.region.start)
    within = ((local >= 0) & (local < np.asarray(patch.region.shape))).all(axis=1)
    if positive and not within.all():
        return False
    return bool(((patch.logits[tuple(local[within].T)] > 0) == positive).all())
