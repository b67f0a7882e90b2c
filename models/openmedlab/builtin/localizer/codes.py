"""64-bit descriptors of a scan's voxels, compared by counting the bits that differ.

Self-similarity (M. Heinrich et al., MICCAI 2013, "Towards realtime multimodal fusion":
MIND-SSC) in steps of a quarter, beside the Hounsfield value in sixteen steps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint64]

NEIGHBOURS = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)])
PAIRS = [
    (a, b)
    for k, a in enumerate(NEIGHBOURS)
    for b in NEIGHBOURS[k + 1 :]
    if np.abs(a - b).sum() == 2 and not (a == -b).all()
]
LEVELS = np.array([0.2, 0.4, 0.6, 0.8], np.float32)
HOUNSFIELD = np.array(
    [-800, -500, -250, -140, -100, -60, -20, 10, 30, 50, 80, 120, 180, 260, 400, 700], np.float32
)


def encode(image: Float) -> Codes:
    """Return the uint64 (z, y, x) codes of an image in Hounsfield units."""
    codes = np.zeros(image.shape, np.uint64)
    bit = 0
    for channel in self_similarity(image):
        for level in LEVELS:
            codes |= (channel > level).astype(np.uint64) << np.uint64(bit)
            bit += 1
    for level in HOUNSFIELD:
        codes |= (image > level).astype(np.uint64) << np.uint64(bit)
        bit += 1
    return codes


def self_similarity(image: Float) -> Float:
    """Return the twelve MIND-SSC channels (12, z, y, x), each 0..1."""
    padded = np.pad(image, 1, mode="edge")
    views = [
        padded[tuple(slice(1 + o, 1 + o + n) for o, n in zip(shift, image.shape, strict=True))]
        for shift in NEIGHBOURS.tolist()
    ]
    index = {tuple(n): k for k, n in enumerate(NEIGHBOURS)}
    distances = np.empty((len(PAIRS), *image.shape), np.float32)
    for k, (a, b) in enumerate(PAIRS):
        difference = views[index[tuple(a)]] - views[index[tuple(b)]]
        ndimage.uniform_filter(difference * difference, 3, output=distances[k], mode="nearest")
    distances -= distances.min(0)
    noise = distances.mean(0)
    middle = float(np.median(noise[noise > 0])) if (noise > 0).any() else 1.0
    np.clip(noise, 0.01 * middle, 100 * middle, out=noise)
    return np.exp(-distances / noise)
