"""Sliding window whose class sums never fill the volume.

Tiles go through the volume in pencils along x. What a pencil finishes is handed
out and its memory freed, so only the part that later tiles still touch is kept:
about half a tile's depth of the cross-section, whatever the volume's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from openmedlab.core import CancelToken, Progress, Region
from openmedlab.stunet.plan import Triple
from openmedlab.stunet.predict import Predictor


def tile_starts(size: int, patch: int, step: float = 0.5) -> list[int]:
    """Return where tiles start along an axis, evenly spread; negative where one sticks out.

    A tile larger than the axis is centred, the odd voxel of padding at its end.
    """
    if size <= patch:
        return [-((patch - size) // 2)]
    count = ceil((size - patch) / (patch * step)) + 1
    return [int(s) for s in np.rint(np.arange(count) * (size - patch) / (count - 1))]


def gaussian(patch: int) -> npt.NDArray[np.float64]:
    """Return a tile's weights along one axis: a blurred delta, sigma = patch / 8."""
    delta = np.zeros(patch)
    delta[patch // 2] = 1
    return ndimage.gaussian_filter1d(delta, patch / 8, mode="constant")


def importance_map(patch: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the weights (z, y, x) of a tile, 1 at most, never 0."""
    z, y, x = (gaussian(n) for n in patch)
    weights = (z[:, None, None] * y[:, None] * x).astype(np.float32)
    weights /= weights.max()
    weights[weights == 0] = weights[weights > 0].min()
    return weights


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis of ``size`` voxels."""

    size: int
    patch: int
    step: float = 0.5

    @cached_property
    def starts(self) -> list[int]:
        """Start of every tile."""
        return tile_starts(self.size, self.patch, self.step)

    def span(self, tile: int) -> slice:
        """Return the voxels that a tile covers."""
        start = self.starts[tile]
        return slice(max(start, 0), min(start + self.patch, self.size))

    def final(self, tile: int) -> slice:
        """Return the voxels that no tile after this one touches, and none before finished."""
        rest = [*self.starts[1:], self.size]
        return slice(max(self.starts[tile], 0), rest[tile])

    @cached_property
    def cells(self) -> list[slice]:
        """The axis cut wherever a tile starts or ends."""
        ends = {s.stop for s in map(self.span, range(len(self.starts)))}
        cuts = sorted({max(s, 0) for s in self.starts} | ends)
        return [slice(a, b) for a, b in pairwise(cuts)]

    def covered(self, tile: int) -> list[int]:
        """Return the numbers of the cells that make up a tile's span."""
        return self.within(self.span(tile))

    def within(self, part: slice) -> list[int]:
        """Return the numbers of the cells that make up a part cut where cells are."""
        return [k for k, c in enumerate(self.cells) if part.start <= c.start < part.stop]

    @cached_property
    def shares(self) -> list[npt.NDArray[np.float64]]:
        """Each tile's share of the weights over its `span`; the shares of a voxel add up to 1."""
        weights = gaussian(self.patch)
        total = np.zeros(self.size)
        own = []
        for tile, start in enumerate(self.starts):
            span = self.span(tile)
            own.append(weights[span.start - start : span.stop - start])
            total[span] += own[-1]
        return [w / total[self.span(tile)] for tile, w in enumerate(own)]


@dataclass(frozen=True)
class Tiling:
    """The tiles of a volume; weights are products of one share per axis."""

    axes: tuple[Axis, Axis, Axis]

    @classmethod
    def of(cls, shape: Sequence[int], patch: Triple, step: float = 0.5) -> Tiling:
        """Return nnU-Net's tiles of ``patch`` voxels over a volume of ``shape``."""
        z, y, x = (Axis(int(n), p, step) for n, p in zip(shape, patch, strict=True))
        return cls((z, y, x))

    def __len__(self) -> int:
        z, y, x = (len(a.starts) for a in self.axes)
        return z * y * x

    def pencils(self) -> Iterator[tuple[int, int]]:
        """Yield the tile numbers (z, y) of each pencil, in the order they are done."""
        z, y, _ = self.axes
        return product(range(len(z.starts)), range(len(y.starts)))

    def region(self, tile: Triple) -> Region:
        """Return the voxels that a tile covers."""
        return region_of(*(a.span(k) for a, k in zip(self.axes, tile, strict=True)))

    def cut(self, image: Tensor, tile: Triple) -> Tensor:
        """Return a tile's voxels (1, *patch), 0 where it sticks out."""
        region = self.region(tile)
        out = image.new_zeros([a.patch for a in self.axes])
        out[self.inside(tile)] = image[region.slices]
        return out[None]

    def inside(self, tile: Triple) -> tuple[slice, slice, slice]:
        """Return the part of a tile that lies in the volume."""
        starts = [a.starts[k] for a, k in zip(self.axes, tile, strict=True)]
        return self.region(tile).shifted(-s for s in starts).slices


class Block:
    """Finished class probabilities of one region, read class by class."""

    def __init__(self, region: Region, rows: list[list[Tensor]]) -> None:
        self.region = region
        self.classes = len(rows[0][0])
        self.device = rows[0][0].device
        self._rows = rows

    def copy_class(self, number: int, out: Tensor) -> None:
        """Copy the probabilities of one class into a (z, y, x) tensor of the region's shape."""
        z = 0
        for row in self._rows:
            y, depth = 0, row[0].shape[1]
            for part in row:
                out[z : z + depth, y : y + part.shape[2]] = part[number]
                y += part.shape[2]
            z += depth


class Frontier:
    """Class sums of the cells that are begun and not finished.

    Parameters
    ----------
    tiling
        The tiles to come.
    classes, device, dtype
        Of the sums.
    """

    def __init__(
        self, tiling: Tiling, classes: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.tiling = tiling
        self.classes = classes
        self._device, self._dtype = device, dtype
        self._planes = 32 if device.type == "cuda" else 2
        self._cells: dict[tuple[int, int], Tensor] = {}
        self._shares = [
            [torch.from_numpy(s).to(device, torch.float32) for s in axis.shares]
            for axis in tiling.axes
        ]

    @property
    def nbytes(self) -> int:
        """Memory held by class sums."""
        return sum(cell.nbytes for cell in self._cells.values())

    def chunks(self, tile: Triple) -> Iterator[slice]:
        """Yield the planes of a tile (volume indices) in the pieces that `add` takes."""
        z = self.tiling.axes[0]
        for cell in (z.cells[k] for k in z.covered(tile[0])):
            for start in range(cell.start, cell.stop, self._planes):
                yield slice(start, min(start + self._planes, cell.stop))

    def add(self, tile: Triple, planes: slice, values: Tensor) -> None:
        """Add the probabilities of some planes of a tile; ``values`` is weighted in place.

        ``values`` is float32 (classes, planes, y, x) over the tile's `Tiling.region`; the
        first classes alone may be given.
        """
        z, y, x = self.tiling.axes
        depth, height, width = (own[k] for own, k in zip(self._shares, tile, strict=True))
        top = z.span(tile[0]).start
        values *= depth[planes.start - top : planes.stop - top, None, None]
        values *= height[:, None] * width
        row = next(k for k, c in enumerate(z.cells) if c.start <= planes.start < c.stop)
        inner = _shifted(planes, -z.cells[row].start)
        for column in y.covered(tile[1]):
            lines = _shifted(y.cells[column], -y.span(tile[1]).start)
            sums = self._cell(row, column)[: len(values), inner, :, x.span(tile[2])]
            sums += values[:, :, lines]

    def skip(self, tile: Triple) -> None:
        """Let a tile say background everywhere."""
        _, height, width = self.tiling.region(tile).shape
        for planes in self.chunks(tile):
            shape = (1, planes.stop - planes.start, height, width)
            self.add(tile, planes, torch.ones(shape, device=self._device))

    def take(self, pencil: tuple[int, int]) -> Block:
        """Return, and forget, what a pencil has finished."""
        z, y, x = self.tiling.axes
        depth, height = z.final(pencil[0]), y.final(pencil[1])
        region = region_of(depth, height, slice(0, x.size))
        columns = y.within(height)
        cells = [[self._cells.pop((r, c)) for c in columns] for r in z.within(depth)]
        return Block(region, cells)

    def _cell(self, row: int, column: int) -> Tensor:
        if (row, column) not in self._cells:
            z, y, x = self.tiling.axes
            depth, height = (c.stop - c.start for c in (z.cells[row], y.cells[column]))
            self._cells[row, column] = torch.zeros(
                (self.classes, depth, height, x.size), device=self._device, dtype=self._dtype
            )
        return self._cells[row, column]


def stream(
    image: Tensor,
    tiling: Tiling,
    predictor: Predictor,
    finished: Callable[[Block], None],
    progress: Progress,
    cancel: CancelToken,
    wanted: Callable[[Region], bool] = lambda _: True,
) -> None:
    """Average class probabilities over the tiles of a volume, block by block.

    Parameters
    ----------
    image
        float32 (z, y, x) on the predictor's device.
    tiling
        Its tiles.
    predictor
        Runs the network.
    finished
        Called with blocks in the order of `Tiling.pencils`; together they cover the volume
        once. A block's memory is free again when the call returns.
    progress, cancel
        Told of and asked after every batch of tiles.
    wanted
        Whether a tile's region is worth a look; else it counts as background.
    """
    half = image.device.type == "cuda"
    dtype = torch.float16 if half else torch.float32
    frontier = Frontier(tiling, predictor.classes, image.device, dtype)
    done, total = 0, len(tiling)
    for pencil in tiling.pencils():
        tiles = [(*pencil, k) for k in range(len(tiling.axes[2].starts))]
        todo = [t for t in tiles if wanted(tiling.region(t))]
        for tile in tiles:
            if tile not in todo:
                frontier.skip(tile)
        done += len(tiles) - len(todo)
        for group in batched(todo, predictor.batch):
            cancel.check()
            progress.report(done, total, f"tile {done + 1} of {total}")
            with progress.stage("infer"):
                _predict(image, group, predictor, frontier)
            done += len(group)
        with progress.stage("write"):
            finished(frontier.take(pencil))
    progress.report(total, total, "tiles done")


def _predict(image: Tensor, tiles: list[Triple], predictor: Predictor, frontier: Frontier) -> None:
    tiling = frontier.tiling
    batch = torch.stack([tiling.cut(image, tile) for tile in tiles])
    for variant in predictor.features(batch):
        for tile, features in zip(tiles, variant, strict=True):
            seen = features[:, *tiling.inside(tile)]
            top = tiling.region(tile).start[0]
            for planes in frontier.chunks(tile):
                values = predictor.probabilities(seen[:, _shifted(planes, -top)])
                frontier.add(tile, planes, values)


def batched(items: list[Triple], size: int) -> Iterator[list[Triple]]:
    """Yield ``items`` in lists of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def region_of(z: slice, y: slice, x: slice) -> Region:
    """Return the region that three slices cut out."""
    return Region((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
