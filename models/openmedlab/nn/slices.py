"""Plane networks on volumes: slices encoded once, masks followed from slice to slice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openmedlab.core import (
    CancelToken,
    Capabilities,
    Encoding,
    Geometry,
    LogitsPatch,
    Progress,
    Region,
    Volume,
)
from openmedlab.core.constraints import pin
from openmedlab.core.contracts import PromptList
from openmedlab.nn.device import Runner
from openmedlab.nn.slice_plan import (
    TAKES,
    Pixel,
    Plan,
    Rectangle,
    Turn,
    deepest,
    plan_of,
    plane_of_mask,
    rectangle,
    slice_region,
)

KEPT_BYTES = 256 << 20
CT_WINDOW = (-160.0, 240.0)
SAMPLES_PER_AXIS = 48
PREFETCHED = 3

MIN_SCORE = 0.5
MAX_CHANGE = 3.0
MIN_OVERLAP = 0.3

Mask = npt.NDArray[np.bool_]
Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class SliceAnswer:
    """The decoder's answer on one slice.

    Attributes
    ----------
    logits
        float32 (h, w) around the mask; outside of it the object is absent.
    corner
        Row and column of the slice at which ``logits`` begins.
    score
        The quality that the network expects.
    low
        Low-resolution logits, a mask prompt for the next round or slice.
    """

    logits: npt.NDArray[np.float32]
    corner: tuple[int, int]
    score: float
    low: Tensor

    @cached_property
    def mask(self) -> Mask:
        """Boolean, of the shape of ``logits``."""
        return np.asarray(self.logits > 0)

    @cached_property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    def box(self) -> Rectangle:
        """Return the mask's box (x0, y0, x1, y1) on the slice."""
        x0, y0, x1, y1 = rectangle(self.mask)
        row, column = self.corner
        return x0 + column, y0 + row, x1 + column, y1 + row

    def middle(self) -> Pixel:
        """Return the mask's deepest pixel (x, y) on the slice."""
        x, y = deepest(self.mask)
        return x + self.corner[1], y + self.corner[0]

    def overlap(self, other: SliceAnswer) -> float:
        """Return intersection over union of two masks."""
        offset = np.subtract(other.corner, self.corner)
        start = np.maximum(offset, 0)
        stop = np.minimum(offset + other.mask.shape, self.mask.shape)
        if (stop <= start).any():
            return 0.0
        mine = self.mask[start[0] : stop[0], start[1] : stop[1]]
        theirs = other.mask[
            tuple(slice(a, b) for a, b in zip(start - offset, stop - offset, strict=True))
        ]
        both = int(np.count_nonzero(mine & theirs))
        return both / max(self.area + other.area - both, 1)


@dataclass
class SliceScene:
    """One volume, how its grey levels are shown, and the slices encoded so far."""

    volume: Volume
    shown: tuple[float, float]
    embeddings: OrderedDict[Place, Tensor] = field(default_factory=OrderedDict)

    def picture(self, axis: int, index: int) -> npt.NDArray[np.uint8]:
        """Return a slice as a grey RGB picture (h, w, 3) of 0..255."""
        plane = self.volume.read(slice_region(self.volume.shape, axis, index)).squeeze(axis)
        low, high = self.shown
        grey = np.clip((plane.astype(np.float32) - low) * (255 / max(high - low, 1e-6)), 0, 255)
        return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


