"""From a stored array to the network's input: crop, transpose, resample, normalise.

Isensee et al., nnU-Net (Nature Methods 2021), as the released STU-Net plans use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from openmedlab.core import InputError, Region
from openmedlab.stunet.plan import Plan, Spacing, Triple
from openmedlab.stunet.resample import (
    resampled_shape,
    resize_cubic,
    resize_mask,
    separate_axis,
)


@dataclass(frozen=True, eq=False)
class Prepared:
    """The network's input and the way back.

    Attributes
    ----------
    image
        float32 (z, y, x) in the plan's frame and spacing.
    crop
        The part of the array that was used.
    transpose
        Frame axis k is array axis ``transpose[k]``.
    separate
        The frame axis that is resampled apart, if any.
    """

    image: Tensor
    crop: Region
    transpose: Triple
    separate: int | None

    def frame(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the view of a whole native array that `image` shows."""
        return array[self.crop.slices].transpose(self.transpose)

    def native(self, region: Region) -> Region:
        """Take a region of `frame`'s view to the whole native array."""
        back = np.argsort(self.transpose)
        start, stop = (np.array(side)[back] for side in (region.start, region.stop))
        return Region(tuple(start), tuple(stop)).shifted(self.crop.start)

    @property
    def shape(self) -> Triple:
        """Of `image`."""
        z, y, x = self.image.shape
        return z, y, x


def resample(
    array: npt.NDArray[Any], spacing: Spacing, plan: Plan, device: torch.device
) -> Prepared:
    """Crop to the non-zero part, transpose and resample; intensities as they are.

    Parameters
    ----------
    array
        (z, y, x), in the orientation the network was trained on.
    spacing
        Of its axes, mm.

    Raises
    ------
    InputError
        Every voxel is 0.
    """
    crop = Region.of_mask(array != 0)
    if crop is None:
        raise InputError("Every voxel of the volume is 0; there is nothing to label.")
    view = array[crop.slices].transpose(plan.transpose)
    here = [spacing[k] for k in plan.transpose]
    separate = separate_axis(here, plan.spacing)
    new = resampled_shape(view.shape, here, plan.spacing)
    image = resize_cubic(view, new, separate, device)
    return Prepared(image, crop, plan.transpose, separate)


def inside_mask(array: npt.NDArray[Any], prepared: Prepared) -> Tensor:
    """Return where the non-zero part, its holes filled, lies on the resampled grid."""
    inside = ndimage.binary_fill_holes(array != 0)
    view, device = prepared.frame(inside), prepared.image.device
    return resize_mask(view, prepared.shape, prepared.separate, device)


def normalise(image: Tensor, plan: Plan, inside: Tensor | None = None) -> Tensor:
    """Normalise in place as the plan says; ``inside`` is needed where it is masked."""
    if plan.scheme == "nonCT":
        seen = image if inside is None else image[inside]
        deviation, mean = torch.std_mean(seen.double(), correction=0)
        image.sub_(float(mean)).div_(float(deviation) + 1e-8)
    elif plan.scheme != "noNorm":
        _normalise_ct(image, plan)
    if inside is not None:
        image.masked_fill_(~inside, 0.0)
    return image


def _normalise_ct(image: Tensor, plan: Plan) -> None:
    known = plan.intensities
    assert known is not None
    mean, deviation = known.mean, known.deviation
    if plan.scheme == "CT2":
        own = image[(image > known.lowest) & (image < known.highest)].double()
        deviation, mean = (float(v) for v in torch.std_mean(own, correction=0))
    image.clamp_(known.lowest, known.highest).sub_(mean).div_(deviation)
