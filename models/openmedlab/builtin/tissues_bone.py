"""Bone of a CT on its working grid: dense tissue without contrast and metal, marrow filled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from openmedlab.builtin.tissues_grid import Grid, Image, Mask, components
from openmedlab.builtin.tissues_rays import AXES, SAGITTAL, see_through, sight

BONE_HU = 140
THIN_HU = 90
THIN_CONTRAST_HU = 50
SURE_HU = 250
METAL_HU = 2500
GAS_HU = -250
SOFT_HU = (-30, 100)
NERVOUS_HU = (10, 60)
CREST_HU = (-300, 700)
SMALLEST_ML = 0.4
POOL_HU = 700
POOL_FROM_HU = 120
FLAT_SLOPE = 25.0
FLAT_MM, THICK_MM, BLOB_MM = 3.5, 5.0, 6.0

NEAR_MM, SAGITTAL_MM, MIDDLE_MM, FAR_MM = 18.0, 20.0, 30.0, 32.0
OPEN_SIGHT = 11
FREE_SIGHT = 8


def find_bone(grid: Grid, allowed: Mask) -> Mask:
    """Return bone with its marrow.

    Parameters
    ----------
    grid
        The CT.
    allowed
        Where bone may be: the body without lungs and airways.
    """
    sharp = grid.smooth(0.6)
    dense = _dense(grid, sharp) & allowed & ~_metal(grid)
    dense &= ~_contrast(grid, dense)
    cortex = _with_sure_core(grid, dense)
    if not cortex.any():
        return cortex
    tissue = allowed & (grid.image > GAS_HU)
    filled = (cortex | _marrow(grid, sharp, cortex, tissue)) & tissue
    return filled | (grid.close(filled, 2.0) & tissue)


def _dense(grid: Grid, sharp: Image) -> Mask:
    """Bright, or thin and brighter than around: cortex thinner than a voxel looks grey."""
    thin = (sharp > THIN_HU) & (sharp - grid.smooth(5.0) > THIN_CONTRAST_HU)
    return (sharp > BONE_HU) | thin


def _metal(grid: Grid) -> Mask:
    """Implants, with the rim that partial volume makes look like bone."""
    metal, _ = components(grid.image > METAL_HU, grid.voxels(1.0))
    return grid.dilate(metal > 0, 1.5)


def _with_sure_core(grid: Grid, dense: Mask) -> Mask:
    """Parts that are large enough and somewhere as dense as cortical bone."""
    labels, count = components(dense, grid.voxels(SMALLEST_ML))
    sure = np.bincount(labels.ravel(), (grid.image > SURE_HU).ravel(), count + 1)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = sure > 0.05 * sizes
    keep[0] = False
    return keep[labels]


def _contrast(grid: Grid, dense: Mask) -> Mask:
    """Blood, urine and organs with contrast: thick and even, where bone has a brighter rim.

    Looked for twice, because noise breaks up what is flat, and bone joins what is thick.
    """
    calm = grid.smooth(1.5) > POOL_FROM_HU
    flat = grid.erode(calm & (grid.slope(1.5) < FLAT_SLOPE), FLAT_MM)
    return _pools(grid, dense, flat) | _pools(grid, dense, grid.erode(calm, THICK_MM))


def _pools(grid: Grid, dense: Mask, cores: Mask) -> Mask:
    """What lies around those cores that no brighter rim tells to be bone."""
    labels, count = components(cores, 2)
    pools = np.zeros_like(dense)
    margin = [k + 1 for k in grid.radius(2 * BLOB_MM)]
    for number, box in enumerate(ndimage.find_objects(labels, count), 1):
        wide = tuple(
            slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True)
        )
        core = labels[wide] == number
        blob = grid.dilate(core, BLOB_MM) & dense[wide]
        if _is_even(grid.image[wide], core, blob & ~core):
            pools[wide] |= blob
    return pools


def _is_even(image: Image, core: Mask, rim: Mask) -> bool:
    level = np.median(image[core])
    brighter = rim.any() and np.percentile(image[rim], 75) > level + 40
    return bool(level < POOL_HU and not brighter)


def _marrow(grid: Grid, sharp: Image, cortex: Mask, tissue: Mask) -> Mask:
    """Flood from sure marrow and from sure outside; the two meet on the crest of the cortex."""
    inside, outside = _markers(grid, cortex)
    markers = np.zeros(cortex.shape, np.int32)
    markers[outside | ~tissue] = 1
    markers[inside & tissue] = 2
    height = np.clip(sharp, *CREST_HU)
    return np.asarray(watershed(height, markers) == 2)


def _markers(grid: Grid, cortex: Mask) -> tuple[Mask, Mask]:
    """Tell marrow from what lies around bones by what is seen from there.

    From marrow bone is met in nearly every direction. The spinal canal and discs are
    soft, can be seen through, and are joined with the soft tissue outside. Where the
    volume ends, what is as dense as brain and cord is not taken for marrow.
    """
    soft = grid.smooth(1.5)
    even = (soft > SOFT_HU[0]) & (soft < SOFT_HU[1])
    met, free = sight(grid, cortex, FAR_MM)
    canal = even & see_through(grid, cortex, SAGITTAL_MM, SAGITTAL)
    nervous = (soft > NERVOUS_HU[0]) & (soft < NERVOUS_HU[1]) & (met + free < 2 * len(AXES))
    closed = (free <= 5) & (met >= 14) & ~see_through(grid, cortex, MIDDLE_MM)
    closed &= ~(canal | nervous | cortex)
    joined = _joined(grid, cortex, free >= FREE_SIGHT)
    share = _local_share(grid, closed, ~cortex)
    inside = closed & ((share > 0.65) | ~joined)
    near_met, near_free = sight(grid, cortex, NEAR_MM)
    shut = ~see_through(grid, cortex, NEAR_MM) & (near_free <= 2) & (near_met >= 18)
    inside |= shut & ~even & ~cortex
    outside = joined & (canal | (~closed & (share < 0.4)))
    outside |= (free >= OPEN_SIGHT) & ~cortex
    return inside, outside & ~inside


def _joined(grid: Grid, cortex: Mask, far: Mask) -> Mask:
    """What connects to the far outside through gaps of a few millimetres."""
    gaps = grid.erode(~cortex, 1.6)
    labels, count = components(gaps)
    reached = np.zeros(count + 1, bool)
    reached[np.unique(labels[far & gaps])] = True
    reached[0] = False
    return grid.dilate(reached[labels], 1.6) & ~cortex


def _local_share(grid: Grid, part: Mask, whole: Mask) -> npt.NDArray[np.float32]:
    """Fraction of ``whole`` that is ``part``, within about 5 mm."""
    sigma = [5.0 / s for s in grid.spacing]
    above, below = (
        ndimage.gaussian_filter(m.astype(np.float32), sigma, truncate=2) for m in (part, whole)
    )
    return np.asarray(above / np.maximum(below, 1e-3))
