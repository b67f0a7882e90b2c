"""`Belief`: what is thought of the object on a coarse grid, and how it becomes a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.grid import Float, Grid
from openmedlab.builtin.solver import random_walker
from openmedlab.builtin.view import View

Mask = npt.NDArray[np.bool_]
ELSEWHERE = 0.02
TRUST, BETA = 0.15, 50.0


@dataclass(frozen=True, eq=False)
class Belief:
    """The probability of every cell of ``grid`` to be in the object."""

    grid: Grid
    chance: Float

    def on(self, grid: Grid) -> Float:
        """Return the probability on another grid; outside of the own one it is low."""
        out = self.chance
        for axis in range(3):
            own, wanted = self.grid.centres(axis), grid.centres(axis)
            at = np.interp(wanted, own, np.arange(len(own)))
            low = np.minimum(at.astype(np.intp), max(len(own) - 2, 0))
            shape = [-1 if k == axis else 1 for k in range(3)]
            share = (at - low).astype(np.float32).reshape(shape)
            high = np.minimum(low + 1, len(own) - 1)
            out = np.take(out, low, axis) * (1 - share) + np.take(out, high, axis) * share
            start, stop = self.grid.region.start[axis], self.grid.region.stop[axis]
            beyond = (wanted < start - 0.5) | (wanted > stop - 0.5)
            out = np.where(beyond.reshape(shape), np.float32(ELSEWHERE), out)
        return np.asarray(out, np.float32)

    def mask(self) -> Mask:
        """Return the voxels of the grid's region more likely inside than outside."""
        return np.asarray(self.grid.refine(self.chance) > 0.5)


def agreed(chance: Float, mask: Float) -> Float:
    """Return ``chance`` where it agrees with the share of ``mask`` per cell, else the share."""
    return np.where((mask > 0.5) != (chance > 0.5), 0.5 + 0.45 * (mask - 0.5), chance)


def centred(chance: Float, lowest: float, highest: float) -> Float:
    """Return ``chance`` rescaled so that a cut at 0.5 gives the best expected Dice.

    For independent cells the best cut is half the Dice it promises; it is kept within
    ``lowest`` and ``highest``.
    """
    ranked = np.sort(chance, axis=None)[::-1]
    promised = np.cumsum(ranked) / (np.arange(1, ranked.size + 1) + ranked.sum())
    cut = float(np.clip(ranked[int(np.argmax(promised))], lowest, highest))
    above = 0.5 + 0.5 * (chance - cut) / (1 - cut)
    return np.asarray(np.where(chance < cut, 0.5 * chance / cut, above), np.float32)


def settled(view: View, chance: Float, seeds: npt.NDArray[np.int8]) -> Belief:
    """Return ``chance`` smoothed along the image's edges, without stray parts and holes."""
    smooth = random_walker(
        view.image, view.spacing, chance, TRUST, seeds, BETA, check=view.scene.check
    )
    return Belief(view.grid, _tidy(smooth, seeds))


def _tidy(chance: Float, seeds: npt.NDArray[np.int8]) -> Float:
    """Drop parts without a positive seed that are small, and fill holes without a negative one."""
    from scipy import ndimage as ndi

    solid = chance > 0.5
    parts, count = ndi.label(solid)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        marked = np.zeros(count + 1, bool)
        marked[parts[solid & (seeds > 0)]] = True
        main = sizes[marked].max() if marked.any() else sizes.max()
        keep = marked | (sizes >= (0.15 if marked.any() else 1.0) * main)
        chance = np.where(solid & ~keep[parts], np.float32(0.3), chance)
        solid = chance > 0.5
    holes, count = ndi.label(ndi.binary_fill_holes(solid) & ~solid)
    filled = np.ones(count + 1, bool)
    filled[holes[seeds < 0]] = False
    filled[0] = False
    return np.where(filled[holes], np.float32(0.55), chance)
