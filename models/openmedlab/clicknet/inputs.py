"""What the network sees: six channels made of a window of the image and the prompts in it."""

from __future__ import annotations

import torch
from torch import Tensor

NEAR, FAR = 1.7, 7.0
MOST_POINTS = 32
LEAST_SPREAD = 0.01


def channels(
    image: Tensor, positive: Tensor, negative: Tensor, box: Tensor | None, proposal: Tensor | None
) -> Tensor:
    """Return the network's input (6, n, n, n).

    1. the image between its darkest and brightest parts, -1..1;
    2. how far every voxel lies above or below the grey value meant by the prompts, in units of
       that grey value's spread, compressed;
    3. the mask that the training-free method proposes, -1 outside and 1 inside, 0 without one;
    4. 5. positive and negative clicks, as bumps;
    6. the box: 1 inside.

    Parameters
    ----------
    image
        Grey values (n, n, n) of any scale.
    positive, negative
        Window coordinates (K, 3) of the clicked voxels, also those of scribbles.
    box
        Lower and upper corner (2, 3), both inside, or None.
    proposal
        Mask (n, n, n) or None.
    """
    image = image.float()
    low, high = _range(image)
    reach = (high - low).clamp(min=1e-6)
    normal = ((image - low) / reach).clamp(0, 1) * 2 - 1
    middle, spread = _meant(image, positive, box)
    unlike = torch.asinh((image - middle) / torch.maximum(spread, LEAST_SPREAD * reach)) / 2
    solid = torch.zeros_like(image)
    if box is not None:
        solid[_inside(box, image.shape[0])] = 1
    proposed = torch.zeros_like(image) if proposal is None else proposal.float() * 2 - 1
    bumps = (_bumps(p, image) for p in (positive, negative))
    return torch.stack([normal, unlike, proposed, *bumps, solid])


def _range(image: Tensor) -> tuple[Tensor, Tensor]:
    few = image[::3, ::3, ::3].flatten().sort().values
    last = len(few) - 1
    return few[int(0.01 * last)], few[int(0.99 * last)]


def _meant(image: Tensor, positive: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the grey value that the prompts mean, and its spread."""
    if box is not None:
        middle, half = box.float().mean(0), (box[1] - box[0]).float() / 4
        few = image[_inside(torch.stack([middle - half, middle + half]), image.shape[0])]
    else:
        few = torch.cat([_ball(image, point) for point in positive[:MOST_POINTS]])
    value = few.median()
    return value, 1.5 * (few - value).abs().median()


def _ball(image: Tensor, point: Tensor) -> Tensor:
    low = (point.round().long() - 1).clamp(0, image.shape[0] - 1).tolist()
    return image[low[0] : low[0] + 3, low[1] : low[1] + 3, low[2] : low[2] + 3].flatten()


def _inside(box: Tensor, side: int) -> tuple[slice, ...]:
    low = box[0].round().long().clamp(0, side - 1).tolist()
    high = box[1].round().long().clamp(0, side - 1).tolist()
    return tuple(slice(a, max(b, a) + 1) for a, b in zip(low, high, strict=True))


def _bumps(points: Tensor, image: Tensor) -> Tensor:
    """Return the sum of a narrow and a wide bump at the nearest of the points."""
    found = torch.zeros_like(image)
    axis = torch.arange(image.shape[0], device=image.device, dtype=torch.float32)
    for point in points[:MOST_POINTS]:
        away = [(axis - p) ** 2 for p in point]
        for width, share in ((NEAR, 0.6), (FAR, 0.4)):
            z, y, x = (torch.exp(-a / (2 * width**2)) for a in away)
            bump = share * z[:, None, None] * y[None, :, None] * x
            torch.maximum(found, bump, out=found)
    return found
