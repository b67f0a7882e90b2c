"""`BlockGrid`: a volume cut into blocks that begin at multiples of the block's size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from openmedlab.core.region import Index3, Region, _index3


@dataclass(frozen=True)
class BlockGrid:
    """Blocks of ``block`` voxels over an array of ``shape``, numbered with x fastest.

    The last block along an axis ends with the array.
    """

    shape: Index3
    block: Index3

    @property
    def counts(self) -> Index3:
        """Blocks along (z, y, x)."""
        return _index3(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    def place(self, index: int) -> Index3:
        """Return where block ``index`` stands among the blocks, (z, y, x)."""
        return _index3(int(k) for k in np.unravel_index(index, self.counts))

    def region(self, index: int) -> Region:
        """Return the voxels of block ``index``."""
        start = _index3(k * b for k, b in zip(self.place(index), self.block, strict=True))
        stop = _index3(a + b for a, b in zip(start, self.block, strict=True))
        return Region(start, stop).clipped(self.shape)

    def neighbours(self, index: int) -> Iterator[tuple[int, Index3]]:
        """Yield the touching blocks that come later, each with the direction towards it."""
        place = self.place(index)
        for shift in np.ndindex(3, 3, 3):
            direction = _index3(s - 1 for s in shift)
            other = [p + d for p, d in zip(place, direction, strict=True)]
            if direction > (0, 0, 0) and all(
                0 <= p < n for p, n in zip(other, self.counts, strict=True)
            ):
                yield int(np.ravel_multi_index(other, self.counts)), direction
