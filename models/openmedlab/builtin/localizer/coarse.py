"""Where one scan lies over another: all translations at once, the fields of view counted in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from openmedlab.builtin.localizer.scan import Scan

WINDOW = (-200.0, 250.0)
LEAST_OVERLAP = 0.25
APART = 3
FLATTEST = 25.0

Array = npt.NDArray[np.float64]


def likely_shifts(
    template: Scan, query: Scan, count: int
) -> list[tuple[float, npt.NDArray[np.float64]]]:
    """Return the ``count`` best translations of ``template`` onto ``query``, best first.

    Normalised cross-correlation over the voxels both scans see, by FFT (D. Padfield,
    IEEE TIP 2012, "Masked object registration in the Fourier domain"), weighed by the
    root of how much they share, against the most they could.

    Returns
    -------
    list of (float, ndarray)
        Score -1..1, and the shift (z, y, x) in mm of world coordinates.
    """
    score = _scores(template, query)
    size, limits = np.asarray(score.shape), np.asarray(query.image.shape)
    found = []
    for _ in range(count):
        best = np.array(np.unravel_index(int(np.argmax(score)), score.shape))
        value = float(score[tuple(best)])
        if value <= -1:
            break
        shift = np.where(best < limits, best, best - size)
        found.append((value, shift * query.step + query.origin - template.origin))
        near = [np.arange(b - APART, b + APART + 1) % n for b, n in zip(best, size, strict=True)]
        score[np.ix_(*near)] = -1
    return found


def _scores(template: Scan, query: Scan) -> Array:
    """Return the score of every cyclic shift in voxels; -1 where too little is covered."""
    shapes = zip(template.image.shape, query.image.shape, strict=True)
    size = [fft.next_fast_len(a + b - 1, real=True) for a, b in shapes]

    def forward(x: Array) -> Array:
        return np.asarray(fft.rfftn(x, size))

    def together(a: Array, b: Array) -> Array:
        return np.asarray(fft.irfftn(np.conj(a) * b, size))

    a, b = (np.clip(s.image, *WINDOW).astype(np.float64) for s in (template, query))
    seen_a, seen_b = template.seen.astype(np.float64), query.seen.astype(np.float64)
    a, b = (a - a.mean()) * seen_a, (b - b.mean()) * seen_b
    ma, mb, fa, fb = (forward(x) for x in (seen_a, seen_b, a, b))
    common = np.maximum(together(ma, mb), 1e-3)
    sum_a, sum_b = together(fa, mb), together(ma, fb)
    product = together(fa, fb) - sum_a * sum_b / common
    spread_a = np.maximum(together(forward(a * a), mb) - sum_a**2 / common, 0)
    spread_b = np.maximum(together(ma, forward(b * b)) - sum_b**2 / common, 0)
    floor = FLATTEST**2 * common
    score = product / np.sqrt(np.maximum(spread_a, floor) * np.maximum(spread_b, floor))
    covered = np.clip(common / common.max(), 0, 1)
    return np.where(covered >= LEAST_OVERLAP, score * np.sqrt(covered), -1.0)
