"""Grey-value statistics of a whole volume, measured once, the same for any way of cutting it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from openmedlab.blocks.grid import BlockGrid
from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.region import Region, _index3

PERCENTS = (0.1, 0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9)
BOX = 128
WHOLE = 2**30

T = TypeVar("T")


class ArrayLike(Protocol):
    """What can be read in boxes: numpy, zarr, dask, a Volume's data."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class VolumeStatistics:
    """What methods know of a volume besides the block at hand.

    Attributes
    ----------
    count
        Voxels measured.
    minimum, maximum, mean, std
        Of their grey values.
    percentiles
        Grey values at `PERCENTS`.
    responses
        What one method measured for itself (`SegmenterChoice.measure`), as numbers.
    """

    count: int
    minimum: float
    maximum: float
    mean: float
    std: float
    percentiles: tuple[float, ...]
    responses: tuple[float, ...] = ()

    def percentile(self, percent: float) -> float:
        """Return the grey value at one of `PERCENTS`."""
        return self.percentiles[PERCENTS.index(percent)]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers by name, for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Return what `to_json` wrote."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**plain)


Look = Callable[[ArrayLike, Region], T]


class Each(Protocol):
    """Looks at boxes of a volume, here (`each_here`) or by workers (`stages.EachByCrew`)."""

    def __call__(
        self,
        text: str,
        look: Look[T],
        array: ArrayLike,
        grid: BlockGrid,
        boxes: Sequence[int],
        *,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[T]:
        """Yield ``look(array, region)`` of the grid's ``boxes``, in any order."""
        ...


def each_here(
    text: str,
    look: Look[T],
    array: ArrayLike,
    grid: BlockGrid,
    boxes: Sequence[int],
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[T]:
    """Look at one box after the other in this process."""
    progress, cancel = progress or Progress(), cancel or CancelToken()
    for done, index in enumerate(boxes):
        cancel.check()
        yield look(array, grid.region(index))
        progress.report(done + 1, len(boxes), text)


def measure(
    array: ArrayLike,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    *,
    each: Each = each_here,
    whole: int = WHOLE,
) -> VolumeStatistics:
    """Return the statistics of a volume (z, y, x) of any size.

    Up to ``whole`` voxels everything is read; of larger volumes an evenly spread share of
    the boxes of 128 voxels a side, so that about ``whole`` voxels are read. Neither depends
    on how the volume is stored or cut into blocks, nor on who measures.

    Raises
    ------
    InputError
        The volume is empty, not three-dimensional or not of numbers.
    Cancelled
        ``cancel`` was raised between two boxes.
    """
    if len(array.shape) != 3 or not np.prod(array.shape):
        raise InputError(f"A volume (z, y, x) is needed, not an array of shape {array.shape}.")
    grid, boxes = sample(array.shape, whole, BOX)
    told: Any = {"progress": progress, "cancel": cancel}
    return _summed(each("Measuring grey values", _counted, array, grid, boxes, **told))


def sample(shape: Sequence[int], whole: int, side: int) -> tuple[BlockGrid, list[int]]:
    """Return boxes of ``side`` voxels that hold about ``whole`` voxels: all, or an even share."""
    grid = BlockGrid(_index3(shape), (side, side, side))
    wanted = max(1, round(len(grid) * min(1.0, whole / float(np.prod(shape)))))
    return grid, np.unique(np.linspace(0, len(grid) - 1, wanted).round().astype(int)).tolist()


def measure_blocks(blocks: Iterable[npt.NDArray[Any]]) -> VolumeStatistics:
    """Return the statistics of all voxels in ``blocks``, whatever their sizes and order.

    8- and 16-bit integers are counted exactly; other numbers in steps of 1/4096 of their size.
    """
    return _summed(_Counts.of(block) for block in blocks)


@dataclass(frozen=True, eq=False)
class _Counts:
    """The histogram of one block: its bins in use, and how many voxels each has."""

    dtype: np.dtype[Any]
    bins: npt.NDArray[np.intp]
    counts: npt.NDArray[np.intp]

    @classmethod
    def of(cls, block: npt.NDArray[Any]) -> Self:
        if block.dtype.kind not in "uif":
            raise InputError(f"A volume of grey values is needed, not of {block.dtype}.")
        counts = np.bincount(_keys(block).ravel())
        used = np.flatnonzero(counts)
        return cls(block.dtype, used, counts[used])


def _counted(array: ArrayLike, region: Region) -> _Counts:
    return _Counts.of(np.asarray(array[region.slices]))


def _summed(parts: Iterable[_Counts]) -> VolumeStatistics:
    values, counts = np.zeros(0), np.zeros(0, np.int64)
    for part in parts:
        if not counts.size:
            values = _bins(part.dtype)
            counts = np.zeros(values.size, np.int64)
        counts[part.bins] += part.counts
    if not counts.any():
        raise InputError("The volume holds no voxels to measure.")
    return _from_histogram(values, counts)


def _from_histogram(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> VolumeStatistics:
    used = np.flatnonzero(counts)
    values, counts = values[used], counts[used]
    total = int(counts.sum())
    mean = float((values * counts).sum() / total)
    variance = float(((values - mean) ** 2 * counts).sum() / total)
    reached = np.searchsorted(counts.cumsum(), np.array(PERCENTS) / 100 * total)
    return VolumeStatistics(
        total,
        float(values[0]),
        float(values[-1]),
        mean,
        variance**0.5,
        tuple(float(v) for v in values[np.minimum(reached, values.size - 1)]),
    )


def _bins(dtype: np.dtype[Any]) -> npt.NDArray[np.float64]:
    """Return the grey value of every histogram bin of this type."""
    if dtype.kind in "ui" and dtype.itemsize <= 2:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return np.arange(low, high + 1, dtype=np.float64)
    ordered = np.arange(2**21, dtype=np.uint32) << np.uint32(11)
    negative = ordered < np.uint32(2**31)
    bits = np.where(negative, ~ordered & np.uint32(0xFFFFF800), ordered ^ np.uint32(2**31))
    with np.errstate(all="ignore"):
        return bits.view(np.float32).astype(np.float64)


def _keys(block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the histogram bin of every voxel; NaN counts as the lowest value there is."""
    if block.dtype.kind in "ui" and block.dtype.itemsize <= 2:
        return block.astype(np.int64) - int(np.iinfo(block.dtype).min)
    bits = np.nan_to_num(block.astype(np.float32)).view(np.uint32)
    ordered = np.where(bits >= np.uint32(2**31), ~bits, bits ^ np.uint32(2**31))
    return ordered >> np.uint32(11)
