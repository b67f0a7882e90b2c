"""`Geometry`: where voxels stand in the patient.

One convention everywhere in the engine: index axes are (z, y, x), world is LPS
millimetres (DICOM, ITK), and ``world = affine @ (z, y, x, 1)``. NIfTI's and
Slicer's RAS is converted at the border (`Geometry.from_ijk_to_ras`,
`Geometry.ijk_to_ras`). Oblique, flipped and sheared grids are normal cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.region import Index3, Region, _index3

Float64 = npt.NDArray[np.float64]
Unit = Literal["millimeter", "micrometer"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_REVERSE = np.eye(4)[[2, 1, 0, 3]]
_LPS_VECTORS: dict[str, tuple[int, float]] = {
    "L": (0, 1.0),
    "R": (0, -1.0),
    "P": (1, 1.0),
    "A": (1, -1.0),
    "S": (2, 1.0),
    "I": (2, -1.0),
}


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid of a volume: its shape and its index-to-world affine.

    Parameters
    ----------
    shape
        Voxels along (z, y, x).
    affine
        (4, 4) matrix taking homogeneous index coordinates ``(z, y, x, 1)`` to
        homogeneous LPS world coordinates. Integer indices are voxel centres.
    unit
        Unit of the world: ``"millimeter"``, or ``"micrometer"`` for light-sheet.

    Raises
    ------
    InputError
        The shape is not three positive numbers, or the affine is singular or
        not finite.
    """

    shape: Index3
    affine: Float64
    unit: Unit = "millimeter"

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"A volume needs three axes of at least one voxel, not shape {shape}.")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputError("The affine must be a finite 4x4 matrix.")
        scale = np.prod(np.linalg.norm(affine[:3, :3], axis=0))
        if scale == 0 or abs(np.linalg.det(affine[:3, :3])) < 1e-6 * scale:
            raise InputError("The affine is singular: two axes of the volume point the same way.")
        affine[3] = (0.0, 0.0, 0.0, 1.0)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    # ---------------------------------------------------------------- making
    @classmethod
    def from_spacing(
        cls,
        shape: Iterable[int],
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        direction: npt.ArrayLike | None = None,
        unit: Unit = "millimeter",
    ) -> Geometry:
        """Build from spacing (z, y, x), origin (LPS x, y, z) and direction.

        ``direction`` is (3, 3): column k is the LPS unit vector along which
        index axis k of (z, y, x) runs. The default is an axial LPS volume.
        """
        default = np.eye(3)[:, ::-1]
        d = default if direction is None else np.asarray(direction, float).reshape(3, 3)
        affine = np.eye(4)
        affine[:3, :3] = d * np.asarray(spacing, float)
        affine[:3, 3] = origin
        return cls(_index3(shape), affine, unit)

    @classmethod
    def from_ijk_to_lps(
        cls, shape: Iterable[int], matrix: npt.ArrayLike, unit: Unit = "millimeter"
    ) -> Geometry:
        """Build from an (i, j, k) = (x, y, z) index to LPS matrix (ITK's frame)."""
        return cls(_index3(shape), np.asarray(matrix, float) @ _REVERSE, unit)

    @classmethod
    def from_ijk_to_ras(
        cls, shape: Iterable[int], matrix: npt.ArrayLike, unit: Unit = "millimeter"
    ) -> Geometry:
        """Build from an (i, j, k) index to RAS matrix (NIfTI's and Slicer's frame)."""
        return cls.from_ijk_to_lps(shape, _LPS_TO_RAS @ np.asarray(matrix, float), unit)

    # --------------------------------------------------------------- reading
    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x), in `unit`."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def direction(self) -> Float64:
        """(3, 3) unit LPS vectors of the (z, y, x) index axes, as columns."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing))

    @property
    def origin(self) -> tuple[float, float, float]:
        """World position (LPS x, y, z) of the centre of voxel (0, 0, 0)."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def ijk_to_lps(self) -> Float64:
        """(4, 4) matrix from (i, j, k) = (x, y, z) index to LPS world."""
        return self.affine @ _REVERSE

    @property
    def ijk_to_ras(self) -> Float64:
        """(4, 4) matrix from (i, j, k) index to RAS world, as NIfTI and Slicer write it."""
        return _LPS_TO_RAS @ self.ijk_to_lps

    @property
    def region(self) -> Region:
        """The whole grid as a `Region`."""
        return Region.whole(self.shape)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in cubic `unit` (right for sheared grids too)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def is_sheared(self) -> bool:
        """Whether the index axes are not at right angles."""
        gram = self.direction.T @ self.direction
        return bool(np.abs(gram - np.eye(3)).max() > 1e-4)

    @property
    def is_oblique(self) -> bool:
        """Whether some index axis is not along an anatomical axis."""
        return bool(np.abs(np.abs(self.direction).max(axis=0) - 1).max() > 1e-4)

    @property
    def codes(self) -> str:
        """Anatomical direction of growing (z, y, x) index, e.g. ``"SPL"`` for an LPS file."""
        axes, signs = _closest_axes(self.direction)
        letters = ("LR", "PA", "SI")
        return "".join(letters[a][0 if s > 0 else 1] for a, s in zip(axes, signs, strict=True))

    def almost_equal(self, other: Geometry, tolerance: float = 1e-6) -> bool:
        """Whether shape and unit are the same and the corners lie within ``tolerance``."""
        if self.shape != other.shape or self.unit != other.unit:
            return False
        return bool(np.abs(self.corners() - other.corners()).max() <= tolerance)

    def corners(self) -> Float64:
        """World positions (8, 3) of the centres of the corner voxels."""
        last = [n - 1 for n in self.shape]
        grid = np.array(list(product(*((0, n) for n in last))))
        return self.index_to_world(grid)

    # ------------------------------------------------------------ converting
    def index_to_world(self, points: npt.ArrayLike) -> Float64:
        """Take continuous indices (..., 3) in (z, y, x) to LPS world (..., 3) in (x, y, z)."""
        p = np.asarray(points, np.float64)
        return p @ self.affine[:3, :3].T + self.affine[:3, 3]

    def world_to_index(self, points: npt.ArrayLike) -> Float64:
        """Take LPS world (..., 3) in (x, y, z) to continuous indices (..., 3) in (z, y, x)."""
        p = np.asarray(points, np.float64)
        return (p - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def contains(self, points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether continuous indices (..., 3) lie in the grid, half a voxel of border included."""
        p = np.asarray(points, np.float64)
        inside = (p >= -0.5) & (p < np.asarray(self.shape) - 0.5)
        return np.asarray(inside.all(axis=-1))

    def crop(self, region: Region) -> Geometry:
        """Return the geometry of a crop; ``region`` may stick out of the grid."""
        affine = self.affine.copy()
        affine[:3, 3] = self.index_to_world(region.start)
        return Geometry(region.shape, affine, self.unit)

    def resized(self, shape: Iterable[int]) -> Geometry:
        """Return a grid of ``shape`` over the same field of view (outer voxel edges kept)."""
        new = _index3(shape)
        factor = np.asarray(self.shape, float) / np.asarray(new, float)
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * factor
        affine[:3, 3] = self.index_to_world((factor - 1) / 2)
        return Geometry(new, affine, self.unit)

    def reorientation(self, codes: str = "SAR") -> Reorientation:
        """Return the permutation and flips that bring the grid closest to ``codes``.

        ``codes`` names the direction of growing (z, y, x) index; ``"SAR"`` is
        what nibabel calls RAS+ in its (x, y, z) order.
        """
        wanted = [_LPS_VECTORS[c] for c in codes]
        if sorted(axis for axis, _ in wanted) != [0, 1, 2]:
            raise InputError(f"{codes!r} does not name three different anatomical axes.")
        axes, signs = _closest_axes(self.direction)
        order = _index3(axes.index(world) for world, _ in wanted)
        flips = tuple(signs[k] != sign for k, (_, sign) in zip(order, wanted, strict=True))
        return Reorientation(self, order, (flips[0], flips[1], flips[2]))

    # ------------------------------------------------------------------ JSON
    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` restores exactly."""
        return {"shape": list(self.shape), "affine": self.affine.tolist(), "unit": self.unit}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Geometry:
        """Rebuild a geometry written by `to_json`."""
        return cls(_index3(data["shape"]), np.asarray(data["affine"], float), data["unit"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        same = self.shape == other.shape and self.unit == other.unit
        return same and bool(np.array_equal(self.affine, other.affine))

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes(), self.unit))


@dataclass(frozen=True)
class Reorientation:
    """A permutation of axes followed by flips; exact both ways.

    Attributes
    ----------
    source
        Geometry before.
    order
        New axis k is old axis ``order[k]``.
    flips
        Whether new axis k runs backwards.
    """

    source: Geometry
    order: Index3
    flips: tuple[bool, bool, bool]

    @property
    def geometry(self) -> Geometry:
        """Geometry after."""
        shape = _index3(self.source.shape[k] for k in self.order)
        affine = self.source.affine.copy()
        affine[:3, :3] = self.source.affine[:3, list(self.order)]
        for axis, flip in enumerate(self.flips):
            if flip:
                affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
                affine[:3, axis] *= -1
        return Geometry(shape, affine, self.source.unit)

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of ``array`` (source grid) in the new orientation."""
        return np.transpose(array, self.order)[self._steps]

    def undo(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a view of ``array`` (new grid) back in the source orientation."""
        return np.transpose(array[self._steps], np.argsort(self.order))

    def region(self, region: Region) -> Region:
        """Take a region of the source grid to the new grid."""
        shape = self.source.shape
        start, stop = [], []
        for old, flip in zip(self.order, self.flips, strict=True):
            a, b = region.start[old], region.stop[old]
            start.append(shape[old] - b if flip else a)
            stop.append(shape[old] - a if flip else b)
        return Region(_index3(start), _index3(stop))

    @property
    def _steps(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(None, None, -1 if f else 1) for f in self.flips)
        return z, y, x


def _closest_axes(direction: Float64) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Assign each index axis its own world axis, best total alignment first."""
    weight = np.abs(direction)
    best = max(permutations(range(3)), key=lambda p: sum(weight[p[k], k] for k in range(3)))
    signs = tuple(1.0 if direction[best[k], k] >= 0 else -1.0 for k in range(3))
    return best, signs
