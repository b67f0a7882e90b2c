"""Tissues of a CT by Hounsfield units and morphology: nothing learned, nothing to download."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openmedlab.builtin.tissues_air import find_body, find_cavities
from openmedlab.builtin.tissues_bone import BONE_HU, find_bone
from openmedlab.builtin.tissues_grid import FINEST_MM, Grid, Mask, working_grid
from openmedlab.core import (
    CancelToken,
    InputError,
    Label,
    LabelVolume,
    Progress,
    Region,
    Volume,
)

METHOD = "builtin-tissues"
TISSUES: dict[int, Label] = {
    1: Label("body", (0.55, 0.50, 0.60), "38266002"),
    2: Label("lung_left", (0.55, 0.75, 0.95), "44029006"),
    3: Label("lung_right", (0.40, 0.65, 0.90), "3341006"),
    4: Label("airways", (0.75, 0.90, 1.00), "89187006"),
    5: Label("bone", (0.95, 0.90, 0.75), "272673000"),
    6: Label("fat", (0.95, 0.80, 0.30), "55603005"),
    7: Label("soft_tissue", (0.75, 0.35, 0.30), "87784001"),
}
BODY, LUNG_LEFT, LUNG_RIGHT, AIRWAYS, BONE, FAT, SOFT_TISSUE = TISSUES
FAT_HU = (-190, -30)
SOFT_HU = (-30, 150)
AIR_HU = -400
SLAB = 16
FAST_MM = 3.0
STEPS = ("Reading", "Body", "Lungs and airways", "Bone", "Fat and soft tissue")


class TissueLabeler:
    """Body, lungs, airways, bone, fat and soft tissue (muscle, organs) of a CT.

    ``body`` is what is left of the patient where no other wanted class lies: contrast,
    bowel gas, skin, implants. Lungs are told apart by the patient's side, whatever
    way the array runs. Works on parts of the body; no class has to be in view.

    Memory beside the image: one byte per voxel for the result, and less than 1.5 GB on
    a working grid of at most 24 million voxels of at least 1.5 mm.

    Parameters
    ----------
    fast
        Work on a grid of about 3 mm: quicker, thin bones suffer.
    """

    name = METHOD

    def __init__(self, fast: bool = False) -> None:
        self._finest = FAST_MM if fast else FINEST_MM

    @property
    def version(self) -> str:
        """Changes with the method and with ``fast``."""
        return f"1 at {self._finest:g} mm"

    @property
    def classes(self) -> Mapping[int, str]:
        """Names by number."""
        return {number: label.name for number, label in TISSUES.items()}

    def label(
        self,
        volume: Volume,
        classes: Collection[str] | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> LabelVolume:
        """Label a CT.

        Parameters
        ----------
        volume
            A CT in Hounsfield units, in any orientation.
        classes
            Names to label; all by default.

        Returns
        -------
        LabelVolume
            uint8 (z, y, x) on the volume's grid, ``method`` ``"builtin-tissues"``.

        Raises
        ------
        InputError
            Not a CT, not Hounsfield units, or an unknown class.
        Cancelled
            Between the steps.
        """
        labels = np.zeros(volume.shape, np.uint8)
        self.label_into(labels, volume, classes, progress or Progress(), cancel or CancelToken())
        meaning = {n: TISSUES[n] for n in sorted(self._numbers(classes))}
        return LabelVolume(labels, volume.geometry, meaning, f"{volume.name} tissues", METHOD)

    def label_into(
        self,
        labels: npt.NDArray[np.unsignedinteger],
        volume: Volume,
        classes: Collection[str] | None,
        progress: Progress,
        cancel: CancelToken,
        finished: Callable[[Region], None] = lambda _: None,
    ) -> None:
        """Write labels into an array of the volume's shape, slab by slab.

        What is finished stays when the work is cancelled. ``finished`` is called with
        every slab once it is done.
        """
        wanted = self._numbers(classes)
        step = _Steps(progress, cancel)
        _require_ct(volume)
        step()
        with step.progress.stage("prepare"):
            grid = working_grid(volume, self._finest)
        _require_hounsfield(volume, grid)
        with step.progress.stage("infer"):
            coarse = _coarse(grid, wanted, step)
            step()
            for region in _native(labels, volume, grid, coarse, wanted):
                finished(region)
                cancel.check()
        progress.report(len(STEPS), len(STEPS), "Done")

    def _numbers(self, classes: Collection[str] | None) -> set[int]:
        if classes is None:
            return set(TISSUES)
        numbers = {label.name: n for n, label in TISSUES.items()}
        unknown = sorted(set(classes) - set(numbers))
        if unknown:
            raise InputError(
                f"{METHOD} has no class {', '.join(unknown)}; choose from {', '.join(numbers)}."
            )
        return {numbers[name] for name in classes}


class _Steps:
    """Reports the next step; stops there when cancelled."""

    def __init__(self, progress: Progress, cancel: CancelToken) -> None:
        self.progress, self.cancel, self._done = progress, cancel, 0

    def __call__(self) -> None:
        self.cancel.check()
        self.progress.report(self._done, len(STEPS), STEPS[self._done])
        self._done += 1


def _require_ct(volume: Volume) -> None:
    if volume.modality not in ("CT", "unknown"):
        raise InputError(
            f"{volume.name!r} is {volume.modality}, and the built-in tissue labels need a CT in "
            "Hounsfield units; choose another model."
        )


def _require_hounsfield(volume: Volume, grid: Grid) -> None:
    """Air or fat must be below water, as only Hounsfield units have it."""
    lowest = float(grid.image.min())
    limit = -50 if volume.modality == "CT" else -200
    if lowest > limit:
        raise InputError(
            f"{volume.name!r} does not look like a CT in Hounsfield units (its lowest value is "
            f"{lowest:g}); choose another model or apply the scanner's rescale."
        )


def _coarse(grid: Grid, wanted: set[int], step: _Steps) -> npt.NDArray[np.uint8]:
    """Body, lungs, airways and bone on the working grid (body everywhere else in it)."""
    step()
    body = find_body(grid)
    coarse = body.astype(np.uint8) * np.uint8(BODY)
    step()
    air = find_cavities(grid, body)
    coarse[air.left], coarse[air.right] = LUNG_LEFT, LUNG_RIGHT
    coarse[air.airways] = AIRWAYS
    step()
    if wanted & {BONE, FAT, SOFT_TISSUE}:
        coarse[find_bone(grid, coarse == BODY)] = BONE
    return coarse


def _native(
    labels: npt.NDArray[np.unsignedinteger],
    volume: Volume,
    grid: Grid,
    coarse: npt.NDArray[np.uint8],
    wanted: set[int],
) -> Iterator[Region]:
    """Bring the working grid's labels to every voxel, edges by the voxel; yield each slab done."""
    out, image = grid.turn.apply(labels), grid.turn.apply(volume.read())
    back = grid.turn.geometry.reorientation(volume.geometry.codes)
    inner = _inner(grid, coarse) if max(grid.factors) > 1 else None
    table = np.array([n if n in wanted else 0 for n in range(len(TISSUES) + 1)], np.uint8)
    spacing = np.asarray(grid.turn.geometry.spacing)
    for start in range(0, out.shape[0], SLAB):
        stop = min(start + SLAB, out.shape[0])
        wide = slice(max(start - 2, 0), stop + 2)
        hu = np.nan_to_num(np.asarray(image[wide], np.float32))
        smooth = ndimage.gaussian_filter(hu, 0.8 / spacing, truncate=2)
        own = slice(start - wide.start, start - wide.start + stop - start)
        region = Region((start, 0, 0), (stop, *out.shape[1:]))
        slab = grid.native(coarse, region)
        if inner is not None:
            _sharpen(slab, hu[own], grid.native(inner, region))
        out[start:stop] = table[_with_tissue(slab, smooth[own], wanted)]
        yield back.region(region)


