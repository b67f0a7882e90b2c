"""Prompts of a volume as prompts of its slices: which plane, which slices, in which rounds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openmedlab.core import (
    Box,
    ExtremePoints,
    Geometry,
    Lasso,
    MaskPrompt,
    Point,
    Prompt,
    PromptError,
    Region,
    Scribble,
)
from openmedlab.core.contracts import PromptList
from openmedlab.core.translate import translate

TAKES = frozenset({"point", "box", "mask"})
Rectangle = tuple[float, float, float, float]
Pixel = tuple[float, float]


@dataclass(frozen=True)
class Turn:
    """What the decoder is given for one slice in one round.

    Attributes
    ----------
    points, labels
        All points of the slice so far as (x, y) pixels, and 1 or 0 for each.
    box
        (x0, y0, x1, y1), or None.
    mask
        A mask whose slice takes the place of the last round's answer, or None.
    """

    points: tuple[Pixel, ...] = ()
    labels: tuple[int, ...] = ()
    box: Rectangle | None = None
    mask: MaskPrompt | None = None

    def adding(self, points: list[tuple[Pixel, int]], box: Rectangle | None) -> Turn:
        """Return the turn with further points, and with ``box`` where one is given."""
        return Turn(
            (*self.points, *(p for p, _ in points)),
            (*self.labels, *(label for _, label in points)),
            box or self.box,
            self.mask,
        )


@dataclass
class Plan:
    """What to do on which slices.

    Attributes
    ----------
    axis
        The axis across the slices.
    turns
        The rounds of every slice on which the object was marked.
    hints
        Points on other slices, given along when the object is followed there.
    bounds
        First and last slice of the object where a 3D box, extreme points or a mask told.
    given
        What was given, in words.
    """

    axis: int
    turns: dict[int, list[Turn]] = field(default_factory=dict)
    hints: dict[int, Turn] = field(default_factory=lambda: defaultdict(Turn))
    bounds: tuple[int, int] | None = None
    given: tuple[str, ...] = ()

    def reach(self, index: int, count: int) -> tuple[int, int]:
        """Return the first and last slice to follow the object to from a marked slice.

        Halfway to the next marked slice, else to the bounds, else to the volume's end.
        """
        first, last = self.bounds or (0, count - 1)
        before = [k for k in self.turns if k < index]
        after = [k for k in self.turns if k > index]
        low = (max(before) + index) // 2 + 1 if before else min(first, index)
        high = (min(after) + index) // 2 if after else max(last, index)
        return low, high


def plan_of(prompts: PromptList, geometry: Geometry) -> Plan:
    """Arrange prompts, oldest first, by slice.

    Raises
    ------
    PromptError
        No prompt marks the object, or one is of a kind not taken.
    """
    plan = Plan(choose_axis(prompts, geometry))
    for prompt in prompts:
        translated, said = translate([prompt], TAKES)
        plan.given += said
        if isinstance(prompt, MaskPrompt):
            _take_mask(plan, prompt)
        else:
            _take(plan, translated, marks=not isinstance(prompt, ExtremePoints))
    if not plan.turns:
        raise PromptError("Only negative prompts were given; mark the object itself first.")
    return plan


def choose_axis(prompts: PromptList, geometry: Geometry) -> int:
    """Return the axis across the slices: a flat prompt's, else that of the finest planes.

    Among planes equally fine the axial one is taken.
    """
    for prompt in prompts:
        axis = _flat_axis(prompt)
        if axis is not None:
            return axis
    spacing = np.asarray(geometry.spacing)
    upright = np.abs(geometry.direction[2])
    coarsest = spacing >= spacing.max() * 0.99
    return int(np.argmax(np.where(coarsest, upright, -1)))


def deepest(mask: npt.NDArray[np.bool_]) -> Pixel:
    """Return the pixel (x, y) farthest from the edge of a plane mask."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    return float(column), float(row)


def rectangle(mask: npt.NDArray[np.bool_]) -> Rectangle:
    """Return the box (x0, y0, x1, y1) through the outermost pixels of a plane mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def plane_of_mask(
    mask: MaskPrompt, axis: int, index: int, shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Return one slice (h, w) of a mask prompt on a grid of ``shape``."""
    return mask.array(slice_region(shape, axis, index)).squeeze(axis)


