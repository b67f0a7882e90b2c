"""The grid SAM-Med3D sees a volume on: isotropic, RAS+, cut into windows of 128^3.

The published pipeline resamples the whole volume to 1.5 mm, keeping its directions
and physical centre, flips it to the closest RAS+ axes, crops 128^3 around the object,
normalises, and puts the mask back by nearest neighbour. A `Frame` holds that grid
without the volume, so a window is sampled straight from the voxels below it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core import Geometry, InputError, MaskPrompt, Region, Reorientation, Volume
from openmedlab.core.region import Index3
from openmedlab.nn.resample import (
    Positions,
    gather,
    itk_positions,
    nearest_indices,
    sample_linear,
)

SIZE = 128
SPACING = 1.5
ROUNDING = 1e-12

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Frame:
    """The canonical grid of a volume.

    All its indices are (z, y, x), growing to superior, anterior and right.

    Attributes
    ----------
    native
        Geometry of the volume.
    spacing
        Distance between its voxels along every axis, in the volume's unit.
    """

    native: Geometry
    spacing: float = SPACING

    @cached_property
    def _native_shape(self) -> Index3:
        """Voxels along the native axes at this spacing; a single slice stays one."""
        z, y, x = (
            max(1, int(np.floor(n * s / self.spacing * (1 + ROUNDING)))) if n > 1 else 1
            for n, s in zip(self.native.shape, self.native.spacing, strict=True)
        )
        return z, y, x

    @cached_property
    def _turn(self) -> Reorientation:
        affine = self.native.affine.copy()
        affine[:3, :3] *= self.spacing / np.asarray(self.native.spacing)
        last = [n - 1 for n in self.native.shape]
        centre = self.native.index_to_world(np.array([[0, 0, 0], last])).mean(0)
        half = (np.asarray(self._native_shape) - 1) / 2
        affine[:3, 3] = centre - affine[:3, :3] @ half
        resampled = Geometry(self._native_shape, affine, self.native.unit)
        return resampled.reorientation("SAR")

    @cached_property
    def _positions(self) -> Positions:
        """Native index of every voxel along each native axis, with ITK's own rounding."""
        z, y, x = itk_positions(self.native, self._turn.source)
        return z, y, x

    @cached_property
    def geometry(self) -> Geometry:
        """The canonical grid itself."""
        return self._turn.geometry

    def from_native(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Take continuous native indices (..., 3) to canonical ones."""
        p = np.asarray(points, float)
        return np.stack([self._canonical(axis, p[..., o]) for axis, o in self._axes], -1)

    def to_native(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Take continuous canonical indices (..., 3) to native ones."""
        p = np.asarray(points, float)
        out = np.empty_like(p)
        for axis, o in self._axes:
            out[..., o] = self._native(axis, p[..., axis])
        return out

    def native_reach(self) -> Index3:
        """Return how many native voxels a window reaches from its middle, along (z, y, x)."""
        z, y, x = (int(np.ceil((SIZE // 2 + 1) * self.spacing / s)) for s in self.native.spacing)
        return z, y, x

    def window_start(self, region: Region) -> Index3:
        """Return where the window of 128^3 around a canonical region starts."""
        middle = (np.asarray(region.start) + np.asarray(region.stop)) / 2
        z, y, x = (int(v) - SIZE // 2 for v in np.floor(middle))
        return z, y, x

    def sample(self, volume: Volume, start: Index3) -> Array:
        """Return the raw window (128, 128, 128) at ``start``; 0 outside of the volume."""
        inside = window(start).clipped(self.geometry.shape)
        out = np.zeros((SIZE,) * 3, np.float32)
        if not inside:
            return out
        positions = [np.empty(0)] * 3
        for axis, o in self._axes:
            positions[o] = self._voxels(axis, np.arange(inside.start[axis], inside.stop[axis]))
        native = sample_linear(volume, (positions[0], positions[1], positions[2]))
        out[inside.relative_to(window(start)).slices] = native.transpose(self._turn.order)
        return out

    def resample_label(self, label: Array) -> Array:
        """Return a native mask on the canonical grid, by nearest neighbour."""
        indices = [np.empty(0, np.int64)] * 3
        for axis, o in self._axes:
            indices[o] = nearest_indices(self._voxels(axis, np.arange(self.geometry.shape[axis])))
        return gather(label, tuple(indices)).transpose(self._turn.order)

    def sample_mask(self, mask: MaskPrompt, start: Index3) -> npt.NDArray[np.bool_]:
        """Return a native mask on the window (128, 128, 128) at ``start``, by nearest neighbour."""
        inside = window(start).clipped(self.geometry.shape)
        out = np.zeros((SIZE,) * 3, bool)
        indices = [np.empty(0, np.int64)] * 3
        for axis, o in self._axes:
            voxels = self._voxels(axis, np.arange(inside.start[axis], inside.stop[axis]))
            indices[o] = nearest_indices(voxels)
        if inside:
            area = Region.around(np.stack([[i.min() for i in indices], [i.max() for i in indices]]))
            local = tuple(i - begin for i, begin in zip(indices, area.start, strict=True))
            values = gather(mask.array(area), local).transpose(self._turn.order)
            out[inside.relative_to(window(start)).slices] = values
        return out

    def paste(self, canvas: Array, start: Iterable[int], keep: Region) -> tuple[Region, Array]:
        """Put canonical values back on the native grid by nearest neighbour.

        Parameters
        ----------
        canvas
            Canonical values whose first voxel has the index ``start``.
        keep
            The canonical part to put back; must lie within the canvas.

        Returns
        -------
        Region, ndarray
            The native voxels that fall into ``keep``, and their values.
        """
        begin, indices, bounds = tuple(start), [np.empty(0, np.int64)] * 3, [(0, 0)] * 3
        for axis, o in self._axes:
            nearest = nearest_indices(self._canonical(axis, np.arange(self.native.shape[o])))
            hit = np.flatnonzero((nearest >= keep.start[axis]) & (nearest < keep.stop[axis]))
            indices[axis] = np.sort(nearest[hit]) - begin[axis] if hit.size else nearest[:0]
            if self._turn.flips[axis]:
                indices[axis] = indices[axis][::-1]
            bounds[o] = (int(hit[0]), int(hit[-1]) + 1) if hit.size else (0, 0)
        values = gather(canvas, tuple(indices)).transpose(np.argsort(self._turn.order))
        (z0, z1), (y0, y1), (x0, x1) = bounds
        return Region((z0, y0, x0), (z1, y1, x1)), values

    @property
    def _axes(self) -> tuple[tuple[int, int], ...]:
        """Pairs of canonical and native axis."""
        return tuple(enumerate(self._turn.order))

    def _native(self, axis: int, index: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        o = self._turn.order[axis]
        n, m = self.native.shape[o], self._native_shape[o]
        offset = (m - 1) / 2 - index if self._turn.flips[axis] else index - (m - 1) / 2
        return np.asarray((n - 1) / 2 + offset * (self.spacing / self.native.spacing[o]))

    def _voxels(self, axis: int, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the native positions of whole canonical indices inside the grid."""
        o = self._turn.order[axis]
        flipped = self._native_shape[o] - 1 - index if self._turn.flips[axis] else index
        return self._positions[o][flipped]

    def _canonical(self, axis: int, index: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        o = self._turn.order[axis]
        n, m = self.native.shape[o], self._native_shape[o]
        offset = (index - (n - 1) / 2) * (self.native.spacing[o] / self.spacing)
        return np.asarray((m - 1) / 2 + (-offset if self._turn.flips[axis] else offset))


def window(start: Index3) -> Region:
    """Return the canonical region of the window at ``start``."""
    z, y, x = start
    return Region(start, (z + SIZE, y + SIZE, x + SIZE))


def normalised(raw: Array) -> npt.NDArray[np.float32]:
    """Bring a raw window to mean 0 and deviation 1 of its voxels above 0.

    Raises
    ------
    InputError
        Fewer than two different values lie above 0.
    """
    import torch

    values = torch.from_numpy(np.ascontiguousarray(raw, np.float32))
    positive = values[values > 0]
    deviation = positive.std() if positive.numel() > 1 else torch.zeros(())
    if not deviation > 0:
        raise InputError(
            "SAM-Med3D normalises by the voxels above 0, and around this prompt there are none "
            "that differ; place the prompt elsewhere or add an offset to the image."
        )
    return np.asarray(((values - positive.mean()) / deviation).numpy())
