"""From extreme points to the boxes that a promptable is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openmedlab.core import Box, ExtremePoints, Geometry, Localization, Region

Float64 = npt.NDArray[np.float64]
Found = Localization | ExtremePoints


def corners(found: Found, geometry: Geometry) -> list[Float64]:
    """Return the corners (2, 3) of an organ's box, or of its slabs, inside the volume.

    They lie on whole voxels; a box thinner than two voxels on an axis is widened to two.
    """
    if isinstance(found, ExtremePoints):
        points: Sequence[ExtremePoints] = [found]
    else:
        points = found.parts or [found.points]
    return [_inside(p.positions(), geometry) for p in points]


def _inside(points: Float64, geometry: Geometry) -> Float64:
    last = np.array(geometry.shape) - 1.0
    low, high = np.clip(np.rint([points.min(0), points.max(0)]), 0, last)
    thin = high - low < 1
    low = np.where(thin, np.maximum(np.minimum(low, last - 1), 0), low)
    return np.stack([low, np.where(thin, np.minimum(low + 1, last), high)])


def slice_boxes(slabs: Sequence[Float64], axis: int) -> dict[int, Box]:
    """Return a flat box for every slice along ``axis``, both ends included.

    Where slabs meet, the later one's box holds, as published.
    """
    boxes = {}
    for low, high in slabs:
        first, last = round(float(low[axis])), round(float(high[axis]))
        for k in range(first, last + 1):
            flat = np.stack([low, high])
            flat[:, axis] = k
            boxes[k] = Box(tuple(flat[0]), tuple(flat[1]))
    return boxes


def whole_box(slabs: Sequence[Float64]) -> Box:
    """Return the box around all slabs."""
    together = np.concatenate(slabs)
    return Box(tuple(together.min(0)), tuple(together.max(0)))


def inside_slabs(slabs: Sequence[Float64], axis: int, region: Region) -> npt.NDArray[np.bool_]:
    """Return which voxels of ``region`` lie in one of the slabs' boxes, each a little enlarged.

    By a tenth of the slab's size, and not at all along ``axis``, across which it was cut.
    """
    inside = np.zeros(region.shape, bool)
    for low, high in slabs:
        margin = np.ceil((high - low) * 0.1)
        margin[axis] = 0
        box = Region.around([low - margin, high + margin])
        inside[box.intersection(region).relative_to(region).slices] = True
    return inside
