"""Images and prompts in and out of SAM's 1024 x 1024 frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.sam.network import SIZE

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)

Array = npt.NDArray[Any]
Shape = tuple[int, int]


def resized_shape(shape: Shape) -> Shape:
    """Return (h, w) scaled so that the long side has 1024 pixels."""
    scale = SIZE / max(shape)
    return int(shape[0] * scale + 0.5), int(shape[1] * scale + 0.5)


def resized(image: npt.NDArray[np.uint8]) -> Tensor:
    """Resize (h, w, 3) uint8 to (1, 3, h2, w2) uint8 as Pillow does.

    Bilinear, antialiased when shrinking; rows first, then columns, each rounded to whole levels.
    """
    height, width = resized_shape(image.shape[:2])
    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].double()
    for size in ((x.shape[-2], width), (height, width)):
        x = functional.interpolate(x, size, mode="bilinear", antialias=True).add_(0.5).floor_()
    return x.to(torch.uint8)


def to_input(image: npt.NDArray[np.uint8]) -> Tensor:
    """Turn an RGB image (h, w, 3) uint8 into the network's input (1, 3, 1024, 1024)."""
    small = (resized(image).float() - MEAN) / DEVIATION
    return functional.pad(small, (0, SIZE - small.shape[-1], 0, SIZE - small.shape[-2]))


def to_frame(points: Array, shape: Shape) -> Tensor:
    """Scale (..., 2) pixels (x, y) of an image of ``shape`` (h, w) to the 1024 frame."""
    height, width = resized_shape(shape)
    scaled = np.asarray(points, float) * (width / shape[1], height / shape[0])
    return torch.from_numpy(scaled.astype(np.float32))


def to_image(low: Tensor, shape: Shape) -> Tensor:
    """Bring logits (B, C, 256, 256) to an image of ``shape`` (h, w), bilinearly in two steps."""
    height, width = resized_shape(shape)
    frame = functional.interpolate(low, (SIZE, SIZE), mode="bilinear", align_corners=False)
    inside = frame[..., :height, :width]
    return functional.interpolate(inside, shape, mode="bilinear", align_corners=False)
