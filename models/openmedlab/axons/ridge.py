"""The ridge filter: axons without PyTorch, exact for blocks with their halo.

Frangi A. et al., Multiscale vessel enhancement filtering, MICCAI 1998, on the square root of
the grey values at two scales. What the filter takes from the image as a whole (its largest
Hessian norm and a percentile of the response) is measured once per volume.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.axons.statistics import (
    ArrayLike,
    Each,
    VolumeStatistics,
    each_here,
    measure,
    sample,
)
from openmedlab.blocks.grid import BlockGrid
from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.region import Region

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
    array: ArrayLike,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    *,
    each: Each = each_here,
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
    told: Any = {"progress": progress, "cancel": cancel}
    statistics = measure(array, each=each, **told)
    grid, boxes = _sampled(array.shape)
    norms = each("Measuring edges", _largest_norm, array, grid, boxes, **told)
    gamma = max(norms) / 2 or 1.0
    found = each("Measuring ridges", partial(_responses, gamma), array, grid, boxes, **told)
    level = float(np.percentile(np.concatenate(list(found)), PERCENT))
    return replace(statistics, responses=(gamma, max(level, 1e-30)))


def _sampled(shape: tuple[int, ...]) -> tuple[BlockGrid, list[int]]:
    if np.prod(shape) <= WHOLE:
        return sample(shape, WHOLE, max(shape))
    return sample(shape, SAMPLE, SAMPLE_SIDE)


def _largest_norm(array: ArrayLike, box: Region) -> float:
    image, inner = _read(array, box)
    return float(_norm(image)[inner.slices].max())


def _responses(gamma: float, array: ArrayLike, box: Region) -> Floats:
    image, inner = _read(array, box)
    return _response(image, gamma)[inner.slices].ravel()


def _read(array: ArrayLike, box: Region) -> tuple[Floats, Region]:
    """Return roots of the grey values around a box, and where in them the box lies."""
    wide = box.padded((SAMPLE_HALO,) * 3).clipped(array.shape)
    return _root(np.asarray(array[wide.slices])), box.relative_to(wide)


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
