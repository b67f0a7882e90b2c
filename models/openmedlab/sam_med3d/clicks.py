"""The simulated user of SAM-Med3D's evaluation: where would the next click go."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
Policy = Literal["random", "ritm"]


def next_click(
    mask: Mask,
    target: Mask,
    policy: Policy | str,
    stream: np.random.RandomState,
) -> tuple[npt.NDArray[np.int64], bool]:
    """Draw a click that corrects ``mask`` toward ``target``.

    Parameters
    ----------
    mask, target
        Boolean, of the same shape; their axis order is the click's.
    policy
        ``"random"``: uniform over all wrong voxels. ``"ritm"``: the deeper kind of
        error (missed or too much), uniform where deeper than half its maximum.

    Returns
    -------
    point, positive
        (3,) voxel index; True when the voxel was missed.
    """
    missed, excess = target & ~mask, mask & ~target
    if policy == "ritm":
        depth_missed, depth_excess = _depth(missed), _depth(excess)
        positive = depth_missed.max() > depth_excess.max()
        depth = depth_missed if positive else depth_excess
        if not depth.any():
            return np.array(mask.shape) // 2, False
        candidates = depth > depth.max() / 2
    else:
        candidates = missed | excess
        if not candidates.any():
            candidates = missed = target
    places = np.argwhere(candidates)
    point = places[stream.randint(len(places))]
    return point, bool(missed[tuple(point)])


def _depth(mask: Mask) -> npt.NDArray[Any]:
    padded = ndimage.distance_transform_edt(np.pad(mask, 1))
    return np.asarray(padded)[1:-1, 1:-1, 1:-1]
