"""Prompt values: what a user said about one object, in index coordinates.

Coordinates are continuous (z, y, x) indices of the image's grid: integer values
are voxel centres. Prompts are frozen and hold plain tuples, so they can be
listed, compared, moved (replaced), saved and replayed.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import PromptError
from openmedlab.core.geometry import Geometry
from openmedlab.core.region import Region, _index3

Position = tuple[float, float, float]
EXTREME_STEPS = ("first z", "last z", "first y", "last y", "first x", "last x")


def _position(values: Iterable[float], what: str) -> Position:
    numbers = tuple(float(v) for v in values)
    if len(numbers) != 3:
        raise PromptError(f"{what} needs three coordinates (z, y, x), not {len(numbers)}.")
    if not np.isfinite(numbers).all():
        raise PromptError(f"{what} has a coordinate that is not a number: {numbers}.")
    return numbers


def _positions(values: Iterable[Iterable[float]], what: str) -> tuple[Position, ...]:
    return tuple(_position(v, what) for v in values)


@dataclass(frozen=True)
class Prompt:
    """Base of all prompts. `kind` is the word used in files, messages and capabilities."""

    kind: ClassVar[str] = ""

    def positions(self) -> npt.NDArray[np.float64]:
        """Return the coordinates (N, 3) that must lie inside the volume."""
        return np.empty((0, 3))

    def check(self, geometry: Geometry) -> None:
        """Raise `PromptError` when the prompt does not lie inside ``geometry``."""
        points = self.positions()
        outside = ~geometry.contains(points) if len(points) else np.zeros(0, bool)
        if outside.any():
            where = ", ".join(f"{v:g}" for v in points[outside][0])
            raise PromptError(
                f"The {self.kind} at (z, y, x) = ({where}) lies outside the volume of "
                f"{geometry.shape} voxels; place it on the image."
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `prompt_from_json` restores exactly."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class Point(Prompt):
    """A click: this voxel is in the object (positive) or not."""

    position: Position
    positive: bool = True
    kind: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        object.__setattr__(self, "position", _position(self.position, "A point"))

    def positions(self) -> npt.NDArray[np.float64]:
        return np.array([self.position])


@dataclass(frozen=True)
class Box(Prompt):
    """A box whose faces pass through the centres of its first and last voxels.

    ``lower == upper`` along one axis makes it a flat (2D) box: a rectangle drawn
    on that slice of an object that extends beyond it.
    """

    lower: Position
    upper: Position
    positive: bool = True
    kind: ClassVar[str] = "box"

    def __post_init__(self) -> None:
        a, b = _position(self.lower, "A box"), _position(self.upper, "A box")
        low, high = np.minimum(a, b), np.maximum(a, b)
        object.__setattr__(self, "lower", _position(low, "A box"))
        object.__setattr__(self, "upper", _position(high, "A box"))
        if sum(n > 1 for n in self.region.shape) < 2:
            raise PromptError("The box is thinner than two voxels on two axes; draw a larger one.")

    @property
    def region(self) -> Region:
        """The voxels inside, as a half-open region."""
        return Region.around([self.lower, self.upper])

    @property
    def flat_axis(self) -> int | None:
        """The axis on which the box is one slice thick, or None for a 3D box."""
        thin = [k for k, n in enumerate(self.region.shape) if n == 1]
        return thin[0] if thin else None

    def positions(self) -> npt.NDArray[np.float64]:
        return np.array([self.lower, self.upper])


@dataclass(frozen=True)
class Scribble(Prompt):
    """Voxels a stroke passed over, all of them in the object (positive) or not."""

    points: tuple[Position, ...]
    positive: bool = True
    kind: ClassVar[str] = "scribble"

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _positions(self.points, "A scribble"))
        if not self.points:
            raise PromptError("The scribble is empty; draw at least one voxel.")

    @classmethod
    def from_path(cls, vertices: npt.ArrayLike, positive: bool = True) -> Scribble:
        """Make a scribble of every voxel along a polyline (N, 3)."""
        path = np.asarray(vertices, float).reshape(-1, 3)
        if not np.isfinite(path).all():
            raise PromptError("The scribble has a coordinate that is not a number.")
        steps = [path[:1]]
        for a, b in pairwise(path):
            n = max(1, int(np.ceil(np.abs(b - a).max() * 2)))
            steps.append(a + (b - a) * (np.arange(1, n + 1) / n)[:, None])
        voxels = np.rint(np.concatenate(steps)) if len(path) else path
        unique = list(dict.fromkeys(map(tuple, voxels.tolist())))
        return cls(tuple(unique), positive)

    def positions(self) -> npt.NDArray[np.float64]:
        return np.array(self.points)


@dataclass(frozen=True)
class Lasso(Prompt):
    """A closed outline on one slice; its inside is in the object (positive) or not."""

    vertices: tuple[Position, ...]
    positive: bool = True
    kind: ClassVar[str] = "lasso"

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", _positions(self.vertices, "A lasso"))
        if len(self.vertices) < 3:
            raise PromptError("The lasso needs at least three corners.")
        if self._flat_axis() is None:
            raise PromptError("The lasso must lie on one slice of the volume.")

    def _flat_axis(self) -> int | None:
        spread = np.ptp(np.rint(self.positions()), axis=0)
        flat = np.flatnonzero(spread == 0)
        return int(flat[0]) if flat.size else None

    @property
    def axis(self) -> int:
        """The axis across the slice the outline lies on."""
        axis = self._flat_axis()
        assert axis is not None
        return axis

    def positions(self) -> npt.NDArray[np.float64]:
        return np.array(self.vertices)


@dataclass(frozen=True)
class ExtremePoints(Prompt):
    """Six points on the object's surface: its first and last voxel along each axis.

    The order of the points does not matter; `steps` names them when a guide asks.
    """

    points: tuple[Position, ...]
    kind: ClassVar[str] = "extreme points"

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _positions(self.points, "An extreme point"))
        if len(self.points) != 6:
            raise PromptError(
                "Extreme points come in sixes (first and last along each axis); "
                f"{len(self.points)} were given."
            )

    @property
    def box(self) -> Box:
        """The box the six points span."""
        points = self.positions()
        return Box(tuple(points.min(0)), tuple(points.max(0)))

    def positions(self) -> npt.NDArray[np.float64]:
        return np.array(self.points)


@dataclass(frozen=True)
class MaskPrompt(Prompt):
    """An existing mask to start from: hand-drawn, imported, or an AI mask edited by brush.

    It supersedes the prompts before it in an object's list except that clicked
    voxels it agrees with stay fixed; the prompts after it refine it. A ``trusted`` one is
    right but for what they point at: each changes it near itself only.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    bits: bytes
    trusted: bool = False
    kind: ClassVar[str] = "mask"

    @classmethod
    def from_array(cls, mask: npt.NDArray[Any], start: Iterable[int] = (0, 0, 0)) -> MaskPrompt:
        """Make from a boolean crop whose first voxel is ``start``; trimmed to its true voxels."""
        solid = np.asarray(mask) != 0
        box = Region.of_mask(solid)
        if box is None:
            raise PromptError("The mask given as a prompt is empty.")
        placed = box.shifted(start)
        bits = np.packbits(solid[box.slices]).tobytes()
        return cls(placed.start, placed.stop, zlib.compress(bits, 1))

    @property
    def region(self) -> Region:
        """Where the mask lies."""
        return Region(self.start, self.stop)

    def array(self, region: Region | None = None) -> npt.NDArray[np.bool_]:
        """Return the mask on ``region`` (default: its own box)."""
        own = self.region
        flat = np.unpackbits(np.frombuffer(zlib.decompress(self.bits), np.uint8), count=own.size)
        mask = flat.astype(bool).reshape(own.shape)
        if region is None:
            return mask
        out = np.zeros(region.shape, bool)
        common = own.intersection(region)
        if common:
            out[common.relative_to(region).slices] = mask[common.relative_to(own).slices]
        return out

    def positions(self) -> npt.NDArray[np.float64]:
        return np.array([self.start, [n - 1 for n in self.stop]], float)

    def to_json(self) -> dict[str, Any]:
        bits = base64.b64encode(self.bits).decode("ascii")
        return {**super().to_json(), "bits": bits}


@dataclass(frozen=True)
class ClassName(Prompt):
    """The name of a structure, for models that know it (``"liver"``)."""

    name: str
    kind: ClassVar[str] = "class name"


KINDS: dict[str, type[Prompt]] = {
    c.kind: c for c in (Point, Box, Scribble, Lasso, ExtremePoints, MaskPrompt, ClassName)
}


def prompt_from_json(data: dict[str, Any]) -> Prompt:
    """Rebuild a prompt written by `Prompt.to_json`.

    Raises
    ------
    PromptError
        The kind is unknown, a field is missing, or a value is not usable.
    """
    kind = KINDS.get(str(data.get("kind")))
    if kind is None:
        known = ", ".join(KINDS)
        raise PromptError(f"{data.get('kind')!r} is not a kind of prompt; known: {known}.")
    values = {f.name: data[f.name] for f in fields(kind) if f.name in data}
    if kind is MaskPrompt:
        values["bits"] = base64.b64decode(values["bits"])
        values["start"], values["stop"] = _index3(values["start"]), _index3(values["stop"])
    try:
        return kind(**values)
    except TypeError as error:
        raise PromptError(f"The {kind.kind} lacks a value: {error}.") from error