def grey_window(volume: Volume) -> tuple[float, float]:
    """Return the grey levels shown as black and white.

    CT: the soft-tissue window of -160 to 240. Others: the 0.5th and 99.5th percentile
    of a sparse lattice of voxels, background (the lowest value) left out.
    """
    if volume.modality == "CT":
        return CT_WINDOW
    coarse = volume.pyramid[-1].array if volume.pyramid else volume.array
    steps = [max(1, n // SAMPLES_PER_AXIS) for n in coarse.shape]
    sample = np.asarray(coarse[tuple(slice(s // 2, None, s) for s in steps)], np.float32)
    values = sample[np.isfinite(sample)]
    tissue = values[values > values.min()] if values.size else values
    if tissue.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(tissue, [0.5, 99.5])
    return float(low), float(high)


@dataclass(frozen=True)
class SliceState:
    """What a prediction leaves for the next: the turns played on each marked slice.

    ``version`` is the model's; another one's turns are of no use.
    """

    version: str
    memory: dict[Place, tuple[tuple[Turn, ...], SliceAnswer]]


class SlicePromptable(ABC):
    """A plane network behind the `Promptable` contract.

    Parameters
    ----------
    network
        With ``image_encoder``, weights loaded.
    device
        ``"cpu"``, ``"cuda"``, ...
    version
        Changes with the weights.
    propagate
        Whether the object is followed from the marked slices through the volume, or
        only the marked slices are answered.

    Notes
    -----
    The plane is that of the first flat prompt, else the one with the finest pixels.
    From each marked slice the mask goes to its neighbour as a box, its deepest pixel and
    low-resolution logits, and so on. It stops where the mask is empty, its area changes
    more than threefold, it overlaps the last one by less than 0.3, the network expects
    less than 0.5 of quality, or at the ends that a 3D box, extreme points or a mask set;
    between such ends only an empty mask stops it.
    """

    name: ClassVar[str]
    embedding_bytes: ClassVar[int]
    input_side: ClassVar[int]
    capabilities = Capabilities(TAKES, dimensions=2)

    def __init__(self, network: Any, device: str, version: str, propagate: bool = True) -> None:
        self.propagate = propagate
        side = self.input_side
        self._run = Runner(network, device, (1, 3, side, side), version)

    @property
    def version(self) -> str:
        """Changes with the weights, and with the encoder's precision."""
        return self._run.version

    # ------------------------------------------------------ what a network brings
    @abstractmethod
    def _input(self, picture: npt.NDArray[np.uint8]) -> Tensor:
        """Turn an RGB picture (h, w, 3) into the network's input."""

    @abstractmethod
    def _decode(
        self, embedding: Tensor, shape: tuple[int, int], turn: Turn, low: Tensor | None
    ) -> tuple[Tensor, float, Tensor]:
        """Return logits (h, w), the score, and low-resolution logits."""

    @abstractmethod
    def _low_of_mask(self, plane: Mask) -> Tensor:
        """Return a plane mask as low-resolution logits."""

    # ---------------------------------------------------------------- Promptable
    def region(self, geometry: Geometry, prompts: PromptList) -> Region:
        """Return the whole volume: its slices are encoded when first needed."""
        return geometry.region

    def encode(
        self, volume: Volume, region: Region, progress: Progress, cancel: CancelToken
    ) -> Encoding:
        """Choose the grey levels; the slices follow in `predict` and `prefetch`."""
        cancel.check()
        held = min(KEPT_BYTES, sum(volume.shape) * self.embedding_bytes)
        return Encoding(region, SliceScene(volume, grey_window(volume)), held)

    def predict(
        self,
        encoding: Encoding,
        prompts: PromptList,
        previous: LogitsPatch | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> LogitsPatch:
        """Return the mask for all ``prompts`` of one object, oldest first.

        Raises
        ------
        PromptError
            No prompt is positive, or one is of a kind not taken.
        Cancelled
            ``cancel`` was raised; it is looked at before every slice.
        """
        scene: SliceScene = encoding.data
        plan = plan_of(prompts, scene.volume.geometry)
        state = previous.state if previous is not None else None
        if not isinstance(state, SliceState) or state.version != self.version:
            state = SliceState(self.version, {})
        memory = dict(state.memory)
        answers: dict[int, SliceAnswer] = {}
        with torch.inference_mode():
            for index in plan.turns:
                cancel.check()
                progress.report(len(answers), 0, f"slice {index}")
                answers[index] = self._marked(scene, plan, index, memory)
            if self.propagate:
                for index in plan.turns:
                    for step in (-1, 1):
                        self._follow(scene, plan, index, step, answers, progress, cancel)
        region, logits = _stack(answers, plan.axis)
        count = "1 slice" if len(answers) == 1 else f"{len(answers)} slices"
        given = (*plan.given, f"{count} across {'zyx'[plan.axis]}")
        return pin(
            LogitsPatch(region, logits, self.name, given, SliceState(self.version, memory)), prompts
        )

    def prefetch(self, encoding: Encoding, patch: LogitsPatch, cancel: CancelToken) -> None:
        """Encode the slices just beyond both ends of ``patch``, nearest first."""
        scene: SliceScene = encoding.data
        if not isinstance(patch.state, SliceState):
            return
        for axis in {axis for axis, _ in patch.state.memory}:
            first, last = patch.region.start[axis], patch.region.stop[axis] - 1
            for distance in range(1, PREFETCHED + 1):
                for k in (first - distance, last + distance):
                    if 0 <= k < scene.volume.shape[axis]:
                        cancel.check()
                        self._embedding(scene, (axis, k))

    def pack(self, encoding: Encoding) -> dict[str, npt.NDArray[np.float32]]:
        """Return the slices encoded so far, for the disk cache."""
        scene: SliceScene = encoding.data
        return {
            f"{axis}_{index}": embedding.float().cpu().numpy()
            for (axis, index), embedding in scene.embeddings.items()
        }

    def unpack(
        self, volume: Volume, region: Region, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Encoding:
        """Rebuild what `pack` took apart."""
        encoding = self.encode(volume, region, Progress(), CancelToken())
        for name, array in arrays.items():
            axis, index = (int(n) for n in name.split("_"))
            embedding = torch.from_numpy(np.array(array)).to(self._run.device)
            encoding.data.embeddings[axis, index] = embedding
        return encoding

    def warm_up(self) -> None:
        """Encode and decode an empty picture."""
        side = self.input_side
        picture = np.zeros((side, side, 3), np.uint8)
        with torch.inference_mode():
            embedding = self._run.encode(self._input(picture))
            turn = Turn(((side / 2, side / 2),), (1,))
            _, _, low = self._decode(embedding, (side, side), turn, None)
            self._decode(embedding, (side, side), turn, low)

    # -------------------------------------------------------------------- slices
    def _embedding(self, scene: SliceScene, place: Place) -> Tensor:
        if place not in scene.embeddings:
            scene.embeddings[place] = self._run.encode(self._input(scene.picture(*place)))
            while len(scene.embeddings) * self.embedding_bytes > KEPT_BYTES:
                scene.embeddings.popitem(last=False)
        scene.embeddings.move_to_end(place)
        return scene.embeddings[place]

    def _answer(
        self, scene: SliceScene, place: Place, turn: Turn, low: Tensor | None
    ) -> SliceAnswer:
        height, width = np.delete(scene.volume.shape, place[0]).tolist()
        logits, score, new_low = self._decode(
            self._embedding(scene, place), (height, width), turn, low
        )
        full = logits.float().cpu().numpy()
        if not (mask := full > 0).any():
            return SliceAnswer(np.empty((0, 0), np.float32), (0, 0), score, new_low)
        x0, y0, x1, y1 = (int(v) for v in rectangle(mask))
        return SliceAnswer(full[y0 : y1 + 1, x0 : x1 + 1].copy(), (y0, x0), score, new_low)

    def _marked(
        self,
        scene: SliceScene,
        plan: Plan,
        index: int,
        memory: dict[Place, tuple[tuple[Turn, ...], SliceAnswer]],
    ) -> SliceAnswer:
        """Play the turns of a marked slice; those that ``memory`` holds are not repeated."""
        place, turns = (plan.axis, index), plan.turns[index]
        done, answer = memory.get(place, ((), None))
        if tuple(turns[: len(done)]) != done:
            done, answer = (), None
        for k, turn in enumerate(turns[len(done) :], len(done)):
            low = None if answer is None else answer.low
            if k == 0 and turn.mask is not None:
                plane = plane_of_mask(turn.mask, plan.axis, index, scene.volume.shape)
                low = self._low_of_mask(plane)
            answer = self._answer(scene, place, turn, low)
        assert answer is not None
        memory[place] = (tuple(turns), answer)
        return answer

    def _follow(
        self,
        scene: SliceScene,
        plan: Plan,
        index: int,
        step: int,
        answers: dict[int, SliceAnswer],
        progress: Progress,
        cancel: CancelToken,
    ) -> None:
        """Follow the object from a marked slice in one direction."""
        low, high = plan.reach(index, scene.volume.shape[plan.axis])
        before = answers[index]
        for k in range(index + step, (high if step > 0 else low) + step, step):
            if before.area == 0:
                return
            cancel.check()
            progress.report(len(answers), high - low + 1 if plan.bounds else 0, f"slice {k}")
            hint = plan.hints.get(k, Turn())
            turn = hint.adding([(before.middle(), 1)], before.box())
            now = self._answer(scene, (plan.axis, k), turn, before.low)
            if not _goes_on(before, now, bounded=plan.bounds is not None):
                return
            answers[k] = before = now


def _goes_on(before: SliceAnswer, now: SliceAnswer, bounded: bool) -> bool:
    if now.area == 0 or bounded:
        return now.area > 0
    change = now.area / before.area
    return (
        now.score >= MIN_SCORE
        and 1 / MAX_CHANGE <= change <= MAX_CHANGE
        and before.overlap(now) >= MIN_OVERLAP
    )


def _stack(answers: dict[int, SliceAnswer], axis: int) -> tuple[Region, npt.NDArray[np.float32]]:
    """Put the slices' logits into one block; -1 where a slice says nothing."""
    found = {k: a for k, a in answers.items() if a.area}
    if not found:
        return Region((0, 0, 0), (1, 1, 1)), np.full((1, 1, 1), -1, np.float32)
    corners = np.array([a.corner for a in found.values()])
    low = corners.min(0)
    high = (corners + np.array([a.logits.shape for a in found.values()])).max(0)
    first = min(found)
    block = np.full((max(found) - first + 1, *(high - low)), -1, np.float32)
    for k, answer in found.items():
        (row, column), (h, w) = answer.corner - low, answer.logits.shape
        block[k - first, row : row + h, column : column + w] = answer.logits
    start = np.insert(low, axis, first)
    logits = np.ascontiguousarray(np.moveaxis(block, 0, axis))
    stop = start + logits.shape
    return Region(tuple(start.tolist()), tuple(stop.tolist())), logits
