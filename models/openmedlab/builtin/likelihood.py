"""How much an intensity speaks for the object: histograms of grey value and its surroundings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
BINS = 25


def equalised(image: Float) -> Float:
    """Return ``image`` as its rank, 0..1, so that frequent tissues are told apart best."""
    knots = np.unique(np.percentile(image, np.linspace(0, 100, 65)))
    if len(knots) < 2:
        return np.zeros(image.shape, np.float32)
    return np.interp(image, knots, np.linspace(0, 1, len(knots))).astype(np.float32)


def log_ratio(image: Float, inside: Float, outside: Float, limit: float = 3.5) -> Float:
    """Return the log likelihood ratio of every cell, by weighted 2D histograms.

    Parameters
    ----------
    image
        Values 0..1.
    inside, outside
        Weight of every cell as an example of the object and of the rest.
    """
    from scipy import ndimage as ndi

    around = ndi.gaussian_filter(image, 1.2)
    bins = [np.minimum((f * BINS).astype(np.intp), BINS - 1) for f in (image, around)]
    index = bins[0] * BINS + bins[1]
    logs = []
    for weight in (inside, outside):
        counts = np.bincount(index.ravel(), weight.ravel(), BINS * BINS).reshape(BINS, BINS)
        smooth = ndi.gaussian_filter(counts, 1.0, mode="nearest")
        smooth += 1e-3 * smooth.sum() / smooth.size + 1e-9
        logs.append(np.log(smooth / smooth.sum()))
    ratio = np.clip(logs[0] - logs[1], -limit, limit)
    return ratio.ravel()[index].astype(np.float32)
