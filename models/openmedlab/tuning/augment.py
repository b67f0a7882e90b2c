"""Windows turned, scaled, mirrored, brightened and made noisy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

TURN = math.radians(10)
SCALE = 0.1
SIDED = re.compile(r"(^|[^a-z])(left|right|l|r)([^a-z]|$)", re.IGNORECASE)
UNNAMED = re.compile(r"(label|segment|class)?[ _]?\d+", re.IGNORECASE)


def may_mirror(names: Sequence[str]) -> bool:
    """Whether a mirrored body keeps its labels: none has a side, or may have one unsaid.

    Of several labels without a name (``label_3``) two may be a left and a right.
    """
    unnamed = [name for name in names if UNNAMED.fullmatch(name)]
    return len(unnamed) < 2 and not any(SIDED.search(name) for name in names)


def augment(
    random: np.random.Generator, image: Tensor, label: Tensor, mirror: bool
) -> tuple[Tensor, Tensor]:
    """Return a changed copy of a window.

    Parameters
    ----------
    random
        All chances come from it.
    image, label
        (z, y, x) of one shape, float32 in units of about one deviation, and whole numbers.
    mirror
        Whether left may become right.
    """
    if random.random() < 0.5:
        image, label = _turned(random, image, label)
    if mirror:
        axes = [axis for axis in range(3) if random.random() < 0.5]
        image, label = image.flip(axes), label.flip(axes)
    image = image * float(random.uniform(0.85, 1.15)) + float(random.normal(0, 0.1))
    if random.random() < 0.3:
        noise = torch.from_numpy(random.standard_normal(image.shape, np.float32))
        image = image + noise.to(image.device) * float(random.uniform(0, 0.15))
    return image, label


def _turned(random: np.random.Generator, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return both turned about all axes and scaled, about the window's middle."""
    matrix = np.eye(3)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        angle, turn = random.uniform(-TURN, TURN), np.eye(3)
        turn[[first, second], [first, second]] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    matrix *= random.uniform(1 - SCALE, 1 + SCALE)
    sides = np.array(image.shape[::-1], float)
    theta = torch.from_numpy(np.c_[matrix * sides / sides[:, None], np.zeros(3)]).float()[None]
    grid = functional.affine_grid(theta, [1, 1, *image.shape], align_corners=False)
    grid = grid.to(image.device)

    def sampled(values: Tensor, mode: str) -> Tensor:
        found = functional.grid_sample(
            values[None, None].float(), grid, mode, padding_mode="border", align_corners=False
        )
        return found[0, 0]

    return sampled(image, "bilinear"), sampled(label, "nearest").to(label.dtype)
