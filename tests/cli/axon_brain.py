"""A tiny light-sheet volume with two straight axons."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def brain() -> np.ndarray:
    image = np.zeros((32, 48, 80), np.float32)
    image[10, 14, 5:75] = 1
    image[22, 34, 5:75] = 1
    image = ndimage.gaussian_filter(image, (0.7, 1, 1))
    noise = np.random.default_rng(0).normal(500, 10, image.shape)
    return (image / image.max() * 8000 + noise).astype(np.uint16)
