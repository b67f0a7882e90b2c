"""Training windows and the hand that clicks in them, simulated on labelled volumes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openmedlab.builtin import ClickSegmenter
from openmedlab.clicknet.inputs import channels
from openmedlab.clicknet.network import SIDE
from openmedlab.core import (
    Box,
    ExtremePoints,
    Geometry,
    Point,
    Prompt,
    Region,
    Scribble,
    Volume,
)
from openmedlab.evaluation.protocol import Player

Random = np.random.Generator
FIRST = ("click", "extreme", "box", "scribble")
SHARES = (0.4, 0.3, 0.2, 0.1)
LEAST_VISIBLE = 40


@dataclass(frozen=True, eq=False)
class Labelled:
    """A training volume.

    Attributes
    ----------
    image
        Grey values (z, y, x).
    labels
        Same shape; every value above 0 is an object to click.
    spacing
        Of its voxels.
    boxes
        First and one past the last index (2, 3) of every label.
    """

    image: npt.NDArray[np.generic]
    labels: npt.NDArray[np.integer]
    spacing: tuple[float, float, float]
    boxes: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from scipy import ndimage

        for value, found in enumerate(ndimage.find_objects(self.labels), 1):
            if found is not None:
                self.boxes[value] = np.array([[s.start for s in found], [s.stop for s in found]])


@dataclass
class Exercise:
    """One object in its window, and what was clicked so far.

    Attributes
    ----------
    image, target
        Grey values and the object, (64, 64, 64).
    spacing
        Of the window's samples.
    prompts
        As the user would have given them, in window coordinates.
    positive, negative
        Clicked voxels (K, 3).
    box
        Corners (2, 3), or None.
    proposal
        What the training-free method makes of the prompts.
    """

    image: Tensor
    target: Tensor
    spacing: tuple[float, float, float]
    prompts: tuple[Prompt, ...]
    positive: Tensor
    negative: Tensor
    box: Tensor | None = None
    proposal: Tensor | None = None

    def channels(self) -> Tensor:
        """Return the network's input."""
        return channels(self.image, self.positive, self.negative, self.box, self.proposal)

    def copy(self) -> Exercise:
        """Return it as it is now; further clicks on the copy leave it alone."""
        return replace(self)

    def propose(self) -> None:
        """Ask the training-free method, as `ClickNetSegmenter` does, about all prompts so far."""
        volume = Volume(self.image.numpy(), Geometry.from_spacing(self.image.shape, self.spacing))
        self.proposal = torch.from_numpy(Player(ClickSegmenter(), volume).predict(self.prompts))

    def correct(self, random: Random, mask: Tensor) -> None:
        """Take a mask as the last answer, click where it errs, and have a new proposal made."""
        missed, added = self.target & ~mask, mask & ~self.target
        positive = bool(missed.sum() >= added.sum())
        error = missed if positive else added
        if not error.any():
            return
        spot = _deep(random, error, 1)
        if positive:
            self.positive = torch.cat([self.positive, spot])
        else:
            self.negative = torch.cat([self.negative, spot])
        self.prompts = (*self.prompts, Point(tuple(spot[0].tolist()), positive))
        self.propose()


def exercise(random: Random, volume: Labelled) -> Exercise:
    """Return a window around a random object of the volume, with a first prompt."""
    while True:
        value = int(random.choice(list(volume.boxes)))
        image, target, spacing = _window(random, volume, value)
        if int(target.sum()) >= LEAST_VISIBLE:
            made = _prompted(random, _distorted(random, image), target, spacing)
            made.propose()
            return made


def _window(
    random: Random, volume: Labelled, value: int
) -> tuple[Tensor, Tensor, tuple[float, float, float]]:
    """Return image and object, resampled to a window that fits or does not, and its spacing."""
    start, stop = volume.boxes[value]
    extent = np.maximum(stop - start, 1).astype(float)
    if random.random() < 0.55:
        step = extent / random.uniform(0.45, 0.85, 3) / SIDE
        step = np.maximum(step, step.max() / 6)
        centre = (start + stop - 1) / 2 + random.uniform(-0.12, 0.12, 3) * step * SIDE
    else:
        spacing = np.array(volume.spacing)
        share = np.exp(random.uniform(np.log(0.1), np.log(1.3)))
        step = (extent * spacing).max() / share / SIDE / spacing
        inside = np.argwhere(volume.labels[_slices(start, stop)] == value)
        centre = inside[random.integers(len(inside))] + start
        centre = centre + random.uniform(-0.2, 0.2, 3) * step * SIDE
    step = np.maximum(step, 0.12)
    image, target = _sampled(volume, value, centre, step)
    order = [int(k) for k in random.permutation(3)]
    flips = [k for k in range(3) if random.random() < 0.5]
    z, y, x = (float(step[k] * volume.spacing[k]) for k in order)
    image, target = (a.permute(order).flip(flips).contiguous() for a in (image, target))
    return image, target, (z, y, x)


def _slices(start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))


