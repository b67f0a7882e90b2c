"""`MedLSAM`: organs localised from templates, their boxes segmented, one labelmap.

Lei et al., MedLSAM: Localize and segment anything model for 3D CT images (Medical Image
Analysis, 2025).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core import (
    Box,
    CancelToken,
    InputError,
    Label,
    LabelPolicy,
    LabelVolume,
    Localization,
    Localizer,
    LogitsPatch,
    OpenMedLabError,
    Progress,
    Promptable,
    Volume,
)
from openmedlab.engine.cache import EncodingCache
from openmedlab.engine.interaction import answer_prompts
from openmedlab.medlsam.boxes import Found, corners, inside_slabs, slice_boxes, whole_box

CHUNK = 32

Slabs = list[npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class MedLSAMResult:
    """What came of one scan.

    Attributes
    ----------
    labels
        The labelmap, with names and codes.
    localizations
        Where each organ was found.
    methods
        What made each organ's mask and what that was given, in words.
    failed
        Organs without a mask, and why, in a sentence.
    seconds
        Spent on ``"localize"`` and ``"segment"``.
    """

    labels: LabelVolume
    localizations: Mapping[str, Localization]
    methods: Mapping[str, str]
    failed: Mapping[str, str]
    seconds: Mapping[str, float]


class MedLSAM:
    """A localizer and a promptable as one segmenter of organs.

    Parameters
    ----------
    localizer
        Finds the boxes; None where `segment` is given them.
    promptable
        Makes the masks. SAM and MedSAM see slices as the paper prepares them
        (`openmedlab.medlsam.paper.PaperSlices`), anything else is used as it is.
    policy
        How masks enter the labelmap; the organs enter from the surest to the least sure, so
        that by default the surer one keeps the voxels that two claim.
    cache
        Where encodings are kept; one of its own by default.

    Notes
    -----
    A promptable of slices is given one box per slice and nothing is followed from slice to
    slice. Slices are worked through in groups, all organs on each, so that a slice is encoded
    once whatever the number of organs (the original encodes it for every organ and slab).
    A promptable of volumes is given one 3D box; where the localizer found slabs, what lies
    beside their boxes is removed.

    The original reads the ground truth of the scan to choose its slices; here nothing but the
    boxes decides.
    """

    def __init__(
        self,
        localizer: Localizer | None,
        promptable: Promptable,
        *,
        policy: LabelPolicy | None = None,
        cache: EncodingCache | None = None,
    ) -> None:
        self.localizer = localizer
        self.promptable = as_published(promptable)
        self.policy = policy or LabelPolicy()
        self._cache = cache or EncodingCache()

    @property
    def name(self) -> str:
        """Localizer and promptable, for manifests."""
        found_by = self.localizer.name if self.localizer is not None else "boxes"
        return f"{found_by} + {self.promptable.name}"

    def run(
        self,
        volume: Volume,
        library: Any,
        organs: Collection[str] | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> MedLSAMResult:
        """Find and segment organs.

        Parameters
        ----------
        volume
            The scan.
        library
            A `openmedlab.localization.templates.TemplateLibrary`.
        organs
            Names; all that the library has by default.

        Raises
        ------
        InputError
            There is no localizer, an organ has no template, or the scan cannot be used.
        Cancelled
            ``cancel`` was raised.
        """
        if self.localizer is None:
            raise InputError("Without a localizer no organ can be found; give one.")
        progress, cancel = progress or Progress(), cancel or CancelToken()
        wanted = library if organs is None else library.only(organs)
        start = time.perf_counter()
        found = dict(self.localizer.localize(wanted, volume, progress, cancel))
        middle = time.perf_counter()
        failed = {o: "It was not found." for o in wanted.organs if o not in found}
        patches = self.segment(volume, found, progress, cancel, failed.__setitem__)
        codes = {t.organ: t.code for t in reversed(wanted.templates)}
        labels = self.merge(volume, wanted.organs, patches, found, codes)
        return MedLSAMResult(
            labels,
            found,
            {organ: f"{p.method}: {', '.join(p.given)}" for organ, p in patches.items()},
            failed,
            {"localize": middle - start, "segment": time.perf_counter() - middle},
        )

    def segment(
        self,
        volume: Volume,
        found: Mapping[str, Found],
        progress: Progress,
        cancel: CancelToken,
        on_failed: Callable[[str, str], None] | None = None,
    ) -> dict[str, LogitsPatch]:
        """Return a mask for every organ found.

        Parameters
        ----------
        found
            Localizations or extreme points by organ, in index coordinates.
        on_failed
            Called with an organ and a sentence where its mask could not be made; without
            it the error is raised.

        Raises
        ------
        Cancelled
            ``cancel`` was raised; it is looked at before every organ and slice.
        """
        slabs = {organ: corners(f, volume.geometry) for organ, f in found.items()}
        work = _Work(self.promptable, self._cache, volume, progress, cancel, on_failed)
        if self.promptable.capabilities.dimensions == 2:
            return work.slices(slabs)
        return work.whole(slabs)

    def merge(
        self,
        volume: Volume,
        organs: Sequence[str],
        patches: Mapping[str, LogitsPatch],
        found: Mapping[str, Localization],
        codes: Mapping[str, str],
    ) -> LabelVolume:
        """Return the masks as one labelmap; organ k of ``organs`` has number k + 1."""
        labels = np.zeros(volume.shape, np.uint8 if len(organs) < 256 else np.uint16)
        for organ in sorted(patches, key=lambda o: -found[o].confidence):
            patch = patches[organ]
            area = labels[patch.region.slices]
            area[:] = self.policy.merge(area, patch.mask, organs.index(organ) + 1)
        names = {k: Label(o, code=codes.get(o, "")) for k, o in enumerate(organs, 1)}
        return LabelVolume(labels, volume.geometry, names, volume.name, self.name)


def as_published(promptable: Promptable) -> Promptable:
    """Return SAM and MedSAM as the paper runs them, others without following slices."""
    if not hasattr(promptable, "propagate"):
        return promptable
    from openmedlab.medlsam.paper import PaperSlices
    from openmedlab.sam.predictor import Sam

    if isinstance(promptable, Sam) and not isinstance(promptable, PaperSlices):
        return PaperSlices.of(promptable)
    still = copy.copy(promptable)
    still.propagate = False
    return still


@dataclass
class _Work:
    """The masks of one scan in the making."""

    model: Promptable
    cache: EncodingCache
    volume: Volume
    progress: Progress
    cancel: CancelToken
    on_failed: Callable[[str, str], None] | None
    failed: set[str] = field(default_factory=set)

    def whole(self, slabs: Mapping[str, Slabs]) -> dict[str, LogitsPatch]:
        """Give each organ's 3D box."""
        patches = {}
        for done, (organ, cut) in enumerate(slabs.items()):
            self.progress.report(done, len(slabs), f"segmenting {organ}")
            patch = self._answer(organ, [whole_box(cut)])
            if patch is not None and len(cut) > 1:
                inside = inside_slabs(cut, _slab_axis(self.volume), patch.region)
                patch = replace(patch, logits=np.where(inside, patch.logits, np.float32(-1)))
            if patch is not None:
                patches[organ] = patch
        self.progress.report(len(slabs), len(slabs), "segmented")
        return patches

    def slices(self, slabs: Mapping[str, Slabs]) -> dict[str, LogitsPatch]:
        """Give a flat box on every slice, a group of slices after the other."""
        axis = _slice_axis(self.volume)
        if axis != _slab_axis(self.volume):
            slabs = {organ: [_around(cut)] for organ, cut in slabs.items()}
        boxes = {organ: slice_boxes(cut, axis) for organ, cut in slabs.items()}
        together = sorted({k for own in boxes.values() for k in own})
        pieces: dict[str, list[LogitsPatch]] = {organ: [] for organ in boxes}
        for done, part in enumerate(_groups(together)):
            for organ, own in boxes.items():
                text = f"segmenting {organ} on slices {part[0]} to {part[-1]}"
                self.progress.report(done * CHUNK, len(together), text)
                mine = [own[k] for k in part if k in own]
                if mine and organ not in self.failed:
                    patch = self._answer(organ, mine)
                    pieces[organ] += [] if patch is None else [patch]
        self.progress.report(len(together), len(together), "segmented")
        return {o: _joined(p) for o, p in pieces.items() if p and o not in self.failed}

    def _answer(self, organ: str, prompts: Sequence[Box]) -> LogitsPatch | None:
        self.cancel.check()
        try:
            return answer_prompts(
                self.model,
                self.volume,
                prompts,
                cache=self.cache,
                progress=self.progress,
                cancel=self.cancel,
            )
        except OpenMedLabError as error:
            if self.on_failed is None:
                raise
            self.failed.add(organ)
            self.on_failed(organ, str(error))
            return None


