"""A try on the visible part of a volume: seconds, and a threshold that moves at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_openmedlab.layers.geometry import KEY, finest, transform_of, volumetric
from openmedlab.axons.methods import AxonSegmenter, SegmenterChoice, components
from openmedlab.blocks import read_padded
from openmedlab.core import InputError, Region
from openmedlab.core.volume import ArrayLike3D

DEPTH, SIDE = 32, 192


@dataclass(frozen=True, eq=False)
class Trial:
    """What a method finds in one part of a volume.

    Attributes
    ----------
    region
        The part.
    probability
        float32 (z, y, x) of the region's shape.
    choice
        The method.
    """

    region: Region
    probability: npt.NDArray[np.float32]
    choice: SegmenterChoice

    @classmethod
    def of(
        cls, array: ArrayLike3D, region: Region, choice: SegmenterChoice, segmenter: AxonSegmenter
    ) -> Trial:
        """Segment a region of a volume, with the halo that the method wants."""
        halo = segmenter.halo
        block = read_padded(array, region, halo)
        found = np.asarray(segmenter.segment_block(block, halo), np.float32)
        return cls(region, found, choice)

    def mask(self, threshold: float, smallest: int) -> npt.NDArray[np.uint8]:
        """Return the axons of another threshold and size, by the rules of a whole run."""
        strict = self.choice.seed > self.choice.threshold
        seed = max(threshold, self.choice.seed) if strict else threshold
        rules = replace(self.choice, threshold=threshold, seed=seed, smallest=smallest)
        return components(self.probability, rules).astype(np.uint8)


def visible_region(viewer: ViewerModel, image: Image, canvas: tuple[int, int]) -> Region:
    """Return the part of an image that is looked at, no larger than a try may be.

    Parameters
    ----------
    viewer
        Its camera and slice tell what is looked at.
    image
        A volume (z, y, x).
    canvas
        Height and width of the canvas in pixels.

    Raises
    ------
    InputError
        Nothing of the image is in view.
    """
    shape = volumetric(finest(image)).shape
    half = np.asarray(canvas, float) / (2 * viewer.scene.camera.zoom)
    world = np.asarray(viewer.dims.point, float)[-3:]
    shown = list(viewer.dims.displayed[-2:])
    centre = np.asarray(viewer.scene.camera.center, float)[-2:]
    corners = []
    for sign in (-1, 1):
        corner = world.copy()
        for axis, middle, reach in zip(shown, centre, half, strict=True):
            corner[axis - viewer.dims.ndim] = middle + sign * reach
        corners.append(np.asarray(image.world_to_data(corner), float)[-3:])
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    start, stop = [], []
    for axis in range(3):
        first, last = max(low[axis], 0), min(high[axis] + 1, shape[axis])
        if last <= first:
            raise InputError(f"Nothing of {image.name!r} is in view; move it into the canvas.")
        thin = axis - 3 + viewer.dims.ndim not in shown
        wanted = DEPTH if thin else min(SIDE, last - first)
        begin = int(np.clip((first + last - wanted) / 2, 0, max(0, shape[axis] - wanted)))
        start.append(begin)
        stop.append(int(min(begin + wanted, shape[axis])))
    (z, y, x), (deep, high, wide) = start, stop
    return Region((z, y, x), (deep, high, wide))


def trial_layer(trial: Trial, image: Image, threshold: float, smallest: int, name: str) -> Labels:
    """Return a labels layer of the try that lies where it was cut out of the image."""
    shift = np.eye(4)
    shift[:3, 3] = trial.region.start
    return Labels(
        trial.mask(threshold, smallest),
        name=name,
        affine=transform_of(image) @ shift,
        units=image.units[-3:],
        metadata={KEY: {"method": trial.choice.name}},
    )
