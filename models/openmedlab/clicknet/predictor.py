"""`ClickNetSegmenter`: the training-free method's masks, corrected by openmedlab-click."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openmedlab.builtin import ClickSegmenter
from openmedlab.builtin.marks import voxels_of
from openmedlab.builtin.scene import Scene
from openmedlab.clicknet.inputs import channels
from openmedlab.clicknet.network import INPUTS, SIDE
from openmedlab.clicknet.window import Window
from openmedlab.core import (
    Box,
    CancelToken,
    Encoding,
    ExtremePoints,
    Geometry,
    LogitsPatch,
    MaskPrompt,
    Progress,
    Region,
    Volume,
    pin,
)
from openmedlab.core.contracts import PromptList
from openmedlab.core.translate import spread

Points = npt.NDArray[np.float64]
FILLED = 0.62
FLATTEST = 6.0
FINEST = 0.12
BOX_KINDS = (Box, ExtremePoints)


class ClickNetSegmenter:
    """Points, boxes, scribbles, lassos, extreme points and masks in, a 3D mask out.

    The training-free `ClickSegmenter` proposes a mask for all prompts; the network looks at
    it, the prompts and the image through a window of 64^3 samples and gives the answer. A
    mask given as a prompt is the user's own: the clicks after it change it near themselves,
    by the training-free method alone. The mask is a function of the prompts alone.

    Parameters
    ----------
    run
        The network: channels (1, 6, 64, 64, 64) to logits (1, 1, 64, 64, 64).
    version
        Changes with the weights and with the precision they run in.
    """

    name = "openmedlab-click"
    capabilities = ClickSegmenter.capabilities

    def __init__(self, run: Callable[[Tensor], Tensor], version: str) -> None:
        self._run = run
        self._base = ClickSegmenter()
        self.version = f"{version} on {self._base.version}"

    def region(self, geometry: Geometry, prompts: PromptList) -> Region:
        """Return the surroundings of the first prompt, enlarged by prompts that leave them.

        Raises
        ------
        PromptError
            A prompt lies outside of the volume, or none of them is positive.
        """
        return self._base.region(geometry, prompts)

    def encode(
        self, volume: Volume, region: Region, progress: Progress, cancel: CancelToken
    ) -> Encoding:
        """Read the crop; nothing of it is copied where the volume is in memory."""
        return self._base.encode(volume, region, progress, cancel)

    def predict(
        self,
        encoding: Encoding,
        prompts: PromptList,
        previous: LogitsPatch | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> LogitsPatch:
        """Return the mask for ``prompts``, oldest first.

        Raises
        ------
        PromptError
            No prompt is positive, or one is of a kind not taken.
        Cancelled
            ``cancel`` was raised.
        """
        proposal = self._base.predict(encoding, prompts, previous, progress, cancel)
        cancel.check()
        if any(isinstance(p, MaskPrompt) for p in prompts):
            region, logits = proposal.region, proposal.logits
        else:
            region, logits = self._corrected(encoding, prompts, proposal)
        patch = LogitsPatch(region, logits, self.name, proposal.given, proposal.state)
        return pin(patch, prompts)

    def warm_up(self) -> None:
        """Run both parts once."""
        self._base.warm_up()
        self._run(torch.zeros(1, INPUTS, SIDE, SIDE, SIDE))

    def _corrected(
        self, encoding: Encoding, prompts: PromptList, proposal: LogitsPatch
    ) -> tuple[Region, npt.NDArray[np.float32]]:
        """Return the network's logits and where they lie; places are those of the volume."""
        positive, negative = clicks(prompts, encoding.region)
        box = said_box(prompts)
        window = window_around(positive, box, proposal)
        image = _seen(encoding, window)
        mask = torch.from_numpy(proposal.mask.astype(np.float32))
        proposed = window.sample(mask, proposal.region, outside=0.0) >= 0.5
        corners = None if box is None else _points(window, box)
        near, far = (_points(window, _visible(p, window)) for p in (positive, negative))
        seen = channels(image, near, far, corners, proposed)
        logits = self._run(seen[None])[0, 0].float()
        region = window.region.intersection(encoding.region)
        return region, np.ascontiguousarray(window.back(logits, region).numpy())


def clicks(prompts: PromptList, region: Region) -> tuple[Points, Points]:
    """Return the positive and the negative voxels (N, 3) of prompts, a few of each stroke."""
    found: dict[bool, list[Points]] = {True: [np.empty((0, 3))], False: [np.empty((0, 3))]}
    for prompt in prompts:
        fixed = voxels_of(prompt, region)
        if fixed is not None and len(fixed[0]):
            voxels, positive = fixed
            few = spread(voxels) if len(voxels) > 6 else voxels.astype(float)
            found[positive].append(few + np.array(region.start))
    return np.concatenate(found[True]), np.concatenate(found[False])


def said_box(prompts: PromptList) -> Points | None:
    """Return the corners (2, 3) of the newest box around the object, None where none was given."""
    for prompt in reversed(prompts):
        if isinstance(prompt, BOX_KINDS) and getattr(prompt, "positive", True):
            box = prompt.box if isinstance(prompt, ExtremePoints) else prompt
            if box.flat_axis is None:
                return np.array([box.lower, box.upper])
    return None


def window_around(positive: Points, box: Points | None, proposal: LogitsPatch) -> Window:
    """Return a window that the object should fill to about 0.6."""
    places = [positive]
    area = Region.of_mask(proposal.mask)
    if box is not None:
        places.append(box)
    elif area is not None:
        places.append(np.array([area.start, np.subtract(area.stop, 1)]) + proposal.region.start)
    corners = np.concatenate(places)
    low, high = corners.min(0), corners.max(0)
    step = (high - low + 1) / FILLED / SIDE
    step = np.maximum(np.maximum(step, step.max() / FLATTEST), FINEST)
    return Window(_triple((low + high) / 2), _triple(step))


def _seen(encoding: Encoding, window: Window) -> Tensor:
    """Return the image in a window; voxels that are not numbers count as the darkest."""
    scene: Scene = encoding.data
    region = window.region.intersection(encoding.region)
    crop = np.asarray(scene.image[region.relative_to(encoding.region).slices], np.float32)
    known = np.isfinite(crop)
    if not known.all():
        crop = np.where(known, crop, crop[known].min() if known.any() else 0).astype(np.float32)
    return window.sample(torch.from_numpy(crop), region)


def _visible(points: Points, window: Window) -> Points:
    """Return the points inside the window, the newest first."""
    seen = window.to_window(points)
    return points[((seen >= 0) & (seen <= SIDE - 1)).all(1)][::-1]


def _points(window: Window, points: Points) -> Tensor:
    return torch.from_numpy(window.to_window(points)).float().reshape(-1, 3)


def _triple(values: npt.ArrayLike) -> tuple[float, float, float]:
    z, y, x = (float(v) for v in np.asarray(values))
    return z, y, x
