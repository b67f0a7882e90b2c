"""`Grid`: a coarse, nearly isotropic grid over a box of voxels, on which solvers work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openmedlab.core import Region

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells over ``region``: cell k of an axis covers the voxels ``edges[k]:edges[k + 1]``.

    Attributes
    ----------
    region
        The box covered, in the frame of the crop.
    edges
        Per axis, first voxel of every cell and the end, relative to ``region``.
    spacing
        Mean size of a cell along (z, y, x) in mm.
    """

    region: Region
    edges: tuple[npt.NDArray[np.intp], ...]
    spacing: npt.NDArray[np.float64]

    @classmethod
    def over(cls, region: Region, spacing: Sequence[float], cells: int) -> Grid:
        """Lay at most about ``cells`` cells over ``region``, coarsening the finest axis first."""
        size, step = np.asarray(region.shape), np.asarray(spacing, float)
        low, high = step.min(), float((step * size).max())
        for _ in range(30):
            middle = float(np.sqrt(low * high))
            if np.prod(_counts(size, step, middle)) > cells:
                low = middle
            else:
                high = middle
        counts = _counts(size, step, low if np.prod(size) <= cells else high)
        edges = tuple(
            np.rint(np.linspace(0, n, m + 1)).astype(np.intp)
            for n, m in zip(size, counts, strict=True)
        )
        return cls(region, edges, step * size / counts)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along (z, y, x)."""
        z, y, x = (len(e) - 1 for e in self.edges)
        return z, y, x

    def around_cells(self, wanted: npt.NDArray[np.bool_]) -> tuple[slice, slice, slice]:
        """Return slices over the ``wanted`` cells and one more on every side."""
        box = Region.of_mask(wanted) or Region((0, 0, 0), (1, 1, 1))
        return box.padded(1).clipped(self.shape).slices

    def cropped(self, cells: tuple[slice, slice, slice]) -> Grid:
        """Return the grid of some of the cells."""
        edges = [e[c.start : c.stop + 1] for e, c in zip(self.edges, cells, strict=True)]
        start = [int(e[0]) + s for e, s in zip(edges, self.region.start, strict=True)]
        stop = [int(e[-1]) + s for e, s in zip(edges, self.region.start, strict=True)]
        area = Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        return Grid(area, tuple(e - e[0] for e in edges), self.spacing)

    def centres(self, axis: int) -> npt.NDArray[np.float64]:
        """Return the middles of the cells along ``axis``, in the frame of the crop."""
        edge = self.edges[axis]
        return (edge[:-1] + edge[1:] - 1) / 2 + self.region.start[axis]

    def coarsen(self, array: npt.NDArray[np.generic]) -> Float:
        """Return the mean over every cell of ``array``, which lies on ``region``."""
        out = np.asarray(array)
        for axis, edge in sorted(
            enumerate(self.edges), key=lambda e: len(e[1]) - 1 - out.shape[e[0]]
        ):
            if len(edge) - 1 == array.shape[axis]:
                continue
            sums = np.add.reduceat(out, edge[:-1], axis=axis, dtype=np.float32)
            counts = np.diff(edge).astype(np.float32)
            out = sums / counts.reshape([-1 if k == axis else 1 for k in range(3)])
        return np.asarray(out, np.float32)

    def refine(self, cells: Float) -> Float:
        """Return ``cells`` interpolated linearly at the voxels of ``region``."""
        out = cells
        for axis, edge in enumerate(self.edges):
            if len(edge) - 1 == self.region.shape[axis]:
                continue
            centres = (edge[:-1] + edge[1:] - 1) / 2
            at = np.interp(np.arange(self.region.shape[axis]), centres, np.arange(len(centres)))
            low = np.minimum(at.astype(np.intp), max(len(centres) - 2, 0))
            high = np.minimum(low + 1, len(centres) - 1)
            weight = (
                (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
            )
            out = np.take(out, low, axis) * (1 - weight) + np.take(out, high, axis) * weight
        return out

    def cells(self, voxels: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
        """Return the cells (N, 3) of ``voxels`` (N, 3), given in the frame of the crop."""
        local = np.asarray(voxels) - self.region.start
        found = [
            np.clip(np.searchsorted(e, local[:, k], "right") - 1, 0, len(e) - 2)
            for k, e in enumerate(self.edges)
        ]
        return np.stack(found, axis=1)

    def inside(self, voxels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether ``voxels`` (N, 3) lie in ``region``."""
        v = np.asarray(voxels)
        return np.asarray(((v >= self.region.start) & (v < self.region.stop)).all(axis=1))


def _counts(
    size: npt.NDArray[np.integer], step: npt.NDArray[np.float64], target: float
) -> npt.NDArray[np.int64]:
    factor = np.maximum(target / step, 1.0)
    return np.maximum(np.rint(size / factor), 1).astype(np.int64)
