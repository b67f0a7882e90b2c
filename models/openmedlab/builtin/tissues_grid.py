"""The working grid of the tissue labeller: axes along the body, voxels of at least 1.5 mm.

Morphology in millimetres is done here by SimpleITK; the number of voxels is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK
from scipy import ndimage

from openmedlab.core import Region, Reorientation, Volume

Mask = npt.NDArray[np.bool_]
Image = npt.NDArray[np.int16]

AXES = "SPL"
FINEST_MM = 1.5
MOST_VOXELS = 24_000_000
ROUNDING = 1.4


@dataclass(frozen=True, eq=False)
class Grid:
    """A CT on its working grid.

    Attributes
    ----------
    image
        int16 (z, y, x) Hounsfield units; z grows to superior, y to posterior, x to left.
    spacing
        Millimetres along (z, y, x).
    factors
        Native voxels averaged into one, along the reoriented (z, y, x).
    turn
        From the volume's grid to the body's axes.
    """

    image: Image
    spacing: tuple[float, float, float]
    factors: tuple[int, int, int]
    turn: Reorientation

    @property
    def voxel_ml(self) -> float:
        """Volume of a working voxel in ml."""
        return float(np.prod(self.spacing)) / 1000

    def voxels(self, ml: float) -> int:
        """Return how many voxels make ``ml``, at least one."""
        return max(1, round(ml / self.voxel_ml))

    def radius(self, mm: float) -> tuple[int, int, int]:
        """Return a radius in voxels along (z, y, x)."""
        z, y, x = (round(mm / s) for s in self.spacing)
        return z, y, x

    def dilate(self, mask: Mask, mm: float) -> Mask:
        """Grow by a ball of ``mm``."""
        return _morphology(SimpleITK.BinaryDilate, mask, self.radius(mm))

    def erode(self, mask: Mask, mm: float) -> Mask:
        """Shrink by a ball of ``mm``; the volume's faces do not count as outside."""
        return ~_morphology(SimpleITK.BinaryDilate, ~mask, self.radius(mm))

    def open(self, mask: Mask, mm: float) -> Mask:
        """Remove what a ball of ``mm`` does not fit into."""
        return self.dilate(self.erode(mask, mm), mm)

    def close(self, mask: Mask, mm: float) -> Mask:
        """Fill what a ball of ``mm`` does not fit into."""
        return self.erode(self.dilate(mask, mm), mm)

    def smooth(self, mm: float) -> Image:
        """Return the image blurred by a Gaussian of ``mm``."""
        sigma = [mm / s for s in self.spacing]
        return np.asarray(ndimage.gaussian_filter(self.image, sigma, truncate=2.5))

    def slope(self, mm: float) -> npt.NDArray[np.float32]:
        """Return the gradient's magnitude in HU per mm, after a Gaussian of ``mm``."""
        smooth = self.smooth(mm).astype(np.float32)
        squares = np.zeros(smooth.shape, np.float32)
        for axis, step in enumerate(self.spacing):
            if smooth.shape[axis] > 1:
                squares += np.gradient(smooth, step, axis=axis) ** 2
        return np.sqrt(squares)

    def native(self, mask: npt.NDArray[Any], region: Region) -> npt.NDArray[Any]:
        """Return the working voxel's value for every native voxel of ``region`` (body axes)."""
        index = [
            np.minimum(np.arange(a, b) // k, n - 1)
            for a, b, k, n in zip(region.start, region.stop, self.factors, mask.shape, strict=True)
        ]
        return np.asarray(mask[np.ix_(*index)])


def working_grid(volume: Volume, finest: float = FINEST_MM) -> Grid:
    """Turn ``volume`` to the body's axes and average it to voxels of about ``finest`` mm or more.

    Voxels already that large are kept; the grid is made coarser until it has no more
    than 24 million voxels, so the memory of all that follows is bounded by about 1.2 GB.
    """
    turn = volume.geometry.reorientation(AXES)
    image = turn.apply(volume.read())
    spacing = np.asarray(turn.geometry.spacing)
    target = finest
    factors = _factors(spacing, target, image.shape)
    while np.prod(np.asarray(image.shape) // factors) > MOST_VOXELS:
        target *= 1.1
        factors = _factors(spacing, target, image.shape)
    z, y, x = (int(k) for k in factors)
    small = _shrunk(image, (z, y, x))
    sz, sy, sx = (float(s) for s in spacing * factors)
    return Grid(small, (sz, sy, sx), (z, y, x), turn)


def _factors(
    spacing: npt.NDArray[np.float64], target: float, shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    wanted = np.floor(ROUNDING * target / spacing).astype(np.int64)
    return np.clip(wanted, 1, np.asarray(shape))


def _shrunk(image: npt.NDArray[Any], factors: tuple[int, int, int]) -> Image:
    """Average blocks, a slab at a time; a remainder at the far faces is left out."""
    z, y, x = factors
    planes = image.shape[0] // z
    slabs = []
    for k in range(planes):
        slab = np.clip(np.nan_to_num(image[k * z : (k + 1) * z]), -1100, 4000)
        block = SimpleITK.GetImageFromArray(np.ascontiguousarray(slab, dtype=np.float32))
        mean = SimpleITK.GetArrayFromImage(SimpleITK.BinShrink(block, (x, y, z)))
        slabs.append(np.rint(mean).astype(np.int16))
    return np.concatenate(slabs)


def _morphology(operation: Any, mask: Mask, radius: tuple[int, int, int]) -> Mask:
    if max(radius) == 0:
        return mask
    image = SimpleITK.GetImageFromArray(mask.view(np.uint8))
    done = operation(image, radius[::-1], SimpleITK.sitkBall, 0, 1, False)
    return np.asarray(SimpleITK.GetArrayViewFromImage(done)).astype(bool)


def components(mask: Mask, smallest: int = 1) -> tuple[npt.NDArray[np.int32], int]:
    """Return face-connected components, largest first, without those below ``smallest`` voxels."""
    found = SimpleITK.ConnectedComponent(SimpleITK.GetImageFromArray(mask.view(np.uint8)), False)
    ordered = SimpleITK.RelabelComponent(found, minimumObjectSize=smallest, sortByObjectSize=True)
    labels = SimpleITK.GetArrayFromImage(ordered).astype(np.int32, copy=False)
    return labels, int(labels.max(initial=0))


def fill_planes(mask: Mask, axis: int = 0) -> Mask:
    """Fill the holes of every plane across ``axis``."""
    filled = np.empty_like(mask)
    for plane, out in zip(np.moveaxis(mask, axis, 0), np.moveaxis(filled, axis, 0), strict=True):
        ndimage.binary_fill_holes(plane, output=out)
    return filled
