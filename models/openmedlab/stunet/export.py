"""Back to the native grid: interpolate class by class and keep the largest so far.

Gives the very labels of resizing all probability maps and taking the arg-max, but
neither the maps nor more than one resized class exist at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openmedlab.core import Region
from openmedlab.stunet.resample import Float64, Shape, apply, operators
from openmedlab.stunet.window import Block, region_of

Labels = npt.NDArray[np.unsignedinteger]
SLACK = 1e-6
BAND = 32


@dataclass(frozen=True)
class AxisMap:
    """How an axis of the native grid is interpolated from part of the resampled one.

    Attributes
    ----------
    matrix
        (native, samples) weights, rows and columns of the part.
    first, last
        Lowest and highest sample that each row uses.
    start
        Native index of the first row.
    """

    matrix: Float64
    first: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]
    start: int

    @classmethod
    def of(cls, matrix: Float64, part: slice) -> AxisMap:
        """Return the rows of an operator that need nothing outside of ``part``."""
        used = np.abs(matrix) > 1e-12
        first = used.argmax(1)
        last = matrix.shape[1] - 1 - used[:, ::-1].argmax(1)
        rows = np.flatnonzero((first >= part.start) & (last < part.stop))
        start, stop = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        own = slice(start, stop)
        return cls(matrix[own, part], first[own] - part.start, last[own] - part.start, start)

    def ready(self, samples: int) -> int:
        """Return how many rows need only the first ``samples``."""
        return int(np.searchsorted(self.last, samples))

    def rows(self, start: int, stop: int) -> slice:
        """Return the rows whose lowest sample is one of these."""
        low, high = np.searchsorted(self.first, (start, stop))
        return slice(int(low), int(high))

    def bands(
        self, samples: Tensor, axis: int, rows: slice, start: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Interpolate some rows along one axis of a (z, y, x) block, a few at a time.

        Parameters
        ----------
        samples
            The first one along ``axis`` has the number ``start``.
        axis, rows, start
            Which axis, which rows of it.

        Yields
        ------
        slice, Tensor
            Which of the ``rows`` (from 0), and their values.
        """
        for low in range(rows.start, rows.stop, BAND):
            high = min(low + BAND, rows.stop)
            first, stop = int(self.first[low]), int(self.last[high - 1]) + 1
            needed = samples.narrow(axis, first - start, stop - first)
            band = apply(self.matrix[low:high, first:stop], needed, axis)
            yield slice(low - rows.start, high - rows.start), band


class NativeLabels:
    """Takes blocks in order and writes labels.

    Parameters
    ----------
    out
        Native label array in the network's frame, background 0; written to.
    shape
        Of the resampled volume (z, y, x).
    separate
        Axis that is resampled apart, if any.
    part
        The part of the resampled volume that the blocks cover; background elsewhere.
    keep
        Label written for each class.
    finished
        Called with each native region that is done.
    """

    def __init__(
        self,
        out: Labels,
        shape: Shape,
        separate: int | None,
        part: Region,
        keep: Labels,
        finished: Callable[[Region], None] = lambda _: None,
    ) -> None:
        self.part = part
        self._out, self._keep, self._finished = out, keep, finished
        native: Shape = (out.shape[0], out.shape[1], out.shape[2])
        matrices = operators(shape, native, 1, separate)
        self._maps = [AxisMap.of(m, s) for m, s in zip(matrices, part.slices, strict=True)]
        self._above: list[Tensor] = []
        self._below: list[list[Tensor]] = []
        self._before: list[Tensor] = []

    def put(self, block: Block) -> None:
        """Label the native voxels that ``block`` completes; blocks come pencil by pencil."""
        if block.region.start[1] == 0:
            self._above = [torch.cat(planes, 1) for planes in self._below]
            self._below = [[] for _ in range(block.classes)]
            self._before = []
        target = region_of(
            *(
                slice(m.ready(part.start), m.ready(part.stop))
                for m, part in zip(self._maps, block.region.slices, strict=True)
            )
        )
        z, y, x = block.region.start
        source = Region((z - bool(self._above), y - bool(self._before), x), block.region.stop)
        samples = torch.empty(source.shape, device=block.device)
        bound = self._bound(block, samples)
        contest = _Contest(self._maps, source, target, bound - SLACK)
        before, height = [], block.region.shape[1]
        for number in range(block.classes):
            self._assemble(block, number, samples)
            contest.enter(number, samples)
            before.append(samples[:, -1:].clone())
            self._below[number].append(samples[-1:, -height:].clone())
        self._before = before
        if target:
            area = target.shifted(m.start for m in self._maps)
            self._out[area.slices] = self._keep[contest.labels.cpu().numpy()]
            self._finished(area)

    def _bound(self, block: Block, samples: Tensor) -> Tensor:
        """Return for every cell the largest value that any class has at all its corners."""
        bound = torch.zeros(1, device=block.device)
        for number in range(block.classes):
            self._assemble(block, number, samples)
            bound = torch.maximum(bound, _corners(samples, torch.minimum))
        return bound

    def _assemble(self, block: Block, number: int, out: Tensor) -> None:
        """Put a class of the block, the plane above it and the row before it into ``out``."""
        _, y, x = block.region.slices
        above, before = bool(self._above), bool(self._before)
        block.copy_class(number, out[above:, before:])
        if above:
            out[:1, before:] = self._above[number][:, y, x]
        if before:
            out[:, :1] = self._before[number]


