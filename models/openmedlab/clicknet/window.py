"""`Window`: the cube of 64^3 samples through which the network looks at a volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.clicknet.network import SIDE
from openmedlab.core import Region

Triple = tuple[float, float, float]
HALF = (SIDE - 1) / 2


@dataclass(frozen=True)
class Window:
    """Samples at ``centre + (k - 31.5) * step``, k = 0..63, along every axis.

    Attributes
    ----------
    centre
        Its middle, in index coordinates (z, y, x).
    step
        Voxels from one sample to the next.
    """

    centre: Triple
    step: Triple

    @property
    def region(self) -> Region:
        """The voxels under the window; they may lie outside of the volume."""
        centre, step = np.array(self.centre), np.array(self.step)
        return Region(
            tuple(np.floor(centre - (HALF + 0.5) * step).astype(int)),
            tuple(np.ceil(centre + (HALF + 0.5) * step).astype(int) + 1),
        )

    def to_window(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return index coordinates (N, 3) as window coordinates."""
        return np.asarray((np.asarray(points, float) - self.centre) / self.step + HALF)

    def sample(self, array: Tensor, region: Region, outside: float | None = None) -> Tensor:
        """Return the window's samples of ``array``, the part ``region`` of a volume.

        Linear; where the steps are larger than voxels, means over as many voxels.

        Parameters
        ----------
        outside
            Value beyond ``array``; by default its border is repeated.
        """
        step = np.array(self.step)
        factor = np.clip(np.floor(step + 0.25).astype(int), 1, np.array(region.shape))
        coarse = functional.avg_pool3d(
            array[None, None].float(), tuple(factor), tuple(factor), ceil_mode=True
        )
        middle = (factor - 1) / 2
        first = np.array(self.centre) - HALF * step - np.array(region.start)
        axes = [
            torch.from_numpy((first[k] + np.arange(SIDE) * step[k] - middle[k]) / factor[k])
            for k in range(3)
        ]
        return lerp(coarse[0, 0], axes, outside)

    def back(self, samples: Tensor, region: Region) -> Tensor:
        """Return samples (64, 64, 64) on the voxels of ``region``, linearly."""
        axes = []
        for k in range(3):
            voxels = torch.arange(region.start[k], region.stop[k], dtype=torch.float64)
            axes.append((voxels - self.centre[k]) / self.step[k] + HALF)
        return lerp(samples, axes, None)


def lerp(array: Tensor, axes: list[Tensor], outside: float | None) -> Tensor:
    """Return ``array`` at the product of the positions along each axis, linearly.

    Beyond its border the border is repeated, or ``outside`` takes its place.
    """
    for axis, positions in enumerate(axes):
        last = array.shape[axis] - 1
        inner = positions.clamp(0, last)
        low = inner.floor().long().clamp(max=max(last - 1, 0))
        share = (inner - low).float()
        high = (low + 1).clamp(max=last)
        shape = [-1 if k == axis else 1 for k in range(3)]
        share = share.view(shape)
        array = array.index_select(axis, low) * (1 - share) + array.index_select(axis, high) * share
        if outside is not None:
            beyond = ((positions < -0.5) | (positions > last + 0.5)).view(shape)
            array = array.masked_fill(beyond, outside)
    return array