def _slice_axis(volume: Volume) -> int:
    """Return the axis across the slices that a promptable of slices would choose."""
    from openmedlab.nn.slice_plan import choose_axis

    return choose_axis([], volume.geometry)


def _slab_axis(volume: Volume) -> int:
    """Return the axis along which a localizer cuts organs into slabs: the body's length."""
    return volume.geometry.reorientation().order[0]


def _around(slabs: Slabs) -> npt.NDArray[np.float64]:
    box = whole_box(slabs)
    return np.array([box.lower, box.upper])


def _groups(slices: list[int]) -> Iterator[list[int]]:
    for first in range(0, len(slices), CHUNK):
        yield slices[first : first + CHUNK]


def _joined(pieces: Sequence[LogitsPatch]) -> LogitsPatch:
    """Return one patch of several that do not overlap; those without a voxel add nothing."""
    filled = [p for p in pieces if p.mask.any()] or pieces[:1]
    region = filled[0].region
    for piece in filled[1:]:
        region = region.union(piece.region)
    logits = np.full(region.shape, -1, np.float32)
    for piece in filled:
        logits[piece.region.relative_to(region).slices] = piece.logits
    given = tuple(dict.fromkeys(word for piece in pieces for word in piece.given))
    return replace(pieces[0], region=region, logits=logits, given=given, state=None)
