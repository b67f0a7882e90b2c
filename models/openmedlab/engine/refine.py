"""Corrections of a trusted mask: each prompt changes it near itself, the rest stays.

A prompt reaches about as far as the error it points at is thick: the distance from the
clicked voxel to the next voxel that is on the right side already. So one click puts a wrong
lobe right as well as a wrong rim, whatever a model makes of the rest of a large structure,
and a model with a small window cannot cut the structure off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from openmedlab.core import Box, Geometry, LogitsPatch, MaskPrompt, Prompt, Region
from openmedlab.core.constraints import hard_voxels
from openmedlab.core.contracts import PromptList
from openmedlab.core.translate import spread

LEAST_MM, MOST_MM, MARGIN_MM, SHARE = 8.0, 60.0, 5.0, 1.3
SPOTS = 16

Ask = Callable[[PromptList], LogitsPatch]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Refined:
    """A trusted mask after some corrections.

    Attributes
    ----------
    base, taken
        The mask to begin with, and the prompts taken since, oldest first.
    region, mask
        The mask now, and where it lies.
    given
        What the model was given, in words.
    """

    base: MaskPrompt
    taken: tuple[Prompt, ...]
    region: Region
    mask: Mask
    given: tuple[str, ...] = ("mask",)

    def on(self, target: Region) -> Mask:
        """Return the mask on another region."""
        return _placed(self.mask, self.region, target)

    def changed(
        self, prompt: Prompt, window: Region, mask: Mask, given: tuple[str, ...]
    ) -> Refined:
        """Return the mask with another content of ``window``, after one prompt more."""
        filled = Region.of_mask(mask)
        region = self.region if filled is None else self.region.union(filled.shifted(window.start))
        whole, part = self.on(region), window.intersection(region)
        whole[part.relative_to(region).slices] = mask[part.relative_to(window).slices]
        return replace(self, taken=(*self.taken, prompt), region=region, mask=whole, given=given)


def trusted_base(prompts: PromptList) -> int | None:
    """Return which prompt is the newest trusted mask."""
    found = [k for k, p in enumerate(prompts) if isinstance(p, MaskPrompt) and p.trusted]
    return found[-1] if found else None


def refined(
    ask: Ask,
    method: str,
    geometry: Geometry,
    prompts: PromptList,
    base: int,
    previous: LogitsPatch | None,
) -> LogitsPatch:
    """Return a trusted mask after the prompts behind it, taken one by one.

    Parameters
    ----------
    ask
        Gives a model's mask for a mask near a prompt, and that prompt.
    method
        The model's name.
    prompts, base
        All prompts, and which of them is the mask.
    previous
        The last answer, so that only new prompts are taken.
    """
    mask, later = prompts[base], tuple(prompts[base + 1 :])
    assert isinstance(mask, MaskPrompt)
    state = previous.state if previous is not None else None
    if not (
        isinstance(state, Refined)
        and state.base == mask
        and later[: len(state.taken)] == state.taken
    ):
        state = Refined(mask, (), mask.region, mask.array())
    for prompt in later[len(state.taken) :]:
        state = _take(ask, geometry, state, prompt)
    logits = np.where(state.mask, np.float32(1), np.float32(-1))
    return LogitsPatch(state.region, logits, method, state.given, state)


def _take(ask: Ask, geometry: Geometry, state: Refined, prompt: Prompt) -> Refined:
    spots = _spots(prompt)
    reach = _reach(geometry, state, spots, bool(getattr(prompt, "positive", True)))
    window = _around(geometry, prompt, spots, 2 * reach + 2 * MARGIN_MM)
    local = state.on(window)
    if not local.any() and not getattr(prompt, "positive", True):
        return state.changed(prompt, window, local, state.given)
    seed = [MaskPrompt.from_array(local, window.start)] if local.any() else []
    patch = ask([*seed, prompt])
    near = _near(geometry, prompt, spots, reach, window)
    local[near] = _placed(patch.mask, patch.region, window)[near]
    return state.changed(prompt, window, local, patch.given)


def _spots(prompt: Prompt) -> npt.NDArray[np.float64]:
    """Return voxels (N, 3) that stand for a prompt."""
    inside, outside = hard_voxels([prompt])
    found = inside if len(inside) else outside
    return spread(found if len(found) else np.rint(prompt.positions()), SPOTS)


def _reach(
    geometry: Geometry, state: Refined, spots: npt.NDArray[np.float64], positive: bool
) -> float:
    """Return in mm how far a prompt reaches: the thickness of the error, and a margin."""
    deepest = 0.0
    for spot in spots:
        window = Region.around(spot).padded(_voxels(geometry, MOST_MM)).clipped(geometry.shape)
        right = state.on(window) == positive
        squares = _squares(geometry, spot, window)[right]
        nearest = float(np.sqrt(squares.min())) if squares.size else MOST_MM
        deepest = max(deepest, nearest)
    return float(np.clip(SHARE * deepest + MARGIN_MM, LEAST_MM, MOST_MM))


def _near(
    geometry: Geometry,
    prompt: Prompt,
    spots: npt.NDArray[np.float64],
    reach: float,
    window: Region,
) -> Mask:
    """Return what of ``window`` a prompt reaches: balls around its voxels, or a box."""
    near = np.zeros(window.shape, bool)
    for spot in spots:
        near |= _squares(geometry, spot, window) <= reach**2
    if isinstance(prompt, Box):
        box = prompt.region.padded(_voxels(geometry, MARGIN_MM)).intersection(window)
        near[box.relative_to(window).slices] = True
    return near


def _around(
    geometry: Geometry, prompt: Prompt, spots: npt.NDArray[np.float64], margin: float
) -> Region:
    region = Region.around(spots)
    if isinstance(prompt, Box):
        region = region.union(prompt.region)
    return region.padded(_voxels(geometry, margin)).clipped(geometry.shape)


def _squares(
    geometry: Geometry, spot: npt.NDArray[np.float64], window: Region
) -> npt.NDArray[np.float32]:
    """Return the squared distance in mm of every voxel of ``window`` to ``spot``."""
    z, y, x = (
        np.square((np.arange(a, b, dtype=np.float32) - np.float32(c)) * np.float32(mm))
        for a, b, c, mm in zip(window.start, window.stop, spot, geometry.spacing, strict=True)
    )
    return np.asarray(z[:, None, None] + y[:, None] + x)


def _voxels(geometry: Geometry, mm: float) -> tuple[int, ...]:
    return tuple(int(np.ceil(mm / step)) for step in geometry.spacing)


def _placed(mask: Mask, region: Region, target: Region) -> Mask:
    """Return ``mask``, which lies at ``region``, on ``target``."""
    out = np.zeros(target.shape, bool)
    common = region.intersection(target)
    if common:
        out[common.relative_to(target).slices] = mask[common.relative_to(region).slices]
    return out
