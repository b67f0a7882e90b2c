"""`ClickSegmenter`: interactive 3D segmentation without a trained model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.boxed import segment_box
from openmedlab.builtin.grow import grow
from openmedlab.builtin.marks import Marks, voxels_of
from openmedlab.builtin.scene import Scene, region_for
from openmedlab.core import (
    Box,
    CancelToken,
    Capabilities,
    Encoding,
    ExtremePoints,
    Geometry,
    LogitsPatch,
    MaskPrompt,
    Progress,
    Prompt,
    PromptError,
    Region,
    Volume,
)
from openmedlab.core.contracts import PromptList

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Step:
    """What is known after a prompt: all prompts so far, the mask on the crop, the marks."""

    prompts: tuple[Prompt, ...]
    mask: Mask
    marks: Marks


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
        """Return the surroundings of the first prompt, enlarged by prompts that leave them."""
        return region_for(geometry, prompts)

    def encode(
        self, volume: Volume, region: Region, progress: Progress, cancel: CancelToken
    ) -> Encoding:
        """Read the crop."""
        with progress.stage("prepare"):
            cancel.check()
            progress.report(0, 1, "reading the surroundings")
            image = volume.read(region)
            own = image.nbytes if not np.shares_memory(image, np.asarray(volume.array)) else 0
        return Encoding(region, Scene(image, volume.geometry.spacing), own)

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
            No prompt is positive, or a prompt is of a kind not taken.
        Cancelled
            ``cancel`` was raised; it is looked at between and within steps.
        """
        with progress.stage("infer"):
            scene = replace(encoding.data, check=cancel.check)
            order = _opening_first(prompts)
            step = _resume(previous, encoding.region, order, scene)
            for count in range(len(step.prompts), len(order)):
                cancel.check()
                progress.report(count, len(order), f"taking the {order[count].kind}")
                step = _take(scene, encoding.region, step, order[count])
            progress.report(len(order), len(order), "done")
            logits = np.where(step.mask, np.float32(4), np.float32(-4))
        given = tuple(p.kind for p in prompts)
        return LogitsPatch(encoding.region, logits, self.name, given, step)

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
    first = next((p for p in prompts if getattr(p, "positive", True)), None)
    if first is None:
        raise PromptError("Only negative prompts were given; mark the object itself first.")
    rest = list(prompts)
    rest.remove(first)
    return (first, *rest)


def _resume(
    previous: LogitsPatch | None, region: Region, order: tuple[Prompt, ...], scene: Scene
) -> Step:
    if previous is not None and previous.region == region and isinstance(previous.state, Step):
        done = previous.state.prompts
        if order[: len(done)] == done:
            return previous.state
    return Step((), np.zeros(scene.image.shape, bool), Marks())


def _take(scene: Scene, region: Region, step: Step, prompt: Prompt) -> Step:
    """Return what is known after ``prompt`` too."""
    mask, marks = step.mask.copy(), step.marks
    fixed = voxels_of(prompt, region)
    if fixed is not None:
        marks = marks.adding(*fixed)
    if isinstance(prompt, MaskPrompt):
        mask = prompt.array(region)
        marks = marks.agreeing(mask)
    elif isinstance(prompt, ExtremePoints):
        assert fixed is not None
        mask = segment_box(scene, prompt.box.region.relative_to(region), marks, fixed[0])
    elif isinstance(prompt, Box) and prompt.positive:
        mask = segment_box(scene, prompt.region.relative_to(region), marks, None)
    elif fixed is not None:
        mask = grow(scene, mask, marks, *fixed)
    else:
        raise PromptError(f"The built-in method does not take a {prompt.kind}.")
    marks.impose(mask)
    return Step((*step.prompts, prompt), mask, marks)
