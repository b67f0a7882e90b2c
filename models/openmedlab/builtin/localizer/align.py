"""From a shift to a dense map: an affine over the whole scans, then a field near the organs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openmedlab.builtin.localizer.coarse import likely_shifts
from openmedlab.builtin.localizer.codes import encode
from openmedlab.builtin.localizer.match import CELL, Matched, Search, match
from openmedlab.builtin.localizer.scan import Float, Mask, Scan

Points = npt.NDArray[np.float64]

CANDIDATES = 3
CLOSE = 0.8
AFFINE = (
    Search(radius=3, pulls=(0, 0.05, 0.1), smooth=1.5),
    Search(radius=3, pulls=(0, 0.05, 0.1), smooth=1.5),
    Search(radius=2, pulls=(0, 0.05, 0.1), smooth=1.5),
)
COARSE_FIELD = (Search(radius=3, pulls=(0, 0.02, 0.05, 0.1), smooth=1.5),)
FIELD = (Search(radius=3, pulls=(0, 0.02, 0.05, 0.1), smooth=2.0),)
MARGIN_MM = 40.0
TISSUE_HU = -500
RIDGE = 0.02


@dataclass(frozen=True, eq=False)
class Map:
    """Where the voxels of a box of the template's grid lie in the query's grid.

    Attributes
    ----------
    start
        First voxel (z, y, x) of the box.
    positions
        (3, z, y, x) continuous (z, y, x) indices of the query.
    """

    start: npt.NDArray[np.int64]
    positions: Float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the box."""
        _, z, y, x = self.positions.shape
        return z, y, x

    @property
    def box(self) -> tuple[slice, ...]:
        """The box, to index the template with."""
        return tuple(slice(int(a), int(a) + n) for a, n in zip(self.start, self.shape, strict=True))

    @classmethod
    def affine(
        cls, matrix: Points, offset: Points, start: npt.NDArray[np.int64], shape: tuple[int, ...]
    ) -> Map:
        """Make the map ``matrix @ index + offset`` of a box."""
        grid = _grid(start, shape)
        positions = np.tensordot(matrix, grid, 1) + offset.reshape(3, 1, 1, 1)
        return cls(start, positions.astype(np.float32))

    def at(self, local: npt.NDArray[np.floating]) -> Float:
        """Return the positions (3, ...) at indices (3, ...) of the box, continued beyond it."""
        last = np.asarray(self.shape).reshape(3, *[1] * (local.ndim - 1)) - 1
        within = np.clip(local, 0, last)
        found = [
            ndimage.map_coordinates(p, within, output=np.float32, order=1, mode="nearest")
            for p in self.positions
        ]
        return np.stack(found) + (local - within).astype(np.float32)

    def refined(self, limits: tuple[int, ...]) -> Map:
        """Return the map of the same box between grids with voxels half as large."""
        start = CELL * self.start
        room = np.asarray(limits) - start
        shape = np.minimum(CELL * np.asarray(self.shape), room // CELL * CELL)
        local = (_grid(np.zeros(3), tuple(int(n) for n in shape)) - 0.5) / CELL
        return Map(start, CELL * self.at(local) + np.float32(0.5))

    def moved(self, shift: Float) -> Map:
        """Return the map that first goes by ``shift`` (3, cells) in voxels, then as this one."""
        cells = [(np.arange(n) - (CELL - 1) / 2) / CELL for n in self.shape]
        at = np.stack(np.meshgrid(*cells, indexing="ij")).astype(np.float32)
        fine = [ndimage.map_coordinates(s, at, order=1, mode="nearest") for s in shift]
        return Map(self.start, self.at(_grid(np.zeros(3), self.shape) + np.stack(fine)))


@dataclass(frozen=True, eq=False)
class Alignment:
    """A template scan laid over a query scan.

    Attributes
    ----------
    template, query
        The scans.
    map
        Around the organs, in voxels of both.
    matched
        The last search on the way to it.
    score
        Correlation -1..1 of the coarse translation.
    """

    template: Scan
    query: Scan
    map: Map
    matched: Matched
    score: float

    def carry(self, world: Points) -> Points:
        """Take LPS points (N, 3) in mm from the template to the query."""
        local = self.template.index(world) - self.map.start
        return self.query.world(self.map.at(local.T).T)


def align(template: Scan, query: Scan, places: Points, check: Callable[[], None]) -> Alignment:
    """Lay ``template`` over ``query``, closely around ``places`` (N, 3) in LPS mm.

    ``check`` is called between the steps; it may raise.
    """
    matrix, offset, score = _affine(template.coarse, query.coarse, check)
    index = template.coarse.index(places)
    margin = MARGIN_MM / template.coarse.step
    start, shape = _even_box(
        index.min(0) - margin, index.max(0) + margin, template.coarse.image.shape
    )
    around = Map.affine(matrix, offset, start, shape)
    for search in COARSE_FIELD:
        check()
        found = _search(template.coarse, query.coarse, around, search)
        around = around.moved(found.shift)
    around = around.refined(template.image.shape)
    for search in FIELD:
        check()
        found = _search(template, query, around, search)
        around = around.moved(found.shift)
    return Alignment(template, query, around, found, score)


def _affine(template: Scan, query: Scan, check: Callable[[], None]) -> tuple[Points, Points, float]:
    """Return matrix and offset from template to query voxels, and the score of the first guess."""
    shifts = likely_shifts(template, query, CANDIDATES)
    start, shape = _even_box(np.zeros(3), np.full(3, np.inf), template.image.shape)
    tried: list[tuple[float, float, Points, Matched]] = []
    for score, shift in shifts:
        if tried and score < CLOSE * shifts[0][0]:
            break
        check()
        matrix, offset = np.eye(3), (template.origin + shift - query.origin) / query.step
        around = Map.affine(matrix, offset, start, shape)
        found = _search(template, query, around, AFFINE[0])
        tissue = found.weight
        tried.append((float((found.bits * tissue).sum() / tissue.sum()), score, offset, found))
    _, score, offset, found = min(tried, key=lambda t: t[0])
    matrix, offset = _fitted(start, found, np.eye(3), offset)
    for search in AFFINE[1:]:
        check()
        found = _search(template, query, Map.affine(matrix, offset, start, shape), search)
        matrix, offset = _fitted(start, found, matrix, offset)
    return matrix, offset, score


def _search(template: Scan, query: Scan, around: Map, search: Search) -> Matched:
    """Match the box of ``around`` with the query resampled onto it."""
    reach = [n + 2 * search.radius for n in around.shape]
    wide = around.at(_grid(np.full(3, -search.radius), reach))
    seen = _within(query, wide)
    image = ndimage.map_coordinates(query.image, wide, output=np.float32, order=1, mode="nearest")
    tissue = (template.image[around.box] > TISSUE_HU) & template.seen[around.box]
    codes = template.codes[around.box]
    return match(codes, tissue.astype(np.float32), encode(image), seen, search)


def _within(query: Scan, positions: Float) -> Mask:
    """Whether the query sees what lies at ``positions``."""
    whole = np.rint(positions).astype(np.intp)
    limits = np.reshape(query.seen.shape, (3, 1, 1, 1))
    inside = ((whole >= 0) & (whole < limits)).all(0)
    if query.seen.all():
        return np.asarray(inside)
    z, y, x = np.clip(whole, 0, limits - 1)
    return np.asarray(inside & query.seen[z, y, x])


def _fitted(
    start: npt.NDArray[np.int64], found: Matched, matrix: Points, offset: Points
) -> tuple[Points, Points]:
    """Return the affine refined by ``found``: weighted least squares, outliers weighed down."""
    cells = found.weight.shape
    x = (CELL * _grid(np.zeros(3), cells) + (CELL - 1) / 2).reshape(3, -1).T + start
    shift = found.shift.reshape(3, -1).T.astype(np.float64)
    prior = found.weight.ravel().astype(np.float64)
    weight = prior
    middle = (x * prior[:, None]).sum(0) / prior.sum()
    terms = np.c_[x - middle, np.ones(len(x))]
    for _ in range(5):
        normal = terms.T @ (terms * weight[:, None])
        stiff = RIDGE * np.trace(normal[:3, :3]) / 3
        normal += np.diag([stiff, stiff, stiff, 0])
        solution = np.linalg.solve(normal, terms.T @ (shift * weight[:, None]))
        misfit = np.linalg.norm(terms @ solution - shift, axis=1)
        scale = max(float(np.median(misfit[prior > np.median(prior)])), 0.3)
        weight = prior / (1 + (misfit / (1.5 * scale)) ** 2)
    local = np.eye(3) + solution[:3].T
    moved = solution[3] - solution[:3].T @ middle
    return matrix @ local, matrix @ moved + offset


def _even_box(
    low: Points, high: Points, limits: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
    """Return start and shape (multiples of a cell) of the voxels from ``low`` to ``high``."""
    first = np.maximum(np.floor(low), 0).astype(np.int64)
    end = np.minimum(np.ceil(high) + 1, limits).astype(np.int64)
    shape = np.maximum((end - first) // CELL * CELL, CELL)
    first = np.minimum(first, np.asarray(limits) - shape)
    return first, tuple(int(n) for n in shape)


def _grid(first: npt.ArrayLike, shape: Sequence[int]) -> Float:
    """Return the indices (3, z, y, x) of a box."""
    start = np.asarray(first)
    axes = [np.arange(n, dtype=np.float32) + a for a, n in zip(start, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