def _inner(grid: Grid, coarse: npt.NDArray[np.uint8]) -> Mask:
    """Working voxels whose label is certain for all native voxels in them."""
    inner = np.zeros(coarse.shape, bool)
    for number in (LUNG_LEFT, LUNG_RIGHT, AIRWAYS, BONE):
        inner |= ndimage.binary_erosion(coarse == number, border_value=1)
    return inner


def _sharpen(slab: npt.NDArray[np.uint8], hu: npt.NDArray[np.float32], inner: Mask) -> None:
    """Edge voxels keep the label of bone or air only if they are as dense as that."""
    edge = ~inner
    slab[edge & (slab == BONE) & (hu < BONE_HU)] = BODY
    for number in (LUNG_LEFT, LUNG_RIGHT, AIRWAYS):
        slab[edge & (slab == number) & (hu > AIR_HU)] = BODY


def _with_tissue(
    slab: npt.NDArray[np.uint8], hu: npt.NDArray[np.float32], wanted: set[int]
) -> npt.NDArray[np.uint8]:
    """Fat and soft tissue by density in the rest of the body; an unwanted class is body again."""
    rest = slab == BODY
    slab[rest & (hu > FAT_HU[0]) & (hu <= FAT_HU[1])] = FAT
    slab[rest & (hu > SOFT_HU[0]) & (hu <= SOFT_HU[1])] = SOFT_TISSUE
    if BODY in wanted:
        slab[(slab > 0) & ~np.isin(slab, sorted(wanted))] = BODY
    return slab
