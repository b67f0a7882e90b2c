"""What the prompts say about single voxels: `Marks`, never to be contradicted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.grid import Grid
from openmedlab.core import Region
from openmedlab.core.prompts import Box, ExtremePoints, Lasso, Point, Prompt, Scribble
from openmedlab.core.translate import lasso_voxels

Voxels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Marks:
    """Voxels known to be in the object or not, in the frame of the crop.

    Attributes
    ----------
    voxels
        (N, 3) indices, each once.
    positive
        (N,) whether the voxel is in the object.
    """

    voxels: Voxels = field(default_factory=lambda: np.empty((0, 3), np.int64))
    positive: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))

    def adding(self, voxels: Voxels, positive: bool) -> Marks:
        """Return the marks with ``voxels`` set; of contradicting ones the newest wins."""
        joined = np.concatenate([np.asarray(voxels, np.int64), self.voxels])
        signs = np.concatenate([np.full(len(voxels), positive), self.positive])
        _, first = np.unique(joined, axis=0, return_index=True)
        return Marks(joined[first], signs[first])

    @property
    def inside(self) -> Region:
        """The region of the positive voxels (empty when there are none)."""
        found = self.voxels[self.positive]
        return Region.around(found) if len(found) else Region((0, 0, 0), (0, 0, 0))

    def agreeing(self, mask: npt.NDArray[np.bool_], region: Region) -> Marks:
        """Return the marks that ``mask`` at ``region`` does not contradict."""
        local, within = self._local(region)
        now = np.zeros(len(local), bool)
        now[within] = mask[tuple(local[within].T)]
        same = now == self.positive
        return Marks(self.voxels[same], self.positive[same])

    def impose(self, mask: npt.NDArray[np.bool_], region: Region) -> None:
        """Write the marks into ``mask``, which lies at ``region``."""
        local, within = self._local(region)
        mask[tuple(local[within].T)] = self.positive[within]

    def _local(self, region: Region) -> tuple[Voxels, npt.NDArray[np.bool_]]:
        local = self.voxels - np.asarray(region.start)
        return local, ((local >= 0) & (local < region.shape)).all(axis=1)

    def on(self, grid: Grid) -> npt.NDArray[np.int8]:
        """Return 1, -1 and 0 on the cells of ``grid``; a cell marked both ways stays free."""
        inside = grid.inside(self.voxels)
        cells = grid.cells(self.voxels[inside])
        signs = self.positive[inside]
        out = np.zeros(grid.shape, np.int8)
        out[tuple(cells[signs].T)] = 1
        both = np.zeros(grid.shape, bool)
        negative = tuple(cells[~signs].T)
        both[negative] = out[negative] > 0
        out[negative] = -1
        out[both] = 0
        return out


def voxels_of(prompt: Prompt, region: Region) -> tuple[Voxels, bool] | None:
    """Return the voxels a prompt fixes (frame of the crop at ``region``) and their sign.

    None for prompts that fix no voxel: a positive box, a mask.
    """
    if isinstance(prompt, Lasso):
        found, positive = lasso_voxels(prompt), prompt.positive
    elif isinstance(prompt, ExtremePoints):
        found, positive = _nearest(prompt), True
    elif isinstance(prompt, Point | Scribble):
        found, positive = _nearest(prompt), prompt.positive
    elif isinstance(prompt, Box) and not prompt.positive:
        box = prompt.region
        found = np.stack(np.meshgrid(*map(np.arange, box.start, box.stop), indexing="ij"), -1)
        found, positive = found.reshape(-1, 3), False
    else:
        return None
    local = found - np.asarray(region.start)
    inside = ((local >= 0) & (local < region.shape)).all(axis=1)
    return local[inside], positive


def _nearest(prompt: Prompt) -> Voxels:
    return np.rint(prompt.positions()).astype(np.int64)
