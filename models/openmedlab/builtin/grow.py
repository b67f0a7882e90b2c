"""What a click means for the mask: the part around it that belongs to the other side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.likelihood import equalised
from openmedlab.builtin.marks import Marks
from openmedlab.builtin.scene import Scene

Mask = npt.NDArray[np.bool_]


def grow(
    scene: Scene, mask: Mask, marks: Marks, voxels: npt.NDArray[np.int64], positive: bool
) -> Mask:
    """Return ``mask`` (of the crop) with the part around ``voxels`` put right."""
    from scipy import ndimage as ndi

    wrong = mask != positive
    centre = voxels[len(voxels) // 2]
    if not wrong[tuple(centre)]:
        return mask
    grid, raw = scene.grid(scene.window(centre, 45.0), 30_000)
    image = equalised(ndi.gaussian_filter(raw, 0.5))
    free = (grid.coarsen(wrong[grid.region.slices]) > 0.5) & (
        marks.on(grid) != (-1 if positive else 1)
    )
    seeds = np.zeros(grid.shape, bool)
    seeds[tuple(grid.cells(voxels[grid.inside(voxels)]).T)] = True
    level = np.median(image[seeds])
    like = (np.abs(image - level) < 0.12) & free | seeds
    depth = ndi.distance_transform_edt(np.pad(like, 1), sampling=grid.spacing)[1:-1, 1:-1, 1:-1]
    radius = 0.6 * depth[seeds].max()
    parts, _ = ndi.label((depth > radius) | seeds)
    core = np.isin(parts, np.unique(parts[seeds]))
    near = ndi.distance_transform_edt(~core, sampling=grid.spacing) <= radius
    found = ndi.binary_fill_holes(near & like)
    out = mask.copy()
    local = out[grid.region.slices]
    local[(grid.refine(found.astype(np.float32)) > 0.5) & wrong[grid.region.slices]] = positive
    return out
