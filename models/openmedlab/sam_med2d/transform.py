"""Images and prompts in and out of SAM-Med2D's 256 x 256 frame (the interactive predictor)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.sam_med2d.network import SIZE

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)

Array = npt.NDArray[Any]


def normalised(image: Array) -> npt.NDArray[np.float32]:
    """Bring (h, w, 3) RGB of 0..255 to the scale the network was trained on."""
    return np.asarray((image.astype(np.float32) - MEAN) / DEVIATION)


def to_input(image: Array) -> Tensor:
    """Turn an RGB image (h, w, 3) of 0..255 into the network's input (1, 3, 256, 256).

    Nearest neighbour, aspect ratio not kept.
    """
    rows, columns = (np.arange(SIZE) * n // SIZE for n in image.shape[:2])
    picked = normalised(image[rows[:, None], columns])
    return torch.from_numpy(np.ascontiguousarray(picked.transpose(2, 0, 1)))[None]


def to_frame(points: Array, shape: tuple[int, int]) -> Tensor:
    """Scale (..., 2) pixels (x, y) of an image of ``shape`` (h, w) to the 256 frame."""
    height, width = shape
    scaled = np.asarray(points, float) * (SIZE / width, SIZE / height)
    return torch.from_numpy(scaled.astype(np.float32))


def to_image(low: Tensor, shape: tuple[int, int]) -> Tensor:
    """Bring logits (B, C, 64, 64) to an image of ``shape`` (h, w), bilinearly in two steps."""
    middle = functional.interpolate(low, (SIZE, SIZE), mode="bilinear", align_corners=False)
    return functional.interpolate(middle, shape, mode="bilinear", align_corners=False)
