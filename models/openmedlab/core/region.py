"""`Region`: a half-open box of voxels, the unit in which crops and edits travel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Index3 = tuple[int, int, int]


def _index3(values: Iterable[float]) -> Index3:
    z, y, x = (int(v) for v in values)
    return z, y, x


@dataclass(frozen=True, slots=True)
class Region:
    """A half-open box of voxel indices, ``start <= index < stop``, axes (z, y, x).

    An empty region has ``stop <= start`` on some axis; `shape` is then zero there.
    """

    start: Index3
    stop: Index3

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _index3(self.start))
        object.__setattr__(self, "stop", _index3(self.stop))

    @classmethod
    def whole(cls, shape: Iterable[int]) -> Region:
        """Return the region that covers an array of ``shape``."""
        return cls((0, 0, 0), _index3(shape))

    @classmethod
    def around(cls, points: npt.ArrayLike) -> Region:
        """Return the smallest region holding the voxels nearest to ``points`` (N, 3)."""
        voxels = np.rint(np.atleast_2d(np.asarray(points, float))).astype(int)
        return cls(_index3(voxels.min(0)), _index3(voxels.max(0) + 1))

    @classmethod
    def of_mask(cls, mask: npt.NDArray[np.bool_]) -> Region | None:
        """Return the bounding region of the true voxels, or None when there are none."""
        bounds = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = np.flatnonzero(mask.any(axis=others))
            if hit.size == 0:
                return None
            bounds.append((int(hit[0]), int(hit[-1]) + 1))
        return cls(_index3(b[0] for b in bounds), _index3(b[1] for b in bounds))

    @property
    def shape(self) -> Index3:
        """Voxels along (z, y, x)."""
        return _index3(max(b - a, 0) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        z, y, x = self.shape
        return z * y * x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut this region out of an array of the whole grid."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def __bool__(self) -> bool:
        return self.size > 0

    def contains(self, other: Region) -> bool:
        """Whether ``other`` lies wholly inside."""
        return all(a <= c for a, c in zip(self.start, other.start, strict=True)) and all(
            b >= d for b, d in zip(self.stop, other.stop, strict=True)
        )

    def intersection(self, other: Region) -> Region:
        """Return the voxels common to both (possibly empty)."""
        start = _index3(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = _index3(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Region(start, _index3(max(a, b) for a, b in zip(start, stop, strict=True)))

    def union(self, other: Region) -> Region:
        """Return the smallest region that covers both; an empty one adds nothing."""
        if not self:
            return other
        if not other:
            return self
        return Region(
            _index3(min(a, b) for a, b in zip(self.start, other.start, strict=True)),
            _index3(max(a, b) for a, b in zip(self.stop, other.stop, strict=True)),
        )

    def padded(self, margin: int | Iterable[int]) -> Region:
        """Return the region grown by ``margin`` voxels on every side (per axis or one for all)."""
        m = (margin,) * 3 if isinstance(margin, int) else tuple(margin)
        return Region(
            _index3(a - k for a, k in zip(self.start, m, strict=True)),
            _index3(b + k for b, k in zip(self.stop, m, strict=True)),
        )

    def clipped(self, shape: Iterable[int]) -> Region:
        """Return the part inside an array of ``shape``."""
        return self.intersection(Region.whole(shape))

    def shifted(self, offset: Iterable[int]) -> Region:
        """Return the region moved by ``offset`` (z, y, x)."""
        o = _index3(offset)
        return Region(
            _index3(a + k for a, k in zip(self.start, o, strict=True)),
            _index3(b + k for b, k in zip(self.stop, o, strict=True)),
        )

    def relative_to(self, outer: Region) -> Region:
        """Return this region in the index frame of a crop cut out at ``outer``."""
        return self.shifted(-a for a in outer.start)
