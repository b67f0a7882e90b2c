"""A mask from a box or from six extreme points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.grid import Float, Grid
from openmedlab.builtin.likelihood import equalised, log_ratio
from openmedlab.builtin.marks import Marks
from openmedlab.builtin.scene import Scene
from openmedlab.builtin.solver import random_walker
from openmedlab.core import Region

Mask = npt.NDArray[np.bool_]
CELLS = 40_000


@dataclass(frozen=True)
class Shape:
    """How strongly the place in the box speaks, in logits.

    ``base - distance * d - radius * r``, with ``d`` the distance to the paths between
    extreme points over the box's mean side and ``r`` the squared radius, 1 on its faces.
    """

    base: float
    distance: float
    radius: float
    rounds: int


WITH_PATHS = Shape(1.32, 10.2, 0.3, 2)
WITHOUT_PATHS = Shape(1.5, 0.0, 2.5, 3)


def segment_box(scene: Scene, box: Region, marks: Marks, points: npt.ArrayLike | None) -> Mask:
    """Return the mask on the crop for an object that fills ``box`` (frame of the crop).

    Parameters
    ----------
    points
        (6, 3) extreme points, first and last by axis, joined by geodesic paths inside
        the object (Roth et al. 2021, "Going to extremes", Medical Image Analysis); or None.
    """
    side = np.asarray(box.shape) * np.asarray(scene.spacing)
    margin = np.maximum(np.ceil(np.maximum(0.15 * side, 5.0) / scene.spacing), 2).astype(int)
    grid, raw = scene.grid(box.padded(margin), CELLS)
    inside, radius = _place(grid, box)
    image = _contrast(raw, inside)
    seeds = marks.on(grid)
    seeds[~inside & (seeds == 0)] = -1
    shape = WITHOUT_PATHS if points is None else WITH_PATHS
    prior = shape.base - shape.radius * radius
    if points is not None:
        path = _paths(image, inside, grid, np.asarray(points, np.int64))
        seeds[path & (seeds == 0)] = 1
        prior = prior - shape.distance * _distance(path, grid) / np.cbrt(np.prod(side))
    scene.check()
    chance = _believe(image, prior, seeds, shape.rounds)
    scene.check()
    smooth = random_walker(image, grid.spacing, chance, 0.28, seeds, 50.0, check=scene.check)
    out = np.zeros(scene.image.shape, bool)
    out[grid.region.slices] = grid.refine(_tidy(smooth, seeds)) > 0.5
    return out


def _place(grid: Grid, box: Region) -> tuple[Mask, Float]:
    """Whether each cell is in the box, and its squared radius (1 at the middle of a face)."""
    inside, radius = np.ones(grid.shape, bool), np.zeros(grid.shape, np.float32)
    for axis, edge in enumerate(grid.edges):
        centres = (edge[:-1] + edge[1:] - 1) / 2 + grid.region.start[axis]
        middle = (box.start[axis] + box.stop[axis] - 1) / 2
        u = (np.abs(centres - middle) * 2 / box.shape[axis]).astype(np.float32)
        u[np.argmin(u)] = min(u.min(), 1.0)
        view = u.reshape([-1 if k == axis else 1 for k in range(3)])
        inside &= view <= 1
        radius += view**2
    return inside, radius


def _contrast(raw: Float, inside: Mask) -> Float:
    from scipy import ndimage as ndi

    low, high = np.percentile(raw[inside], [1, 99])
    linear = np.clip((raw - low) / max(high - low, 1e-6), 0, 1)
    return np.asarray(ndi.gaussian_filter(0.85 * equalised(raw) + 0.15 * linear, 0.4), np.float32)


def _paths(image: Float, inside: Mask, grid: Grid, points: npt.NDArray[np.int64]) -> Mask:
    """Cells on the cheapest paths between opposite extreme points, along flat intensity."""
    from scipy import ndimage as ndi
    from skimage.graph import MCP_Geometric

    edges = ndi.gaussian_gradient_magnitude(image, 0.7)
    cost = 0.05 + edges / max(float(np.percentile(edges[inside], 95)), 1e-6)
    cost = np.where(inside, cost, 1e3)
    path = np.zeros(grid.shape, bool)
    for axis in range(3):
        order = np.argsort(points[:, axis], kind="stable")
        first, last = (tuple(c) for c in grid.cells(points[order[[0, -1]]]))
        search = MCP_Geometric(cost, sampling=tuple(grid.spacing))
        search.find_costs([first], [last])
        path[tuple(np.array(search.traceback(last)).T)] = True
    return path


def _distance(mask: Mask, grid: Grid) -> Float:
    from scipy import ndimage as ndi

    return np.asarray(ndi.distance_transform_edt(~mask, sampling=grid.spacing), np.float32)


def _believe(image: Float, prior: Float, seeds: npt.NDArray[np.int8], rounds: int) -> Float:
    """Return the probability of foreground: place and intensities, models re-estimated."""
    from scipy import ndimage as ndi

    chance = _chance(prior)
    chance[seeds < 0] = 0
    weight = chance
    if (seeds > 0).sum() > 6:
        weight = ndi.gaussian_filter((seeds > 0).astype(np.float32), 0.7) * (seeds >= 0)
    for _ in range(rounds):
        chance = _chance(prior + 0.82 * log_ratio(image, weight, 1 - chance))
        chance[seeds < 0] = 0
        chance[seeds > 0] = 1
        weight = chance
    return chance


def _chance(logit: Float) -> Float:
    return np.asarray(1 / (1 + np.exp(-logit)), np.float32)


def _tidy(smooth: Float, seeds: npt.NDArray[np.int8]) -> Float:
    """Fill holes and keep the parts that hold a positive seed (or the largest)."""
    from scipy import ndimage as ndi

    solid = ndi.binary_fill_holes(smooth > 0.5)
    parts, count = ndi.label(solid)
    if count > 1:
        keep = np.unique(parts[(seeds > 0) & solid])
        if not keep.size:
            keep = np.array([1 + np.argmax(np.bincount(parts.ravel())[1:])])
        solid = np.isin(parts, keep)
    return np.where(solid, np.maximum(smooth, 0.51), np.minimum(smooth, 0.49)).astype(np.float32)
