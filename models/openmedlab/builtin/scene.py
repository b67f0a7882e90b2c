"""`Scene`: the image around the prompts, looked at through coarse grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.grid import Float, Grid
from openmedlab.core import Geometry, Region
from openmedlab.core.constraints import check_prompts
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

    def coarse(self, grid: Grid) -> Float:
        """Return the image on ``grid``; voxels that are not numbers count as the darkest."""
        values = grid.coarsen(self.image[grid.region.slices])
        known = np.isfinite(values)
        lowest = float(values[known].min()) if known.any() else 0.0
        return np.where(known, values, np.float32(lowest))


def region_for(geometry: Geometry, prompts: PromptList) -> Region:
    """Return the part of the volume to look at: the first prompt's surroundings.

    Later prompts add to it only where they leave it.

    Raises
    ------
    PromptError
        A prompt lies outside of the volume, or none of them is positive.
    """
    check_prompts(prompts, geometry)
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
