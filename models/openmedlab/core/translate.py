"""The one place where a prompt a model does not take becomes prompts it does.

extreme points -> box + points; lasso -> scribble of its inside, or box;
scribble -> a few spread points; box -> its centre point; flat box -> slice seed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from openmedlab.core.contracts import PromptList
from openmedlab.core.errors import PromptError
from openmedlab.core.prompts import (
    Box,
    ExtremePoints,
    Lasso,
    MaskPrompt,
    Point,
    Prompt,
    Scribble,
)

SCRIBBLE_POINTS = 8


def lasso_voxels(lasso: Lasso) -> npt.NDArray[np.int64]:
    """Return the voxels (N, 3) whose centres lie inside the outline (even-odd rule).

    The voxels under the outline's corners are always included.
    """
    axis = lasso.axis
    corners = lasso.positions()
    plane = [k for k in range(3) if k != axis]
    outline = corners[:, plane]
    low, high = np.floor(outline.min(0)).astype(int), np.ceil(outline.max(0)).astype(int)
    v, u = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
    inside = np.zeros(v.shape, bool)
    for (v0, u0), (v1, u1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if v0 == v1:
            continue
        crosses = (v >= min(v0, v1)) & (v < max(v0, v1))
        inside ^= crosses & (u < u0 + (v - v0) * (u1 - u0) / (v1 - v0))
    filled = np.empty((int(inside.sum()), 3), np.int64)
    filled[:, plane] = np.stack([v[inside], u[inside]], axis=1)
    filled[:, axis] = round(corners[0, axis])
    voxels = np.concatenate([filled, np.rint(corners).astype(np.int64)])
    return np.unique(voxels, axis=0)


def spread(points: npt.ArrayLike, count: int = SCRIBBLE_POINTS) -> npt.NDArray[np.float64]:
    """Return at most ``count`` of ``points`` (N, 3), far apart (farthest-point sampling)."""
    p = np.asarray(points, float)
    if len(p) <= count:
        return p
    chosen = [int(np.argmin(((p - p.mean(0)) ** 2).sum(1)))]
    distance = ((p - p[chosen[0]]) ** 2).sum(1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((p - p[chosen[-1]]) ** 2).sum(1))
    return p[chosen]


def translate(prompts: PromptList, takes: Collection[str]) -> tuple[list[Prompt], tuple[str, ...]]:
    """Turn ``prompts`` into kinds that a model ``takes``.

    Returns
    -------
    list of Prompt, tuple of str
        The prompts, in order, and what was done, in words (for `LogitsPatch.given`).

    Raises
    ------
    PromptError
        A prompt cannot be expressed in the kinds taken.
    """
    out: list[Prompt] = []
    words: list[str] = []
    for prompt in prompts:
        if prompt.kind in takes:
            out.append(prompt)
            words.append(prompt.kind)
            continue
        rule = _RULES.get(type(prompt))
        if rule is None:
            raise PromptError(f"This method does not take a {prompt.kind}; choose another prompt.")
        partial, _ = translate(rule(prompt, takes), takes)
        out.extend(partial)
        words.append(f"{prompt.kind} as {_count(partial)}")
    return out, tuple(words)


def _count(prompts: PromptList) -> str:
    kinds = [p.kind for p in prompts]
    return " + ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))


def _from_extreme(prompt: Prompt, takes: Collection[str]) -> list[Prompt]:
    assert isinstance(prompt, ExtremePoints)
    centre = prompt.positions().mean(0)
    inward: list[Prompt] = [Point(tuple(p + 0.15 * (centre - p))) for p in prompt.positions()]
    return [prompt.box, *inward] if "box" in takes else [Point(tuple(centre)), *inward]


def _from_box(prompt: Prompt, takes: Collection[str]) -> list[Prompt]:
    assert isinstance(prompt, Box)
    centre = (np.asarray(prompt.lower) + np.asarray(prompt.upper)) / 2
    return [Point(tuple(centre), prompt.positive)]


def _from_scribble(prompt: Prompt, takes: Collection[str]) -> list[Prompt]:
    assert isinstance(prompt, Scribble)
    return [Point(tuple(p), prompt.positive) for p in spread(prompt.points)]


def _from_lasso(prompt: Prompt, takes: Collection[str]) -> list[Prompt]:
    assert isinstance(prompt, Lasso)
    voxels = lasso_voxels(prompt).astype(float)
    if "scribble" in takes:
        return [Scribble(tuple(map(tuple, voxels)), prompt.positive)]
    if "box" in takes and prompt.positive:
        return [Box(tuple(voxels.min(0)), tuple(voxels.max(0))), *_inner(voxels, True)]
    return _inner(voxels, prompt.positive)


def _from_mask(prompt: Prompt, takes: Collection[str]) -> list[Prompt]:
    assert isinstance(prompt, MaskPrompt)
    voxels = np.argwhere(prompt.array()) + np.asarray(prompt.start)
    return _inner(voxels.astype(float), True)


def _inner(voxels: npt.NDArray[np.float64], positive: bool) -> list[Prompt]:
    """Points well inside a set of voxels: the ones nearest to the means of its parts."""
    middle = voxels[np.argmin(((voxels - voxels.mean(0)) ** 2).sum(1))]
    return [Point(tuple(middle), positive)]


_RULES: dict[type[Prompt], Callable[[Prompt, Collection[str]], list[Prompt]]] = {
    ExtremePoints: _from_extreme,
    Box: _from_box,
    Scribble: _from_scribble,
    Lasso: _from_lasso,
    MaskPrompt: _from_mask,
}
