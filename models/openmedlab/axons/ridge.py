"""The ridge filter: axons without PyTorch, exact for blocks with their halo.

Frangi A. et al., Multiscale vessel enhancement filtering, MICCAI 1998, on the square root of
the grey values at two scales. What the filter takes from the image as a whole (its largest
Hessian norm and a percentile of the response) is measured once per volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.axons.statistics import ArrayLike, VolumeStatistics, measure, sample_boxes
from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress

SIGMAS = (1.0, 2.0)
PERCENT = 99.2
HALO = 22  # twice the truncated kernel of the wider Gaussian's derivative
WHOLE = 2**22
SAMPLE = 2**21
SAMPLE_SIDE = 64
SAMPLE_HALO = 8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RidgeSegmenter:
    """Ridge response as a probability: 0.5 at the volume's response percentile.

    Attributes
    ----------
    gamma
        Frangi's third parameter: half the volume's largest Hessian norm at the finer scale.
    level
        The response that counts as certain enough to begin an axon.
    """

    gamma: float
    level: float

    halo = (HALO, HALO, HALO)
    alignment = (1, 1, 1)

    @classmethod
    def of(cls, statistics: VolumeStatistics) -> RidgeSegmenter:
        """Make it from what `measure_ridge` measured.

        Raises
        ------
        InputError
            The statistics were measured for another method.
        """
        if len(statistics.responses) != 2:
            raise InputError("These statistics were not measured for the ridge filter.")
        return cls(*statistics.responses)

    def is_empty(self, block: npt.NDArray[Any]) -> bool:
        """Tell cheaply that this block, given without halo, would come out all zero."""
        return not block.any()

    def segment_block(self, block: npt.NDArray[Any], halo: tuple[int, int, int]) -> Floats:
        """Return response / (response + level) of the block without its halo; 0 on zeros."""
        inner = tuple(slice(h, n - h) for h, n in zip(halo, block.shape, strict=True))
        found = _response(_root(block), self.gamma)[inner]
        found[block[inner] == 0] = 0
        return np.asarray(found / (found + self.level), np.float32)


def measure_ridge(
    array: ArrayLike, progress: Progress | None = None, cancel: CancelToken | None = None
) -> VolumeStatistics:
    """Measure a volume (z, y, x) for the ridge filter: grey values and responses.

    Up to 4 million voxels every response counts; of larger volumes those in evenly spread
    boxes of 64 voxels a side, about 2 million.

    Raises
    ------
    InputError
        The volume is empty, not three-dimensional or not of numbers.
    Cancelled
        ``cancel`` was raised between two boxes.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    statistics = measure(array, progress, cancel)
    count = len(_boxes(array.shape))

    def told(first: int) -> Iterator[tuple[Floats, tuple[slice, ...]]]:
        for done, box in enumerate(_boxes(array.shape)):
            cancel.check()
            yield _read(array, box)
            progress.report(first + done + 1, 2 * count, "Measuring ridges")

    norms = [float(_norm(image)[inner].max()) for image, inner in told(0)]
    gamma = max(norms) / 2 or 1.0
    responses = [_response(image, gamma)[inner].ravel() for image, inner in told(count)]
    level = float(np.percentile(np.concatenate(responses), PERCENT))
    return replace(statistics, responses=(gamma, max(level, 1e-30)))


def _boxes(shape: tuple[int, ...]) -> list[tuple[slice, slice, slice]]:
    if np.prod(shape) <= WHOLE:
        return sample_boxes(shape, WHOLE, max(shape))
    return sample_boxes(shape, SAMPLE, SAMPLE_SIDE)


def _read(array: ArrayLike, box: tuple[slice, ...]) -> tuple[Floats, tuple[slice, ...]]:
    """Return roots of the grey values around a box, and where in them the box lies."""
    spans = [s.indices(n)[:2] for s, n in zip(box, array.shape, strict=True)]
    wide = tuple(slice(max(0, a - SAMPLE_HALO), b + SAMPLE_HALO) for a, b in spans)
    inner = tuple(slice(a - s.start, b - s.start) for (a, b), s in zip(spans, wide, strict=True))
    return _root(np.asarray(array[wide])), inner


def _root(raw: npt.NDArray[Any]) -> Floats:
    return np.sqrt(np.maximum(raw.astype(np.float32), 0))


def _response(image: Floats, gamma: float) -> Floats:
    from skimage.filters import frangi

    found = frangi(image, SIGMAS, gamma=gamma, black_ridges=False, mode="nearest")
    return np.asarray(found, np.float32)


def _norm(image: Floats) -> Floats:
    """Return the Hessian's Frobenius norm at the finer scale, as `frangi` takes it."""
    from skimage.feature import hessian_matrix

    zz, zy, zx, yy, yx, xx = hessian_matrix(
        image, SIGMAS[0], mode="nearest", use_gaussian_derivatives=True
    )
    return np.asarray(np.sqrt(zz**2 + yy**2 + xx**2 + 2 * (zy**2 + zx**2 + yx**2)))
