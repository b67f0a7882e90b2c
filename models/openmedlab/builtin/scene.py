"""`Scene`: the image around the prompts, looked at through coarse grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.grid import Float, Grid
from openmedlab.core import Geometry, PromptError, Region
from openmedlab.core.contracts import PromptList
from openmedlab.core.prompts import Box, ExtremePoints, MaskPrompt, Point, Prompt, Scribble

WINDOW_MM = 100.0
WINDOW_VOXELS = (24, 128)
MARGIN = 0.2


@dataclass(frozen=True, eq=False)
class Scene:
    """A crop of the volume.

    Attributes
    ----------
    image
        (z, y, x) voxels as stored; a view where the volume is in memory.
    spacing
        Voxel size along (z, y, x).
    check
        Raises `Cancelled` once the user cancelled; called between pieces of work.
    """

    image: npt.NDArray[np.generic]
    spacing: tuple[float, float, float]
    check: Callable[[], None] = lambda: None

    @property
    def region(self) -> Region:
        """The crop in its own frame."""
        return Region.whole(self.image.shape)

    def grid(self, region: Region, cells: int) -> tuple[Grid, Float]:
        """Return a coarse grid over ``region`` (clipped to the crop) and its image."""
        area = region.clipped(self.image.shape)
        grid = Grid.over(area, self.spacing, cells)
        values = grid.coarsen(self.image[area.slices])
        return grid, np.nan_to_num(values, nan=float(np.nanmin(values, initial=0.0)))

    def window(self, centre: npt.ArrayLike, half: float) -> Region:
        """Return the voxels within ``half`` mm of ``centre`` (z, y, x), as a box."""
        c = np.asarray(centre, int)
        reach = np.maximum(np.ceil(half / np.asarray(self.spacing)).astype(int), 2)
        return Region(tuple(c - reach), tuple(c + reach + 1)).clipped(self.image.shape)


def region_for(geometry: Geometry, prompts: PromptList) -> Region:
    """Return the part of the volume to look at: the first prompt's surroundings.

    Later prompts add to it only where they leave it.

    Raises
    ------
    PromptError
        A prompt lies outside of the volume, or none of them is positive.
    """
    for prompt in prompts:
        prompt.check(geometry)
    if not any(getattr(p, "positive", True) for p in prompts):
        raise PromptError("Only negative prompts were given; mark the object itself first.")
    area = Region((0, 0, 0), (0, 0, 0))
    for prompt in sorted(prompts, key=lambda p: not getattr(p, "positive", True)):
        spot = Region.around(prompt.positions())
        if not area.contains(spot):
            area = area.union(_surroundings(geometry, prompt, spot).clipped(geometry.shape))
    return area


def _surroundings(geometry: Geometry, prompt: Prompt, spot: Region) -> Region:
    step = np.asarray(geometry.spacing)
    window = np.clip(np.rint(WINDOW_MM / step).astype(int), *WINDOW_VOXELS)
    if isinstance(prompt, Point | Scribble):
        return spot.padded(window)
    side = np.asarray(spot.shape) * step
    margin = np.maximum(np.ceil(MARGIN * side.max() / step), 4).astype(int)
    if isinstance(prompt, Box | ExtremePoints | MaskPrompt) and min(spot.shape) > 1:
        return spot.padded(np.minimum(margin, window))
    return spot.padded(np.where(np.asarray(spot.shape) > 1, np.minimum(margin, window), window))