def slice_region(shape: tuple[int, ...], axis: int, index: int) -> Region:
    """Return the region of one slice."""
    start, stop = [0, 0, 0], list(shape)
    start[axis], stop[axis] = index, index + 1
    return Region((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _flat_axis(prompt: Prompt) -> int | None:
    if isinstance(prompt, Lasso):
        return prompt.axis
    if isinstance(prompt, Box):
        return prompt.flat_axis
    if isinstance(prompt, MaskPrompt | Scribble):
        positions = np.rint(prompt.positions())
        flat = np.flatnonzero(np.ptp(positions, axis=0) == 0)
        return int(flat[0]) if flat.size == 1 else None
    return None


def _take(plan: Plan, prompts: list[Prompt], marks: bool) -> None:
    """Add one prompt's translation; where it marks the object, its slices are decoded."""
    points: dict[int, list[tuple[Pixel, int]]] = defaultdict(list)
    boxes: dict[int, Rectangle] = {}
    for prompt in prompts:
        if isinstance(prompt, Box) and prompt.positive and prompt.flat_axis in (None, plan.axis):
            low, high = (_split(p, plan.axis) for p in (prompt.lower, prompt.upper))
            boxes[round((low[0] + high[0]) / 2)] = (*low[1], *high[1])
            if prompt.flat_axis is None:
                _widen(plan, round(low[0]), round(high[0]))
        elif isinstance(prompt, Box):
            middle = (np.asarray(prompt.lower) + np.asarray(prompt.upper)) / 2
            index, pixel = _split(middle, plan.axis)
            points[round(index)].append((pixel, int(prompt.positive)))
        elif isinstance(prompt, Point):
            index, pixel = _split(prompt.position, plan.axis)
            points[round(index)].append((pixel, int(prompt.positive)))
    for index in sorted({*points, *boxes}):
        marked = index in boxes or (marks and any(label for _, label in points[index]))
        if marked and plan.bounds and not plan.bounds[0] <= index <= plan.bounds[1]:
            plan.bounds = None
        plan.hints[index] = plan.hints[index].adding(points[index], boxes.get(index))
        if marked or index in plan.turns:
            plan.turns.setdefault(index, []).append(plan.hints[index])


def _take_mask(plan: Plan, mask: MaskPrompt) -> None:
    """Start anew from a mask; of the points so far those that agree with it stay."""
    first, last = mask.region.start[plan.axis], mask.region.stop[plan.axis] - 1
    shape = mask.region.stop
    plan.turns.clear()
    for index, turn in plan.hints.items():
        inside = first <= index <= last
        plane = plane_of_mask(mask, plan.axis, index, shape) if inside else np.zeros((0, 0), bool)
        kept = [
            (p, label)
            for p, label in zip(turn.points, turn.labels, strict=True)
            if _covers(plane, p) == bool(label)
        ]
        plan.hints[index] = Turn().adding(kept, None)
    for index in range(first, last + 1):
        plane = plane_of_mask(mask, plan.axis, index, shape)
        if plane.any():
            kept_turn = plan.hints[index]
            inner = [] if 1 in kept_turn.labels else [(deepest(plane), 1)]
            full = Turn(mask=mask).adding(
                [*zip(kept_turn.points, kept_turn.labels, strict=True), *inner], rectangle(plane)
            )
            plan.turns[index], plan.hints[index] = [full], full
    plan.bounds = (first, last)


def _covers(plane: npt.NDArray[np.bool_], pixel: Pixel) -> bool:
    column, row = (round(v) for v in pixel)
    inside = 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]
    return bool(inside and plane[row, column])


def _widen(plan: Plan, first: int, last: int) -> None:
    low, high = plan.bounds or (first, last)
    plan.bounds = min(low, first), max(high, last)


def _split(position: npt.ArrayLike, axis: int) -> tuple[float, Pixel]:
    """Split (z, y, x) into the slice and the pixel (x, y) on it."""
    values = [float(v) for v in np.asarray(position)]
    index = values.pop(axis)
    return index, (values[1], values[0])
