"""`Step`: what is known after each prompt, from a belief on a grid to a mask on voxels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from openmedlab.builtin import steps
from openmedlab.builtin.belief import Belief, agreed
from openmedlab.builtin.marks import Marks, voxels_of
from openmedlab.builtin.scene import Scene
from openmedlab.core import Box, ExtremePoints, MaskPrompt, Prompt, PromptError, Region

Mask = npt.NDArray[np.bool_]
Voxels = npt.NDArray[np.int64]
NOWHERE = Region((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True, eq=False)
class Step:
    """What is known after some prompts. All places are in the frame of the scene.

    Attributes
    ----------
    prompts
        Those taken so far, oldest first.
    marks
        Voxels fixed by them.
    box
        Where the object was said to be, by a 3D box or extreme points.
    corrected
        Whether a prompt has changed the first mask.
    belief
        Probabilities on a coarse grid; None before the first prompt.
    region, mask
        The mask, on the part of the scene that holds all of it.
    """

    prompts: tuple[Prompt, ...] = ()
    marks: Marks = field(default_factory=Marks)
    box: Region | None = None
    corrected: bool = False
    belief: Belief | None = None
    region: Region = NOWHERE
    mask: Mask = field(default_factory=lambda: np.zeros((0, 0, 0), bool))

    def take(self, scene: Scene, origin: Region, prompt: Prompt) -> Step:
        """Return what is known after ``prompt`` too; ``origin`` is the scene in the volume."""
        fixed = voxels_of(prompt, origin)
        marks = self.marks if fixed is None else self.marks.adding(*fixed)
        known = replace(self, prompts=(*self.prompts, prompt), marks=marks)
        if isinstance(prompt, MaskPrompt):
            return known._with_mask(scene, origin, prompt)
        if isinstance(prompt, ExtremePoints):
            assert fixed is not None
            area = prompt.box.region.relative_to(origin)
            return known._boxed(scene, area, fixed[0])
        if isinstance(prompt, Box) and prompt.positive:
            area = prompt.region.relative_to(origin)
            flat = prompt.flat_axis
            if flat is None or scene.image.shape[flat] == 1:
                return known._boxed(scene, area, None)
            return known._sliced(scene, area, flat)
        if fixed is None:
            raise PromptError(f"The built-in method does not take a {prompt.kind}.")
        if self.belief is None:
            return known._drawn(steps.from_click(scene, fixed[0], marks))
        return known._corrected(scene, *fixed)

    # -------------------------------------------------------------- openings
    def _boxed(self, scene: Scene, box: Region, extreme: Voxels | None) -> Step:
        belief = steps.from_box(scene, box, self.marks, extreme)
        return replace(self, box=box, corrected=False)._drawn(belief)

    def _sliced(self, scene: Scene, box: Region, axis: int) -> Step:
        """Segment the slice a flat box lies on, and a box about as deep as it is wide around it."""
        region, mask = _rendered(steps.from_box(scene, box, self.marks, None), self.marks)
        side = np.asarray(box.shape) * scene.spacing
        half = np.sqrt(np.prod(np.delete(side, axis))) / 2
        margin = np.zeros(3, int)
        margin[axis] = max(round(half / scene.spacing[axis]), 1)
        deep = box.padded(margin.tolist()).clipped(scene.image.shape)
        grown = self._drawn(steps.from_box(scene, deep, self.marks, None))
        if not mask.any():
            return grown
        whole = grown.region.union(region)
        solid = _placed(grown.mask, grown.region, whole)
        on_slice = Region.whole(whole.shape).intersection(region.relative_to(whole))
        plane = tuple(
            slice(on_slice.start[k], on_slice.stop[k]) if k == axis else slice(None)
            for k in range(3)
        )
        solid[plane] = False
        solid[on_slice.slices] = mask
        self.marks.impose(solid, whole)
        return replace(grown, region=whole, mask=solid)

    def _with_mask(self, scene: Scene, origin: Region, prompt: MaskPrompt) -> Step:
        region = prompt.region.relative_to(origin).clipped(scene.image.shape)
        mask = prompt.array(region.shifted(origin.start))
        marks = self.marks.agreeing(mask, region)
        view = steps.focus(scene, region, marks, None, 0.0)
        belief = Belief(
            view.grid, 0.05 + 0.9 * view.grid.coarsen(_placed(mask, region, view.grid.region))
        )
        whole = region.union(marks.inside)
        solid = _placed(mask, region, whole)
        return replace(self, marks=marks, box=None, belief=belief, region=whole, mask=solid)

    # ----------------------------------------------------------- corrections
    def _corrected(self, scene: Scene, voxels: Voxels, positive: bool) -> Step:
        """Return the step after ``voxels`` turned out ``positive``; right ones change nothing."""
        whole = self.region.union(Region.around(voxels)) if positive else self.region
        solid = _placed(self.mask, self.region, whole)
        wrong = voxels[self._differs(voxels, positive)]
        if not len(wrong):
            self.marks.impose(solid, whole)
            return replace(self, region=whole, mask=solid)
        assert self.belief is not None
        slack = _gap(self.belief, wrong, scene) * (1.0 if self.box else 1.6) if positive else 5.0
        tight = Region.of_mask(self.mask)
        object_ = None if tight is None else tight.shifted(self.region.start)
        view = steps.focus(scene, object_, self.marks, self.box, slack)
        share = view.grid.coarsen(_placed(self.mask, self.region, view.grid.region))
        before = Belief(view.grid, agreed(self.belief.on(view.grid), share))
        after = steps.after(
            scene, view, before.chance, self.marks, wrong, positive, self.box, not self.corrected
        )
        return replace(self, belief=after, corrected=True)._redrawn(before)

    def _differs(self, voxels: Voxels, positive: bool) -> npt.NDArray[np.bool_]:
        local = voxels - np.asarray(self.region.start)
        inside = ((local >= 0) & (local < self.region.shape)).all(axis=1)
        now = np.zeros(len(voxels), bool)
        now[inside] = self.mask[tuple(local[inside].T)]
        return np.asarray(now != positive)

    # --------------------------------------------------------------- drawing
    def _drawn(self, belief: Belief) -> Step:
        region, mask = _rendered(belief, self.marks)
        self.marks.impose(mask, region)
        return replace(self, belief=belief, region=region, mask=mask)

    def _redrawn(self, before: Belief) -> Step:
        """Return the step with its mask changed where the belief changed sides since ``before``.

        Elsewhere the mask stays as fine as it was, brush strokes included.
        """
        assert self.belief is not None
        changed = (before.chance > 0.5) | (self.belief.chance > 0.5)
        near = self.belief.grid.around_cells(changed)
        old, new = (Belief(b.grid.cropped(near), b.chance[near]) for b in (before, self.belief))
        place = new.grid.region
        whole = place.union(self.region).union(self.marks.inside)
        solid = _placed(self.mask, self.region, whole)
        was, now = old.mask(), new.mask()
        part = solid[place.relative_to(whole).slices]
        np.copyto(part, now, where=was != now)
        self.marks.impose(solid, whole)
        return replace(self, region=whole, mask=solid)


def _rendered(belief: Belief, marks: Marks) -> tuple[Region, Mask]:
    near = belief.grid.around_cells(belief.chance > 0.5)
    fine = Belief(belief.grid.cropped(near), belief.chance[near])
    region = fine.grid.region.union(marks.inside)
    return region, _placed(fine.mask(), fine.grid.region, region)


def _placed(mask: Mask, region: Region, target: Region) -> Mask:
    """Return ``mask``, which lies at ``region``, on ``target``."""
    out = np.zeros(target.shape, bool)
    common = region.intersection(target)
    if common:
        out[common.relative_to(target).slices] = mask[common.relative_to(region).slices]
    return out


def _gap(belief: Belief, voxels: Voxels, scene: Scene) -> float:
    """Return the largest distance in mm of ``voxels`` to the object believed in."""
    from scipy.spatial import cKDTree

    cells = np.argwhere(belief.chance > 0.5)
    if not len(cells):
        return 10.0
    places = np.stack([belief.grid.centres(k)[cells[:, k]] for k in range(3)], axis=1)
    distance, _ = cKDTree(places * scene.spacing).query(voxels * np.asarray(scene.spacing))
    return float(distance.max())
