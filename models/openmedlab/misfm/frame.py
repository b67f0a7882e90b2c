"""The grid a fine-tuned MIS-FM network sees a volume on: its axes, voxel size and grey values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.core import Geometry, InputError, Volume

AXES = "SAR"


@dataclass(frozen=True)
class Frame:
    """Volumes turned to superior, anterior, right and brought to one voxel size.

    Attributes
    ----------
    spacing
        Voxel size (z, y, x), in the volumes' unit.
    """

    spacing: tuple[float, float, float]

    def image(self, volume: Volume) -> Tensor:
        """Return the volume on the frame, float32 (z, y, x), mean 0 and deviation 1.

        Raises
        ------
        InputError
            All voxels are equal.
        """
        turn = volume.geometry.reorientation(AXES)
        values = torch.from_numpy(np.ascontiguousarray(turn.apply(volume.read()), np.float32))
        shape = self.shape(volume.geometry)
        image = functional.interpolate(values[None, None], shape, mode="trilinear")[0, 0]
        deviation, mean = torch.std_mean(image)
        if not deviation > 0:
            raise InputError(f"All voxels of {volume.name!r} are equal; there is nothing to see.")
        return (image - mean) / deviation

    def shape(self, geometry: Geometry) -> tuple[int, int, int]:
        """Return the voxels (z, y, x) of a volume on the frame."""
        here = geometry.reorientation(AXES).geometry
        z, y, x = (
            max(1, round(n * s / wanted))
            for n, s, wanted in zip(here.shape, here.spacing, self.spacing, strict=True)
        )
        return z, y, x

    def labels(self, labels: npt.NDArray[Any], geometry: Geometry) -> npt.NDArray[np.uint8]:
        """Return native labels on the frame, by nearest neighbour."""
        turned = geometry.reorientation(AXES).apply(labels)
        return _nearest(turned, self.shape(geometry))

    def native(self, labels: npt.NDArray[Any], geometry: Geometry) -> npt.NDArray[np.uint8]:
        """Return labels of the frame on the native grid, by nearest neighbour."""
        turn = geometry.reorientation(AXES)
        return np.ascontiguousarray(turn.undo(_nearest(labels, turn.geometry.shape)))


def _nearest(labels: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[np.uint8]:
    values = torch.from_numpy(np.ascontiguousarray(labels, np.uint8))[None, None]
    found = functional.interpolate(values, tuple(shape), mode="nearest-exact")
    return np.asarray(found[0, 0].numpy())
