"""Synthetic scenes with a known answer."""

from __future__ import annotations

import numpy as np

from openmedlab.builtin import ClickSegmenter
from openmedlab.core import CancelToken, Geometry, Progress, Volume


def ellipsoid(shape, centre, radii):
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def make_scene(
    shape=(32, 48, 56), spacing=(3.0, 1.5, 1.5), levels=(40.0, 110.0), noise=8.0, seed=0, **kwargs
):
    """A bright ellipsoid in a darker surrounding, with noise."""
    rng = np.random.default_rng(seed)
    centre = [n / 2 for n in shape]
    organ = ellipsoid(shape, centre, [max(n / 4.5, 0.6) for n in shape])
    image = np.where(organ, levels[1], levels[0]) + rng.normal(0, noise, shape)
    geometry = Geometry.from_spacing(shape, spacing, **kwargs)
    return Volume(image.astype(np.float32), geometry), organ


def segment(volume, prompts, method=None, previous=None):
    """The mask on the whole grid, and the patch, for prompts given at once."""
    method = method or ClickSegmenter()
    progress, cancel = Progress(), CancelToken()
    region = method.region(volume.geometry, prompts)
    encoding = method.encode(volume, region, progress, cancel)
    patch = method.predict(encoding, prompts, previous, progress, cancel)
    mask = np.zeros(volume.shape, bool)
    mask[patch.region.slices] = patch.mask
    return mask, patch
