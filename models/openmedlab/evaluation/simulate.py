"""Prompts as an ideal (or slightly shaky) annotator would give them, from a reference mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openmedlab.core import Box, ExtremePoints, Point, Region

Mask = npt.NDArray[np.bool_]
_FULL = np.ones((3, 3, 3), bool)


def extreme_points(mask: Mask) -> ExtremePoints:
    """Return the six extreme points of a non-empty ``mask`` (z, y, x).

    Per axis, on the first and the last plane: the voxel nearest to the middle of the
    largest part of the mask's cut.
    """
    from scipy import ndimage as ndi

    points = []
    box = Region.of_mask(mask)
    assert box is not None
    crop = mask[box.slices]
    for axis in range(3):
        for plane in (0, crop.shape[axis] - 1):
            cut = np.take(crop, plane, axis)
            parts, count = ndi.label(cut)
            if count > 1:
                cut = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
            voxels = np.argwhere(cut)
            middle = voxels[np.argmin(((voxels - voxels.mean(0)) ** 2).sum(1))]
            points.append(np.insert(middle, axis, plane) + box.start)
    return ExtremePoints(tuple(_position(p) for p in points))


def tight_box(mask: Mask) -> Box:
    """Return the smallest box around a non-empty ``mask``."""
    region = Region.of_mask(mask)
    assert region is not None
    return Box(region.start, _position(np.subtract(region.stop, 1)))


def innermost(mask: Mask, spacing: Sequence[float]) -> tuple[int, int, int]:
    """Return the voxel of a non-empty ``mask`` farthest (in mm) from its outside.

    The border of the volume counts as outside.
    """
    from scipy import ndimage as ndi

    region = Region.of_mask(mask)
    assert region is not None
    padded = np.pad(mask[region.slices], 1)
    depth = ndi.distance_transform_edt(padded, sampling=spacing)
    peak = np.unravel_index(int(np.argmax(depth)), depth.shape)
    z, y, x = (int(p) - 1 + s for p, s in zip(peak, region.start, strict=True))
    return z, y, x


def centre_click(mask: Mask, spacing: Sequence[float]) -> Point:
    """Return a positive click on the innermost voxel of ``mask``."""
    return Point(innermost(mask, spacing))


def corrective_click(truth: Mask, mask: Mask, spacing: Sequence[float]) -> Point | None:
    """Return a click on the innermost voxel of the largest error component; None without error.

    Components are 26-connected, of missed and of wrongly added voxels separately; the
    larger one is clicked (positive where the object was missed).
    """
    from scipy import ndimage as ndi

    best: tuple[int, bool, Region, Mask] | None = None
    for positive, error in ((True, truth & ~mask), (False, mask & ~truth)):
        area = Region.of_mask(error)
        if area is None:
            continue
        parts, _ = ndi.label(error[area.slices], _FULL)
        sizes = np.bincount(parts.ravel())[1:]
        largest = int(sizes.argmax())
        if best is None or sizes[largest] > best[0]:
            best = int(sizes[largest]), positive, area, parts == largest + 1
    if best is None:
        return None
    _, positive, area, part = best
    where = np.add(innermost(part, spacing), area.start)
    return Point(_position(where), positive)


def shaken(
    position: Sequence[float], sigma: float, allowed: Mask, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return ``position`` moved by a Gaussian of ``sigma`` voxels, to a voxel of ``allowed``.

    Of the moves drawn, the first that stays in ``allowed`` counts; after ten the click
    stays where it was, as an annotator does not click beside the structure meant.
    """
    for _ in range(10):
        moved = np.rint(np.add(position, rng.normal(0.0, sigma, 3))).astype(int)
        inside = bool(((moved >= 0) & (moved < allowed.shape)).all())
        if inside and allowed[tuple(moved)]:
            return _position(moved)
    return _position(position)


def _position(values: npt.ArrayLike) -> tuple[float, float, float]:
    z, y, x = (float(v) for v in np.asarray(values, float))
    return z, y, x
