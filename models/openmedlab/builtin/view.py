"""`View`: a part of the image on a coarse grid, and what can be measured there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.grid import Float, Grid
from openmedlab.builtin.scene import Scene
from openmedlab.core import Region

Mask = npt.NDArray[np.bool_]
BINS = 24
LIMIT = 5.0


@dataclass(eq=False)
class View:
    """A coarse look at ``region`` of a scene.

    Attributes
    ----------
    image
        Rank of the intensity, 0..1, slightly smoothed: frequent tissues are told apart best.
    around
        `image` blurred, the grey value of the surroundings.
    edges
        Gradient magnitude of `image` per cell.
    texture
        Standard deviation of `image` in the surroundings.
    """

    scene: Scene
    grid: Grid
    image: Float = field(init=False)
    around: Float = field(init=False)
    edges: Float = field(init=False)
    texture: Float = field(init=False)

    def __post_init__(self) -> None:
        from scipy import ndimage as ndi

        self.scene.check()
        raw = self.scene.coarse(self.grid)
        self.image = ndi.gaussian_filter(_ranked(raw), 0.4)
        self.around = ndi.gaussian_filter(self.image, 1.5)
        self.edges = ndi.gaussian_gradient_magnitude(self.image, 0.7)
        square = ndi.gaussian_filter(self.image**2, 1.5)
        self.texture = np.sqrt(np.maximum(square - self.around**2, 0))
        bins = [
            np.minimum((f * BINS).astype(np.intp), BINS - 1)
            for f in (self.image, ndi.gaussian_filter(self.image, 1.0))
        ]
        self._index = bins[0] * BINS + bins[1]

    @classmethod
    def of(cls, scene: Scene, region: Region, cells: int) -> View:
        """Look at ``region`` (clipped to the scene) with about ``cells`` cells."""
        return cls(scene, Grid.over(region.clipped(scene.image.shape), scene.spacing, cells))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along (z, y, x)."""
        return self.grid.shape

    @property
    def spacing(self) -> npt.NDArray[np.float64]:
        """Size of a cell in mm."""
        return self.grid.spacing

    def full(self, value: float) -> Float:
        """Return an array of ``value`` on the grid."""
        return np.full(self.shape, value, np.float32)

    def depth(self, mask: Mask) -> Float:
        """Return the distance in mm of every cell of ``mask`` to its outside, 0 elsewhere."""
        from scipy import ndimage as ndi

        if mask.all():
            return self.full(float(self.spacing.max() * max(self.shape)))
        return np.asarray(ndi.distance_transform_edt(mask, sampling=self.spacing), np.float32)

    def geodesic(self, mask: Mask, cost: Float) -> Float:
        """Return the cost of the cheapest path from ``mask`` to every cell, ``cost`` per mm."""
        from skimage.graph import MCP_Geometric

        self.scene.check()
        if not mask.any():
            return self.full(1e3)
        search = MCP_Geometric(
            np.where(mask, 0, cost), sampling=tuple(self.spacing), fully_connected=False
        )
        costs, _ = search.find_costs(_one_of_each_part(mask))
        return np.asarray(costs, np.float32)

    def path(self, start: tuple[int, ...], end: tuple[int, ...], cost: Float) -> Mask:
        """Return the cells on the cheapest path between two cells."""
        from skimage.graph import MCP_Geometric

        self.scene.check()
        search = MCP_Geometric(cost, sampling=tuple(self.spacing))
        search.find_costs([start], [end])
        found = np.zeros(self.shape, bool)
        found[tuple(np.array(search.traceback(end)).T)] = True
        return found

    def log_ratio(self, inside: Float, outside: Float) -> Float:
        """Return the log likelihood ratio of every cell by histograms of grey value and blur.

        ``inside`` and ``outside`` say how much each cell counts as an example of either.
        """
        from scipy import ndimage as ndi

        logs = []
        for weight in (inside, outside):
            counts = np.bincount(self._index.ravel(), weight.ravel(), BINS * BINS)
            smooth = ndi.gaussian_filter(counts.reshape(BINS, BINS), 0.8, mode="nearest")
            smooth += 2e-3 * smooth.sum() / smooth.size + 1e-9
            logs.append(np.log(smooth / smooth.sum()))
        ratio = np.clip(logs[0] - logs[1], -LIMIT, LIMIT).astype(np.float32)
        return np.asarray(ratio.ravel()[self._index], np.float32)


def _one_of_each_part(mask: Mask) -> list[tuple[int, ...]]:
    from scipy import ndimage as ndi

    parts, _ = ndi.label(mask)
    numbers, first = np.unique(parts, return_index=True)
    places = np.stack(np.unravel_index(first[numbers > 0], mask.shape), axis=1)
    return [tuple(place) for place in places.tolist()]


def _ranked(raw: Float) -> Float:
    knots = np.unique(np.percentile(raw, np.linspace(0, 100, 65)))
    if len(knots) < 2:
        return np.zeros(raw.shape, np.float32)
    return np.interp(raw, knots, np.linspace(0, 1, len(knots))).astype(np.float32)
