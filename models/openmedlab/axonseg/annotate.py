"""Labels made by the paper's recipe, and the training cubes that are mixed from them.

Li Z. et al., D-LMBmap, Nature Methods 20, 1593-1604 (2023), "Automated annotation".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SMALLEST = 10


def highpass(volume: Array) -> npt.NDArray[np.uint16]:
    """Return what a blur over three voxels along z and y takes away, not below 0.

    The blur (sigma 10, cut to three taps) leaves x alone, as the published labels had it.

    Parameters
    ----------
    volume
        Grey values (z, y, x), 16 bit.
    """
    taps = np.exp(-(np.arange(-1, 2) ** 2) / 200.0)
    taps /= taps.sum()
    blurred = volume.astype(np.float64)
    for axis in (0, 1):
        blurred = ndimage.correlate1d(blurred, taps, axis, mode="mirror")
    return np.clip(np.trunc(volume - blurred), 0, 65535).astype(np.uint16)


def rough_label(volume: Array, threshold: float | None = None) -> Mask:
    """Return where the high-pass image of a cube (z, y, x) is above a threshold.

    Parameters
    ----------
    volume
        Grey values, 16 bit.
    threshold
        In grey values of the high-pass image; by default the triangle method's choice for
        every slice, never below the cube's own noise (6 robust standard deviations).
    """
    from skimage.filters import threshold_triangle

    detail = highpass(volume)
    if threshold is not None:
        return detail > threshold
    spread = 1.4826 * float(np.median(detail[detail > 0])) if detail.any() else 0.0
    levels = [max(threshold_triangle(part), 6 * spread) if part.any() else 1 for part in detail]
    return np.asarray(detail > np.array(levels)[:, None, None])


def clean(rough: Array, smallest: int = SMALLEST) -> Mask:
    """Return the label without components (26 neighbours) of fewer than ``smallest`` voxels."""
    labels, count = ndimage.label(np.asarray(rough) > 0, np.ones((3, 3, 3)))
    size = np.bincount(labels.ravel(), minlength=count + 1)
    keep = size >= smallest
    keep[0] = False
    return np.asarray(keep[labels])


def skeleton(mask: Array) -> Mask:
    """Return the skeleton of a mask (z, y, x) (Lee's method)."""
    from skimage.morphology import skeletonize

    return np.asarray(skeletonize(np.asarray(mask) > 0, method="lee")) > 0


def fine_label(rough: Array, smallest: int = SMALLEST) -> Mask:
    """Return the fine label of a rough one: cleaned, skeletonised, widened by one voxel."""
    return np.asarray(ndimage.binary_dilation(skeleton(clean(rough, smallest))))


def match_histogram(image: Array, source: Array) -> Array:
    """Return the image with the grey values' distribution of a source cube, same type."""
    from skimage.exposure import match_histograms

    return np.asarray(match_histograms(image, source)).astype(image.dtype)


def cut_mix(
    random: np.random.Generator, axons: tuple[Array, Array], artefacts: Array
) -> tuple[Array, Array]:
    """Return an axon cube with a corner of an artefact cube, whose label is empty.

    Parameters
    ----------
    random
        Chooses how large the corner is.
    axons
        Image and label of the axon cube (z, y, x).
    artefacts
        Image of the artefact cube.
    """
    image, label = axons[0].copy(), axons[1].copy()
    shape = np.minimum(image.shape, artefacts.shape)
    corner = tuple(slice(0, int(random.integers(1, n + 1))) for n in shape)
    image[corner], label[corner] = artefacts[corner], 0
    return image, label


def weaken_contrast(
    volume: npt.NDArray[np.float64],
    points: Sequence[Sequence[int]],
    radius: int = 25,
    strength: float = 0.65,
) -> npt.NDArray[np.float64]:
    """Return the volume faded towards the local mean in cubes around points (z, y, x).

    Inside a cube of side 2 ``radius`` the weight of the mean falls from ``strength`` in the
    middle to 0 at the distance ``radius``.
    """
    faded = np.array(volume, np.float64)
    for point in points:
        cube = tuple(slice(max(0, p - radius), p + radius) for p in point)
        part = faded[cube]
        grid = np.indices(part.shape)
        middle = [p - s.start for p, s in zip(point, cube, strict=True)]
        distance = np.sqrt(sum((g - m) ** 2 for g, m in zip(grid, middle, strict=True)))
        weight = strength * np.clip(1 - distance / radius, 0, None)
        faded[cube] = weight * part.mean() + (1 - weight) * part
    return faded
