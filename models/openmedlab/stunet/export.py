"""Back to the native grid: interpolate class by class and keep the largest so far.

Gives the very labels of resizing all probability maps and taking the arg-max, but
neither the maps nor more than one resized class exist at any time.
"""

from __future__ import annotations

from collections.abc import Callable
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
        source = self._source(block.region)
        target = region_of(
            *(
                slice(m.ready(part.start), m.ready(part.stop))
                for m, part in zip(self._maps, block.region.slices, strict=True)
            )
        )
        if target:
            self._write(target, self._largest(block, source, target))
        self._remember(block)

    def _largest(self, block: Block, source: Region, target: Region) -> Tensor:
        """Return the class of highest probability, uint8 of ``target``'s shape."""
        bound = _corners(self._assembled(block, 0), torch.minimum)
        for number in range(1, block.classes):
            corners = _corners(self._assembled(block, number), torch.minimum)
            torch.maximum(bound, corners, out=bound)
        bound -= SLACK
        best = torch.zeros(target.shape, device=bound.device)
        labels = torch.zeros(target.shape, dtype=torch.uint8, device=bound.device)
        for number in range(block.classes):
            samples = self._assembled(block, number)
            cells = _box(_corners(samples, torch.maximum) >= bound)
            if cells is None:
                continue
            area, values = self._interpolated(samples, cells, source, target)
            inside = area.relative_to(target).slices
            better = values > best[inside]
            torch.maximum(best[inside], values, out=best[inside])
            labels[inside].masked_fill_(better, number)
        return labels

    def _interpolated(
        self, samples: Tensor, cells: Region, source: Region, target: Region
    ) -> tuple[Region, Tensor]:
        """Return the native part of ``target`` that lies in some cells, and its values."""
        used = cells.union(cells.shifted((1, 1, 1))).clipped(samples.shape)
        part = used.shifted(source.start)
        rows = (
            m.rows(low, high if high == end else high - 1)
            for m, low, high, end in zip(
                self._maps, part.start, part.stop, source.stop, strict=True
            )
        )
        area = region_of(*rows).intersection(target)
        values = samples[used.slices]
        for axis in (2, 1, 0):
            matrix = self._maps[axis].matrix[area.slices[axis], part.slices[axis]]
            values = apply(matrix, values, axis)
        return area, values

    def _assembled(self, block: Block, number: int) -> Tensor:
        """Return a class of the block with the plane above it and the row before it."""
        samples = block.of_class(number)
        if self._above:
            _, y, x = block.region.slices
            samples = torch.cat([self._above[number][:, y, x], samples], 0)
        if self._before:
            samples = torch.cat([self._before[number], samples], 1)
        return samples

    def _source(self, region: Region) -> Region:
        """Return what `_assembled` covers."""
        z, y, x = region.start
        return Region((z - bool(self._above), y - bool(self._before), x), region.stop)

    def _remember(self, block: Block) -> None:
        """Keep the last plane and row of every class for the blocks to come."""
        before = []
        for number in range(block.classes):
            samples = self._assembled(block, number)
            before.append(samples[:, -1:].clone())
            self._below[number].append(block.of_class(number)[-1:].clone())
        self._before = before

    def _write(self, target: Region, labels: Tensor) -> None:
        area = target.shifted(m.start for m in self._maps)
        self._out[area.slices] = self._keep[labels.cpu().numpy()]
        self._finished(area)


def _corners(samples: Tensor, extreme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the extreme of the up to 8 corners of every cell of a (z, y, x) grid."""
    for axis, size in enumerate(samples.shape):
        if size > 1:
            samples = extreme(samples.narrow(axis, 0, size - 1), samples.narrow(axis, 1, size - 1))
    return samples


def _box(mask: Tensor) -> Region | None:
    """Return the bounding region of the true cells."""
    bounds = []
    for axis in range(3):
        hit = mask.any((axis + 1) % 3, True).any((axis + 2) % 3, True).flatten().nonzero()
        if not len(hit):
            return None
        bounds.append((int(hit[0]), int(hit[-1]) + 1))
    (z0, z1), (y0, y1), (x0, x1) = bounds
    return Region((z0, y0, x0), (z1, y1, x1))