def _sampled(
    volume: Labelled, value: int, centre: npt.NDArray[np.float64], step: npt.NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    from openmedlab.clicknet.window import Window

    window = Window(tuple(centre), tuple(step))
    region = window.region.clipped(volume.image.shape)
    image = torch.from_numpy(np.asarray(volume.image[region.slices], np.float32))
    target = torch.from_numpy(volume.labels[region.slices] == value).float()
    return window.sample(image, region), window.sample(target, region, outside=0.0) >= 0.5


def _distorted(random: Random, image: Tensor) -> Tensor:
    """Return the window with other contrast, noise, blur."""
    from scipy import ndimage

    low, high = image.min(), image.max()
    if random.random() < 0.4:
        a, b = np.sort(random.uniform(0, 1, 2))
        middle = float(torch.quantile(image[::4, ::4, ::4].flatten(), float((a + b) / 2)))
        half = float(high - low) * random.uniform(0.05, 0.6)
        image = image.clamp(middle - half, middle + half)
        low, high = image.min(), image.max()
    image = (image - low) / (high - low).clamp(min=1e-6)
    if random.random() < 0.3:
        image = image ** float(np.exp(random.uniform(-0.7, 0.7)))
    if random.random() < 0.2:
        image = 1 - image
    if random.random() < 0.25:
        image = torch.from_numpy(ndimage.uniform_filter(image.numpy(), 3))
    if random.random() < 0.35:
        noise = torch.from_numpy(random.standard_normal(image.shape, np.float32))
        image = image + noise * float(np.exp(random.uniform(np.log(0.004), np.log(0.08))))
    return image


def _prompted(
    random: Random, image: Tensor, target: Tensor, spacing: tuple[float, float, float]
) -> Exercise:
    """Return the exercise after its first prompt."""
    first = str(random.choice(FIRST, p=SHARES))
    none = torch.zeros(0, 3)
    if first == "click":
        spot = _deep(random, target, 1)
        return Exercise(image, target, spacing, (Point(tuple(spot[0].tolist())),), spot, none)
    if first == "scribble":
        stroke = _stroke(random, target)
        drawn = Scribble(tuple(map(tuple, stroke.tolist())))
        return Exercise(image, target, spacing, (drawn,), stroke, none)
    voxels = target.nonzero().float()
    if first == "extreme":
        points = _extremes(random, voxels)
        six = ExtremePoints(tuple(map(tuple, points.tolist())))
        box = torch.stack([points.amin(0), points.amax(0)])
        return Exercise(image, target, spacing, (six,), points, none, box)
    corners = torch.stack([voxels.amin(0) - 1, voxels.amax(0) + 1])
    corners = corners + torch.from_numpy(random.normal(0, 1.2, (2, 3))).float()
    corners = corners.clamp(0, SIDE - 1).round()
    box = torch.stack([corners.amin(0), corners.amax(0)])
    drawn_box = Box(tuple(box[0].tolist()), tuple(box[1].tolist()))
    return Exercise(image, target, spacing, (drawn_box,), none, none, box)


def _extremes(random: Random, voxels: Tensor) -> Tensor:
    points = []
    for axis in range(3):
        for plane in (voxels[:, axis].amin(), voxels[:, axis].amax()):
            cut = voxels[voxels[:, axis] == plane]
            away = ((cut - cut.mean(0)) ** 2).sum(1)
            away = away + torch.from_numpy(random.uniform(0, 6, len(cut))).float()
            points.append(cut[away.argmin()])
    return torch.stack(points)


def _stroke(random: Random, target: Tensor) -> Tensor:
    """Return up to 24 voxels of a stroke along the inside of the object on one slice."""
    start, axis = _deep(random, target, 1)[0].long(), int(random.integers(3))
    on_slice = torch.zeros_like(target)
    cut = [slice(None)] * 3
    cut[axis] = slice(int(start[axis]), int(start[axis]) + 1)
    on_slice[tuple(cut)] = target[tuple(cut)]
    inner = _depth(on_slice)
    voxels = (inner >= 0.6 * inner.max()).nonzero().float()
    along = int((axis + 1 + random.integers(2)) % 3)
    near = voxels[(voxels[:, along] - start[along]).abs() <= random.integers(3, 16)]
    if not len(near):
        return start[None].float()
    order = near[:, along].argsort()
    return near[order][:: max(1, len(near) // 24)][:24]


def _depth(mask: Tensor) -> Tensor:
    """Return a smooth measure of how deep inside of a mask its voxels lie, 0 outside."""
    from scipy import ndimage

    depth = np.zeros(mask.shape, np.float32)
    area = Region.of_mask(mask.numpy())
    if area is not None:
        soft = np.pad(mask.numpy()[area.slices], 3).astype(np.float32)
        for _ in range(2):
            soft = ndimage.uniform_filter(soft, 7, mode="constant")
        depth[area.slices] = soft[3:-3, 3:-3, 3:-3]
    return torch.from_numpy(depth) * mask


def _deep(random: Random, mask: Tensor, count: int) -> Tensor:
    """Return voxels (count, 3) of a non-empty mask, deep ones first of all."""
    depth = _depth(mask)
    voxels = depth.nonzero()
    weight = depth[depth > 0].double().numpy()
    weight = (weight / weight.max()) ** 6
    chosen = random.choice(len(voxels), count, p=weight / weight.sum())
    return voxels[torch.from_numpy(np.atleast_1d(chosen))].float()