class _Contest:
    """The running maximum over one native region.

    Parameters
    ----------
    maps
        One per axis.
    source, target
        The samples that classes enter with, and the native region they compete for.
    bound
        For every cell of the source a value that the winner inside reaches: the largest
        that any class has at all eight corners.
    """

    def __init__(self, maps: list[AxisMap], source: Region, target: Region, bound: Tensor) -> None:
        self._maps, self._source, self._target, self._bound = maps, source, target, bound
        self._best = torch.zeros(target.shape, device=bound.device)
        self.labels = torch.zeros(target.shape, dtype=torch.uint8, device=bound.device)

    def enter(self, number: int, samples: Tensor) -> None:
        """Let a class take the voxels where it is larger than all before it."""
        cells = _box(_corners(samples, torch.maximum) >= self._bound)
        if cells is None:
            return
        used = cells.union(cells.shifted((1, 1, 1))).clipped(samples.shape)
        part = used.shifted(self._source.start)
        rows = (
            m.rows(s.start, s.stop if s.stop == end else s.stop - 1)
            for m, s, end in zip(self._maps, part.slices, self._source.stop, strict=True)
        )
        area = region_of(*rows).intersection(self._target)
        if not area:
            return
        values = samples[used.slices]
        *others, last = sorted(range(3), key=lambda k: area.shape[k] / used.shape[k])
        for axis in others:
            bands = self._maps[axis].bands(values, axis, area.slices[axis], part.start[axis])
            values = torch.cat([band for _, band in bands], axis)
        inside = area.relative_to(self._target).slices
        best, labels = self._best[inside], self.labels[inside]
        for span, band in self._maps[last].bands(values, last, area.slices[last], part.start[last]):
            own = best.narrow(last, span.start, span.stop - span.start)
            mine = labels.narrow(last, span.start, span.stop - span.start)
            better = (band > own).view(torch.uint8)
            torch.maximum(own, band, out=own)
            torch.maximum(mine, better.mul_(number), out=mine)  # numbers ascend


def _corners(samples: Tensor, extreme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the extreme of the up to 8 corners of every cell of a (z, y, x) grid."""
    for axis, size in enumerate(samples.shape):
        if size > 1:
            samples = extreme(samples.narrow(axis, 0, size - 1), samples.narrow(axis, 1, size - 1))
    return samples


def _box(mask: Tensor) -> Region | None:
    """Return the bounding region of the true cells."""
    lines = mask.view(torch.uint8).amax(2)
    z, y = _extent(lines.amax(1)), _extent(lines.amax(0))
    if z is None or y is None:
        return None
    x = _extent(mask[z, y].view(torch.uint8).amax((0, 1)))
    assert x is not None
    return region_of(z, y, x)


def _extent(hits: Tensor) -> slice | None:
    found = hits.nonzero()
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else None
