"""`ClickSegmenter`: interactive 3D segmentation without a trained network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from openmedlab.builtin.scene import Scene, region_for
from openmedlab.builtin.state import Step
from openmedlab.core import (
    Box,
    CancelToken,
    Capabilities,
    Encoding,
    Geometry,
    LogitsPatch,
    Progress,
    Prompt,
    PromptError,
    Region,
    Volume,
    pin,
)
from openmedlab.core.contracts import PromptList

SURE = 4.0


class ClickSegmenter:
    """Points, boxes, scribbles, lassos, extreme points and masks in, a 3D mask out.

    The prompts are taken one after the other: the first draws the object, each further
    one changes the mask where it errs. The mask is a function of the prompts alone;
    ``previous`` only saves repeating the steps already taken.
    """

    name = "builtin"
    version = "1"
    capabilities = Capabilities(
        frozenset({"point", "box", "scribble", "lasso", "extreme points", "mask"})
    )

    def region(self, geometry: Geometry, prompts: PromptList) -> Region:
        """Return the surroundings of the first prompt, enlarged by prompts that leave them.

        Raises
        ------
        PromptError
            A prompt lies outside of the volume, or none of them is positive.
        """
        return region_for(geometry, prompts)

    def encode(
        self, volume: Volume, region: Region, progress: Progress, cancel: CancelToken
    ) -> Encoding:
        """Read the crop; nothing of it is copied where the volume is in memory."""
        cancel.check()
        progress.report(0, 1, "reading the surroundings")
        image = volume.read(region)
        kept = image.nbytes if not isinstance(volume.array, np.ndarray) else 0
        progress.report(1, 1, "reading the surroundings")
        return Encoding(region, Scene(image, volume.geometry.spacing), kept)

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
            ``cancel`` was raised; it is looked at between and within the steps.
        """
        scene = replace(encoding.data, check=cancel.check)
        order = _opening_first(prompts)
        step = _resumed(previous, encoding.region, order)
        for count in range(len(step.prompts), len(order)):
            cancel.check()
            progress.report(count, len(order), f"following the {order[count].kind}")
            step = step.take(scene, encoding.region, order[count])
        progress.report(len(order), len(order), "done")
        logits = np.where(step.mask, np.float32(SURE), np.float32(-SURE))
        place = step.region.shifted(encoding.region.start)
        given = tuple(p.kind for p in prompts)
        patch = LogitsPatch(place, logits, self.name, given, (encoding.region, step))
        return pin(patch, prompts)

    def warm_up(self) -> None:
        """Segment a ball once, so that the libraries are loaded."""
        z, y, x = np.ogrid[-8:9, -8:9, -8:9]
        ball = (z * z + y * y + x * x < 25).astype(np.float32)
        volume = Volume(ball, Geometry.from_spacing(ball.shape))
        box = Box((3, 3, 3), (13, 13, 13))
        progress, cancel = Progress(), CancelToken()
        encoding = self.encode(volume, self.region(volume.geometry, [box]), progress, cancel)
        self.predict(encoding, [box], None, progress, cancel)


def _opening_first(prompts: PromptList) -> tuple[Prompt, ...]:
    """Return the prompts with the first positive one in front of earlier negative ones."""
    first = next((k for k, p in enumerate(prompts) if getattr(p, "positive", True)), None)
    if first is None:
        raise PromptError("Only negative prompts so far; mark the object itself first.")
    return (prompts[first], *prompts[:first], *prompts[first + 1 :])


def _resumed(previous: LogitsPatch | None, region: Region, order: tuple[Prompt, ...]) -> Step:
    """Return the last step of ``previous`` if it was on the way to ``order``, else the start."""
    if previous is not None and isinstance(previous.state, tuple):
        seen, step = previous.state
        if seen == region and order[: len(step.prompts)] == step.prompts:
            return step
    return Step()
