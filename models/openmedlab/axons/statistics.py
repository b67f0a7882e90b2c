"""Grey-value statistics of a whole volume, measured once, the same for any way of cutting it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress

PERCENTS = (0.1, 0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9)
BOX = 128
WHOLE = 2**30


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


def measure(
    array: ArrayLike,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    whole: int = WHOLE,
) -> VolumeStatistics:
    """Return the statistics of a volume (z, y, x) of any size.

    Up to ``whole`` voxels everything is read; of larger volumes an evenly spread share of
    the boxes of 128 voxels a side, so that about ``whole`` voxels are read. Neither depends
    on how the volume is stored or cut into blocks.

    Raises
    ------
    InputError
        The volume is empty, not three-dimensional or not of numbers.
    Cancelled
        ``cancel`` was raised between two boxes.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    if len(array.shape) != 3 or not np.prod(array.shape):
        raise InputError(f"A volume (z, y, x) is needed, not an array of shape {array.shape}.")
    boxes = sample_boxes(array.shape, whole)

    def read() -> Iterator[npt.NDArray[Any]]:
        for done, box in enumerate(boxes):
            cancel.check()
            yield np.asarray(array[box])
            progress.report(done + 1, len(boxes), "Measuring grey values")

    return measure_blocks(read())


def sample_boxes(
    shape: tuple[int, ...], whole: int, side: int = BOX
) -> list[tuple[slice, slice, slice]]:
    """Return boxes of ``side`` voxels that hold about ``whole`` voxels: all, or an even share."""
    starts = list(product(*(range(0, n, side) for n in shape)))
    wanted = max(1, round(len(starts) * min(1.0, whole / float(np.prod(shape)))))
    chosen = np.unique(np.linspace(0, len(starts) - 1, wanted).round().astype(int))
    return [
        (slice(z, z + side), slice(y, y + side), slice(x, x + side))
        for z, y, x in (starts[k] for k in chosen)
    ]


def measure_blocks(blocks: Iterable[npt.NDArray[Any]]) -> VolumeStatistics:
    """Return the statistics of all voxels in ``blocks``, whatever their sizes and order.

    8- and 16-bit integers are counted exactly; other numbers in steps of 1/4096 of their size.
    """
    counts: npt.NDArray[np.int64] | None = None
    values: npt.NDArray[np.float64]
    for block in blocks:
        if counts is None:
            values = _bins(block.dtype)
            counts = np.zeros(values.size, np.int64)
        counts += np.bincount(_keys(block).ravel(), minlength=counts.size)
    if counts is None or not counts.sum():
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
    if dtype.kind not in "uif":
        raise InputError(f"A volume of grey values is needed, not of {dtype}.")
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
