"""A tiny method and small volumes for tests of the axon pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import ndimage

from openmedlab.axons.methods import METHODS
from openmedlab.core import Geometry, Volume
from openmedlab.io import write_volume

SPACING = (3.0, 1.5, 1.5)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur over the volume's maximum as a probability; empty where all is 0."""

    top: float

    halo = (4, 4, 4)
    alignment = (1, 1, 1)

    def is_empty(self, block):
        return not block.any()

    def segment_block(self, block, halo):
        inner = tuple(slice(h, n - h) for h, n in zip(halo, block.shape, strict=True))
        soft = ndimage.gaussian_filter(block.astype(np.float32), 1.0, truncate=4)
        found = np.minimum(soft / self.top, 1)[inner]
        found[block[inner] == 0] = 0
        return found.astype(np.float32)


def make_blur(statistics, weights):
    return Blur(statistics.maximum / 2)


def use_blur(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the tiny method among the methods, under the name ``blur``."""
    choice = replace(
        METHODS["ridge"],
        name="blur",
        threshold=0.2,
        seed=0.4,
        make=make_blur,
        measure=METHODS["axon-small"].measure,
        smallest=12,
    )
    monkeypatch.setitem(METHODS, "blur", choice)


def tubes(shape=(50, 70, 90), seed=1) -> np.ndarray:
    """Winding bright lines and specks on a dark ground with an empty half."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    for _ in range(12):
        spot, step = rng.uniform(0, shape), rng.normal(size=3)
        for _ in range(150):
            step = 0.9 * step + 0.35 * rng.normal(size=3)
            spot = spot + step / np.linalg.norm(step)
            voxel = np.rint(spot).astype(int)
            if not all(0 <= v < n for v, n in zip(voxel, shape, strict=True)):
                break
            image[tuple(voxel)] = 30000
    image[tuple((rng.random((3, 60)) * np.array(shape)[:, None]).astype(int))] = 40000
    image = ndimage.gaussian_filter(image, 0.8) + rng.uniform(90, 110, shape)
    image[:, :, : shape[2] // 3] *= rng.random((*shape[:2], shape[2] // 3)) > 2
    return image.astype(np.uint16)


def write_image(folder, array=None, name="brain.ome.zarr"):
    """Write a volume as OME-Zarr; return its path."""
    voxels = tubes() if array is None else array
    geometry = Geometry.from_spacing(voxels.shape, SPACING, (100, 200, 300), unit="micrometer")
    return write_volume(Volume(voxels, geometry, "LS", "brain"), folder / name)
