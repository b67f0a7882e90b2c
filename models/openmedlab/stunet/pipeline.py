"""One volume through the whole of nnU-Net's inference, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from openmedlab.core import CancelToken, Progress, Region
from openmedlab.stunet.export import Labels, NativeLabels
from openmedlab.stunet.plan import Plan, Spacing, Triple
from openmedlab.stunet.predict import Predictor
from openmedlab.stunet.preprocess import Prepared, inside_mask, normalise, resample
from openmedlab.stunet.window import Tiling, region_of, stream

TISSUE = -500.0
SPECK = 20_000.0
MARGIN = 12.0
STRIDE = 2

Fractions = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Body:
    """Where a CT is not air: a coarse mask of every second voxel."""

    mask: npt.NDArray[np.bool_]
    shape: Triple

    @classmethod
    def of(cls, image: Tensor, spacing: Sequence[float]) -> Body:
        """Find all tissue in a CT in HU, specks left out."""
        coarse = (image[::STRIDE, ::STRIDE, ::STRIDE] > TISSUE).cpu().numpy()
        parts, _ = ndimage.label(coarse)
        voxel = float(np.prod(spacing)) * STRIDE**3
        large = np.bincount(parts.ravel()) * voxel >= SPECK
        large[0] = False
        z, y, x = image.shape
        return cls(large[parts], (z, y, x))

    def bounds(self) -> Region:
        """Return the region of the body; the whole image where there is none."""
        box = Region.of_mask(self.mask)
        if box is None:
            return Region.whole(self.shape)
        scaled = region_of(*(slice(STRIDE * s.start, STRIDE * s.stop) for s in box.slices))
        return scaled.clipped(self.shape)

    def touches(self, region: Region) -> bool:
        """Whether any of the body lies in a region of the image."""
        part = tuple(slice(s.start // STRIDE, -(-s.stop // STRIDE)) for s in region.slices)
        return bool(self.mask[part].any())


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What stays the same for one volume.

    Attributes
    ----------
    predictor
        The network.
    array, spacing
        (z, y, x) in the orientation the network was trained on, mm.
    trim
        Leave out air around and between bodies; the array must be in HU.
    progress, cancel
        Told and asked between tiles.
    """

    predictor: Predictor
    array: npt.NDArray[Any]
    spacing: Spacing
    trim: bool
    progress: Progress
    cancel: CancelToken

    def label(
        self,
        plan: Plan,
        out: Labels,
        keep: Labels,
        part: Fractions | None = None,
        finished: Callable[[Region], None] = lambda _: None,
    ) -> None:
        """Write labels into ``out``, an array like `array` that holds 0.

        Parameters
        ----------
        plan
            Spacing, normalisation and tiles.
        out
            Written region by region, each named to ``finished``.
        keep
            The label of each class; 0 drops it.
        part
            Lower and upper fractions of the used axes to look at; all by default.
        """
        prepared, body = self._prepared(plan)
        native = NativeLabels(
            prepared.frame(out),
            prepared.shape,
            prepared.separate,
            self._domain(prepared, body, plan, part),
            keep,
            lambda region: finished(prepared.native(region)),
        )
        self._run(plan, prepared, body, native)

    def find(self, plan: Plan, numbers: set[int]) -> Fractions | None:
        """Return where some classes lie, as fractions of the used axes; None where nowhere."""
        prepared, body = self._prepared(plan)
        found = np.zeros(prepared.shape, np.uint8)
        keep = np.isin(np.arange(self.predictor.classes), list(numbers)).astype(np.uint8)
        domain = self._domain(prepared, body, plan, None)
        self._run(plan, prepared, body, NativeLabels(found, prepared.shape, None, domain, keep))
        box = Region.of_mask(found > 0)
        if box is None:
            return None
        size = np.array(prepared.shape)
        return np.array(box.start) / size, np.array(box.stop) / size

    def _run(self, plan: Plan, prepared: Prepared, body: Body | None, native: NativeLabels) -> None:
        domain = native.part
        image = prepared.image[domain.slices]

        def wanted(region: Region) -> bool:
            return body is None or body.touches(region.shifted(domain.start))

        tiling = Tiling.of(image.shape, plan.patch)
        stream(image, tiling, self.predictor, native.put, self.progress, self.cancel, wanted)

    def _prepared(self, plan: Plan) -> tuple[Prepared, Body | None]:
        with self.progress.stage("prepare"):
            prepared = resample(self.array, self.spacing, plan, self.predictor.device)
            body = Body.of(prepared.image, plan.spacing) if self.trim else None
            inside = inside_mask(self.array, prepared) if plan.masked else None
            normalise(prepared.image, plan, inside)
        return prepared, body

    def _domain(
        self, prepared: Prepared, body: Body | None, plan: Plan, part: Fractions | None
    ) -> Region:
        """Return the part of the image to tile: with a margin, and no smaller than a tile."""
        shape = prepared.shape
        domain = body.bounds() if body is not None else Region.whole(shape)
        if part is not None:
            low, high = (f * shape for f in part)
            box = Region(tuple(np.floor(low)), tuple(np.ceil(high)))
            domain = box.intersection(domain) or domain
        domain = domain.padded(int(np.ceil(MARGIN / s)) for s in plan.spacing)
        lacking = [max(0, p - n) for p, n in zip(plan.patch, domain.shape, strict=True)]
        return domain.padded(-(-n // 2) for n in lacking).clipped(shape)
