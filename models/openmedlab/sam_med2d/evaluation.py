"""What SAM-Med2D's evaluation script does before and after the network (its README's numbers)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from openmedlab.sam_med2d.network import SIZE
from openmedlab.sam_med2d.transform import normalised, to_image, to_input

Array = npt.NDArray[Any]


def is_small(shape: tuple[int, int]) -> bool:
    """Whether both sides are below 256, so that the image is padded and not resized."""
    return max(shape) < SIZE


def padded_input(image: Array) -> Tensor:
    """Return the input (1, 3, 256, 256) of an image (h, w, 3): centred if small, else resized."""
    height, width = image.shape[:2]
    if not is_small((height, width)):
        return to_input(image)
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    whole = torch.from_numpy(normalised(image).transpose(2, 0, 1))[None]
    return functional.pad(whole, (left, SIZE - width - left, top, SIZE - height - top))


def unpadded(low: Tensor, shape: tuple[int, int]) -> Tensor:
    """Bring logits (1, 1, 64, 64) back to an image of ``shape``."""
    if not is_small(shape):
        return to_image(low, shape)
    frame = functional.interpolate(low, (SIZE, SIZE), mode="bilinear", align_corners=False)
    top, left = (SIZE - shape[0]) // 2, (SIZE - shape[1]) // 2
    return frame[..., top : top + shape[0], left : left + shape[1]]


def box_of_mask(mask: Array) -> npt.NDArray[np.float32]:
    """Return (1, 4) x0, y0, x1, y1 of the largest 8-connected part; maxima are half-open."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    rows, columns = ndimage.find_objects(parts)[int(sizes.argmax())]
    box = [[columns.start, rows.start, columns.stop, rows.stop]]
    return np.asarray(box, np.float32)


def draw_clicks(
    mask: Array,
    target: Array,
    count: int,
    stream: np.random.RandomState,
) -> tuple[Array, Array]:
    """Draw clicks uniformly from the wrong pixels of (h, w) masks.

    Returns
    -------
    points, labels
        (count, 2) as (x, y); 1 where the pixel was missed, 0 where it was too much,
        -1 where there was no error to click on.
    """
    wrong = np.argwhere(mask != target)
    if len(wrong) == 0:
        wrong = stream.randint(0, SIZE, size=(count, 2))
    places = wrong[stream.choice(len(wrong), count, replace=True)]
    row, column = places.T
    missed, excess = (target > mask)[row, column], (mask > target)[row, column]
    labels = np.where(missed, 1, np.where(excess, 0, -1))
    return places[:, ::-1], labels
