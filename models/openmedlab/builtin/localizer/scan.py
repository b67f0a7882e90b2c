"""A scan made ready for matching: cubic voxels along the body's axes, and their codes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openmedlab.builtin.localizer.codes import HOUNSFIELD, Codes, encode
from openmedlab.core import Geometry, Volume
from openmedlab.core.errors import InputError
from openmedlab.localization.fit import likely_modality

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Arrays = dict[str, npt.NDArray[np.generic]]

STEP_MM = 4.0
LARGEST_MM = 2500.0
CLIP = (-1000.0, 1000.0)


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan on a matching grid, whose (z, y, x) grow to superior, posterior and left.

    Attributes
    ----------
    image
        float32 (z, y, x) Hounsfield units within -1000..1000, or what stands for them.
    seen
        Which voxels lie in the scan's field of view.
    origin
        World place (z, y, x) of voxel (0, 0, 0) in mm.
    step
        Edge of a voxel in mm.
    """

    image: Float
    seen: Mask
    origin: npt.NDArray[np.float64]
    step: float = STEP_MM

    @cached_property
    def codes(self) -> Codes:
        """The descriptors of all voxels."""
        return encode(self.image)

    @cached_property
    def coarse(self) -> Scan:
        """The same scan with voxels twice as large."""
        even = [n + n % 2 for n in self.image.shape]
        pad = [(0, e - n) for e, n in zip(even, self.image.shape, strict=True)]
        image = block_mean(np.pad(self.image, pad, mode="edge"), 2)
        seen = block_mean(np.pad(self.seen, pad, mode="edge").astype(np.float32), 2) >= 0.5
        return Scan(image, seen, self.origin + self.step / 2, self.step * 2)

    def index(self, world: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Take LPS points (..., 3) in (x, y, z) to this grid's continuous (z, y, x)."""
        return (np.asarray(world, float)[..., ::-1] - self.origin) / self.step

    def world(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Take continuous (z, y, x) (..., 3) of this grid to LPS points in (x, y, z)."""
        return (np.asarray(index, float) * self.step + self.origin)[..., ::-1]

    def arrays(self) -> Arrays:
        """Return what `from_arrays` restores."""
        image = np.rint(self.image).astype(np.int16)
        return {"image": image, "seen": self.seen, "origin": self.origin}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Scan:
        """Restore from `arrays`."""
        origin = arrays["origin"].astype(np.float64)
        return cls(arrays["image"].astype(np.float32), arrays["seen"].astype(bool), origin)


def prepare(volume: Volume) -> Scan:
    """Average ``volume`` to about 4 mm and lay it along the body's axes.

    Raises
    ------
    InputError
        The volume is empty, or not a scan of a body in millimetres.
    """
    if volume.geometry.unit != "millimeter":
        raise InputError(
            f"{volume.name!r} is measured in {volume.geometry.unit}s; organs are localised in "
            "scans of the body, measured in millimetres."
        )
    array, geometry = _shrunk(volume)
    if np.ptp(array) == 0:
        raise InputError(
            f"{volume.name!r} has the same value everywhere; there is nothing to localise in it."
        )
    if likely_modality(volume) != "CT":
        array = _as_hounsfield(array)
    return _laid_out(np.clip(array, *CLIP), geometry, volume.name)


def block_mean(array: Float, size: int) -> Float:
    """Return the means over cubes of ``size`` voxels; the shape must be a multiple of it."""
    z, y, x = (n // size for n in array.shape)
    return array.reshape(z, size, y, size, x, size).mean((1, 3, 5), dtype=np.float32)


def _as_hounsfield(array: Float) -> Float:
    """Spread the values of another modality over the steps of the codes, by rank."""
    ranks = np.quantile(array[array > array.mean() / 4], np.linspace(0, 1, len(HOUNSFIELD)))
    return np.interp(array, ranks, HOUNSFIELD).astype(np.float32)


def _shrunk(volume: Volume) -> tuple[Float, Geometry]:
    """Return means over blocks of at most about 4 mm, of a pyramid level that suffices."""
    level = volume
    for coarser in volume.pyramid:
        if max(coarser.geometry.spacing) <= STEP_MM:
            level = coarser
    factors = np.array(
        [
            np.clip(int(1.25 * STEP_MM / s), 1, n)
            for s, n in zip(level.geometry.spacing, level.shape, strict=True)
        ]
    )
    counts = np.asarray(level.shape) // factors
    planes = []
    for k in range(counts[0]):
        part = level.array[k * factors[0] : (k + 1) * factors[0]]
        slab = np.nan_to_num(np.asarray(part, np.float32))
        slab = slab[:, : counts[1] * factors[1], : counts[2] * factors[2]]
        cells = slab.reshape(-1, counts[1], factors[1], counts[2], factors[2])
        planes.append(cells.mean((0, 2, 4)))
    affine = level.geometry.affine.copy()
    affine[:3, 3] = level.geometry.index_to_world((factors - 1) / 2)
    affine[:3, :3] *= factors
    return np.stack(planes), Geometry((counts[0], counts[1], counts[2]), affine)


def _laid_out(array: Float, geometry: Geometry, name: str) -> Scan:
    """Resample onto the grid along the body's axes that holds all of ``geometry``."""
    edges = np.array([[-0.5, n - 0.5] for n in geometry.shape])
    corners = geometry.index_to_world(np.stack(np.meshgrid(*edges), -1).reshape(-1, 3))[:, ::-1]
    low, high = corners.min(0), corners.max(0)
    if (high - low).max() > LARGEST_MM:
        raise InputError(
            f"{name!r} spans {(high - low).max() / 1000:.1f} m; its voxel spacing must be wrong."
        )
    shape = tuple(int(n) for n in np.maximum(np.rint((high - low) / STEP_MM), 2))
    origin = (low + high - (np.asarray(shape) - 1) * STEP_MM) / 2
    inverse = np.linalg.inv(geometry.affine)
    matrix = inverse[:3, 2::-1] * STEP_MM
    offset = inverse[:3, :3] @ origin[::-1] + inverse[:3, 3]
    sigma = [0.4 * np.sqrt(max((STEP_MM / s) ** 2 - 1, 0)) for s in geometry.spacing]
    smooth = ndimage.gaussian_filter(array, sigma)
    image = ndimage.affine_transform(
        smooth, matrix, offset, shape, np.float32, order=1, mode="nearest"
    )
    return Scan(image, _inside(matrix, offset, shape, geometry.shape), origin)


def _inside(
    matrix: npt.NDArray[np.floating],
    offset: npt.NDArray[np.floating],
    shape: tuple[int, ...],
    limits: tuple[int, ...],
) -> Mask:
    """Which voxels of a grid of ``shape`` fall within half a voxel of the source's ``limits``."""
    axes = np.ix_(*(np.arange(n, dtype=np.float32) for n in shape))
    seen = np.ones(shape, bool)
    for row, shift, limit in zip(matrix, offset, limits, strict=True):
        at = sum(r * a for r, a in zip(row, axes, strict=True)) + shift
        seen &= (at > -0.51) & (at < limit - 0.49)
    return seen
