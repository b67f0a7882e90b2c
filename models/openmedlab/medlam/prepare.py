"""A CT as MedLAM sees it: 3 mm voxels growing to superior, anterior and left, in 0..1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core import CancelToken, Geometry, InputError, Reorientation, Volume
from openmedlab.medlam.network import PATCH

SPACING = 3.0
CODES = "SAL"
PAD = PATCH // 2
HU = (-1000.0, -200.0, 200.0, 1500.0)
MAPPED = (0.0, 0.2, 0.8, 1.0)
NO_CT = -10.0
AIR = -1000.0
SLAB = 16

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """The 3 mm grid of a volume and the way there and back.

    Attributes
    ----------
    geometry
        Of the volume.
    turned
        To `CODES`.
    zoom
        3 mm voxels per voxel of the turned volume, along (z, y, x).
    """

    geometry: Geometry
    turned: Reorientation
    zoom: Float64

    @classmethod
    def of(cls, geometry: Geometry) -> Frame:
        """Make the frame of a volume."""
        turned = geometry.reorientation(CODES)
        spacing = np.asarray(turned.geometry.spacing, np.float32).astype(np.float64)
        return cls(geometry, turned, spacing / SPACING)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the 3 mm grid."""
        z, y, x = (
            max(1, round(n * f)) for n, f in zip(self.turned.geometry.shape, self.zoom, strict=True)
        )
        return z, y, x

    def to_voxels(self, index: npt.ArrayLike) -> Float64:
        """Take index coordinates (..., 3) of the volume to continuous 3 mm voxels."""
        world = self.geometry.index_to_world(index)
        return self.turned.geometry.world_to_index(world) * self.zoom

    def to_index(self, voxels: npt.ArrayLike) -> Float64:
        """Take 3 mm voxels (..., 3) to whole index coordinates of the volume, halves to even."""
        turned = np.rint(np.asarray(voxels, np.float64) / self.zoom)
        world = self.turned.geometry.index_to_world(turned)
        return np.rint(self.geometry.world_to_index(world))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume on its 3 mm grid.

    Attributes
    ----------
    frame
        The grid.
    image
        float32 (z, y, x) in 0..1 with `PAD` voxels of air on every side.
    """

    frame: Frame
    image: Float32

    def patches(self, voxels: npt.ArrayLike) -> Float32:
        """Return patches (N, 1, 64, 64, 64) whose voxel 32 is the given one (without padding).

        Where a patch leaves the padded image there is air.
        """
        out = np.zeros((len(np.atleast_2d(voxels)), 1, PATCH, PATCH, PATCH), np.float32)
        for patch, start in zip(out[:, 0], np.atleast_2d(voxels).astype(int), strict=True):
            low = np.clip(start, 0, self.image.shape)
            high = np.clip(start + PATCH, 0, self.image.shape)
            source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            target = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
            patch[target] = self.image[source]
        return out


def prepare(volume: Volume, cancel: CancelToken | None = None) -> Prepared:
    """Turn, resample, map and pad a CT.

    Raises
    ------
    InputError
        The volume is not in millimetres or is no CT.
    Cancelled
        ``cancel`` was raised.

    Notes
    -----
    As published, but for one thing: a CT without a value below -10 HU is taken by the
    original for one whose values are mapped already. Here that holds only where all
    values lie in 0..1; a volume whose modality is CT is mapped, anything else refused.
    """
    if volume.geometry.unit != "millimeter":
        raise InputError(f"{volume.name!r} is not in millimetres; MedLAM knows bodies in CT.")
    if volume.modality not in ("CT", "unknown"):
        raise InputError(
            f"{volume.name!r} is {volume.modality}, and MedLAM finds organs in CT only; "
            "leave it out, or choose another localizer."
        )
    frame = Frame.of(volume.geometry)
    image = resample(frame.turned.apply(volume.read()), frame.shape, cancel or CancelToken())
    lowest, highest = float(image.min()), float(image.max())
    if lowest < NO_CT or (volume.modality == "CT" and (lowest < 0 or highest > 1)):
        image = intensities(image)
    elif lowest < 0 or highest > 1:
        raise InputError(
            f"{volume.name!r} has values from {lowest:g} to {highest:g}, which are not Hounsfield "
            "units; give a CT."
        )
    return Prepared(frame, np.pad(image, PAD))


def intensities(hounsfield: npt.ArrayLike) -> Float32:
    """Map Hounsfield units piecewise linearly to 0..1."""
    return np.interp(np.asarray(hounsfield, np.float64), HU, MAPPED).astype(np.float32)


def resample(array: Array, shape: tuple[int, int, int], cancel: CancelToken) -> Float32:
    """Resize with cubic splines, first and last samples of each axis staying where they are.

    Equal to ``scipy.ndimage.zoom(order=3)``, also in that for some sizes rounding puts the
    last sample outside, where it is 0. Read in slabs, so that a large scan is never held as
    floating-point numbers. NaN counts as air.
    """
    z, y, x = (
        spline_operator(old, new).astype(np.float32)
        for old, new in zip(array.shape, shape, strict=True)
    )
    planes = np.empty((array.shape[0], *shape[1:]), np.float32)
    for first in range(0, array.shape[0], SLAB):
        cancel.check()
        slab = np.nan_to_num(array[first : first + SLAB].astype(np.float32), nan=AIR)
        planes[first : first + SLAB] = y @ (slab @ x.T)
    return np.tensordot(z, planes, 1)


@lru_cache(maxsize=32)
def spline_operator(old: int, new: int) -> Float64:
    """Return the (new, old) matrix that resizes an axis with cubic splines, ends staying."""
    from scipy import ndimage

    if old == 1:
        return np.ones((new, 1))
    columns = [ndimage.zoom(unit, new / old, order=3) for unit in np.eye(old)]
    return np.stack(columns, axis=1)
