"""`OneObject`: an image, one object, its prompts one by one, and undo of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from openmedlab.core import (
    Box,
    Edit,
    ExtremePoints,
    InputError,
    Journal,
    Lasso,
    LogitsPatch,
    Point,
    Prompt,
    Region,
    Scribble,
    Session,
    Volume,
)

NUMBER = 1
LEVELS = 100
MOST_VOXELS = 20_000
JUST_INSIDE = 0.999
Mask = npt.NDArray[np.bool_]


@dataclass
class Step:
    """A prompt given: what was there before, and whether the mask changed."""

    prompts: tuple[Prompt, ...]
    edited: bool = False
    predicted: bool = False


class OneObject:
    """What a lease of nnInteractive's dialect is for.

    Attributes
    ----------
    session
        None until an image was set.
    buffer
        Shape and type of the client's own mask; None until it told.
    autozoom
        Kept for the client; our models choose their own view.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self.session: Session | None = None
        self.buffer: tuple[tuple[int, ...], np.dtype[np.generic]] | None = None
        self.autozoom = True
        self._journal = journal
        self._steps: list[Step] = []

    @property
    def nbytes(self) -> int:
        if self.session is None:
            return 0
        volume = self.session.volume
        return volume.geometry.region.size * (volume.dtype.itemsize + 1)

    def close(self) -> None:
        if self.session is not None:
            self.session.close()
        elif self._journal is not None:
            self._journal.close()

    def set_image(self, volume: Volume) -> None:
        """Begin anew on another image."""
        labels = np.zeros(volume.shape, np.uint8)
        self.session = Session(volume, labels, journal=self._journal)
        self.session.add_object(number=NUMBER)
        self._steps.clear()
        if self.buffer is not None and self.buffer[0] != volume.shape:
            self.buffer = None

    def require(self) -> Session:
        """Return the session; raise where there is no image yet."""
        if self.session is None:
            raise InputError("There is no image yet; send /set_image first.")
        return self.session

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the client's mask."""
        return self.buffer[1] if self.buffer is not None else np.dtype(np.uint8)

    # --------------------------------------------------------------- prompts
    def add(self, prompt: Prompt) -> None:
        """Take one more prompt."""
        session = self.require()
        before = session.prompts(NUMBER)
        session.add_prompt(NUMBER, prompt)
        self._steps.append(Step(before))
        del self._steps[:-LEVELS]

    def take_back(self) -> None:
        """Forget the newest prompt, whose mask could not be made."""
        step = self._steps.pop()
        self.require().set_prompts(NUMBER, step.prompts)

    def join_extremes(self) -> None:
        """Make one `ExtremePoints` of exactly six positive points not yet predicted from."""
        session = self.require()
        waiting = list(takewhile(lambda s: not s.predicted, reversed(self._steps)))
        newest = session.prompts(NUMBER)[-len(waiting) :] if waiting else ()
        points = [p for p in newest if isinstance(p, Point) and p.positive]
        if len(waiting) != 6 or len(points) != 6:
            return
        before = waiting[-1].prompts
        joined = ExtremePoints(tuple(p.position for p in points))
        session.set_prompts(NUMBER, (*before, joined))
        self._steps[-6:] = [Step(before)]

    @property
    def asks(self) -> bool:
        """Whether there is anything positive that a mask can be made from."""
        prompts = self.require().model_prompts(NUMBER)
        return any(getattr(p, "positive", True) for p in prompts)

    def commit(self, patch: LogitsPatch) -> Edit | None:
        """Let a mask in; it belongs to the newest prompt."""
        session = self.require()
        edit = session.commit(NUMBER, patch)
        if not self._steps or self._steps[-1].predicted:
            self._steps.append(Step(session.prompts(NUMBER)))
        self._steps[-1].edited = edit is not None
        for step in self._steps:
            step.predicted = True
        return edit

    def undo(self) -> tuple[bool, Edit | None]:
        """Take the newest prompt back; return whether there was one, and what changed."""
        session = self.require()
        if not self._steps:
            return False, None
        step = self._steps.pop()
        session.set_prompts(NUMBER, step.prompts)
        return True, session.undo() if step.edited else None

    def reset(self) -> None:
        """Forget prompts and mask."""
        session = self.require()
        clear = session.remove_object(NUMBER)
        session.add_object(number=NUMBER)
        if clear is not None:
            clear.apply(session.labelmap)
            session.adopt(clear, "reset")
        self._steps.clear()

    def start_from(self, mask: Mask) -> None:
        """Replace everything by an existing mask."""
        self.reset()
        session = self.require()
        if mask.shape != session.volume.shape:
            raise InputError(
                f"The segmentation has {mask.shape} voxels, the image {session.volume.shape}."
            )
        whole = session.volume.geometry.region
        edit = Edit.between(session.labelmap, mask.astype(np.uint8), whole)
        if edit is not None:
            edit.apply(session.labelmap)
            session.adopt(edit, "initial segmentation")


def box_prompt(region: Region, positive: bool) -> Box:
    """Return the box of a half-open region; one slice thick makes it a slice's seed."""
    if not region:
        raise InputError("The box is empty: every [first, last + 1] must hold a voxel.")
    z, y, x = region.stop
    return Box(region.start, (z - 1, y - 1, x - 1), positive)


def scribble_prompt(mask: Mask, start: tuple[int, int, int], positive: bool) -> Scribble:
    """Return a scribble of a mask's voxels, thinned where there are very many."""
    voxels = np.argwhere(mask)
    step = -(-len(voxels) // MOST_VOXELS)
    places = voxels[:: max(step, 1)] + np.asarray(start)
    return Scribble(tuple(map(tuple, places.tolist())), positive)


def lasso_prompt(mask: Mask, start: tuple[int, int, int], positive: bool) -> Lasso | Scribble:
    """Return the outline of a mask on one slice; a mask on several slices is a scribble.

    The mask may be the outline alone or filled.
    """
    from scipy.ndimage import binary_fill_holes
    from skimage.measure import find_contours

    box = Region.of_mask(mask)
    if box is None:
        raise InputError("The lasso is empty; draw around something.")
    flat = [k for k, n in enumerate(box.shape) if n == 1]
    if not flat:
        return scribble_prompt(mask, start, positive)
    axis = flat[0]
    plane = binary_fill_holes(mask[box.slices].squeeze(axis))
    outlines = find_contours(np.pad(plane.astype(np.float32), 1), JUST_INSIDE)
    outline = np.rint(max(outlines, key=len) - 1)
    corners = np.insert(outline, axis, 0, axis=1) + np.asarray(box.start) + np.asarray(start)
    distinct = list(dict.fromkeys(map(tuple, corners.tolist())))
    if len(distinct) < 3:
        return scribble_prompt(mask, start, positive)
    return Lasso(tuple(distinct), positive)
