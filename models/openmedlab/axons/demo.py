"""A small brain of winding axons, made offline, and the picture of what was found in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.geometry import Geometry
from openmedlab.core.region import Index3
from openmedlab.core.volume import Volume
from openmedlab.io.atomic import replacing

SPACING = (3.0, 1.625, 1.625)
GROUND, NOISE, BRIGHT = 900.0, 60.0, 9000.0


def winding_axons(shape: Index3, fibres: int, seed: int = 0) -> Volume:
    """Return a light-sheet-like volume: bright winding fibres, dark outside of the tissue.

    Parameters
    ----------
    shape
        Voxels along (z, y, x); tissue fades out along x, and outside of it
        the camera reads 0.
    fibres
        How many fibres.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    for _ in range(fibres):
        place = _path(rng, shape)
        image[tuple(place.T)] = rng.uniform(0.5, 1.0)
    image = ndimage.gaussian_filter(image, (0.8, 1.1, 1.1), truncate=3)
    image *= BRIGHT / max(float(image.max()), 1e-9)
    image += rng.normal(GROUND, NOISE, shape).astype(np.float32)
    image *= np.clip((np.arange(shape[2]) / shape[2] - 0.05) / 0.1, 0, 1)
    geometry = Geometry.from_spacing(shape, SPACING, unit="micrometer")
    return Volume(np.clip(image, 0, 65535).astype(np.uint16), geometry, "LS", "winding axons")


def _path(rng: np.random.Generator, shape: Index3) -> npt.NDArray[np.int64]:
    """Return the voxels of one winding fibre that starts in the tissue."""
    turns = rng.normal(0, 0.25, (4 * max(shape), 3))
    heading = np.cumsum(turns, axis=0) * 0.15 + rng.normal(size=3)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    start = rng.uniform((0, 0, shape[2] * 0.1), shape)
    place = np.rint(start + np.cumsum(0.5 * heading, axis=0)).astype(np.int64)
    outside = ((place < 0) | (place >= shape)).any(axis=1)
    return place[: int(np.argmax(outside)) if outside.any() else len(place)]


def picture(image: npt.NDArray[Any], labels: npt.NDArray[Any], path: Path, title: str) -> Path:
    """Write a PNG: maximum projections along z, the image and the image with its axons."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    flat = image.max(axis=0).astype(np.float32)
    low, high = np.percentile(flat, (1, 99.7))
    grey = np.clip((flat - low) / max(float(high - low), 1e-9), 0, 1) ** 0.6
    found = labels.max(axis=0)
    colours = np.random.default_rng(3).uniform(0.25, 1, (int(found.max()) + 1, 3))
    over = np.repeat(grey[..., None], 3, axis=2) * 0.7
    over[found > 0] = colours[found[found > 0]]
    across = min(6.0, 6.0 * flat.shape[1] / flat.shape[0])
    figure = Figure(figsize=(2 * across + 0.4, across * flat.shape[0] / flat.shape[1] + 0.6))
    for place, (shown, words) in enumerate(((grey, "image"), (over, title)), 1):
        axes = figure.add_subplot(1, 2, place)
        axes.imshow(shown, cmap="gray", interpolation="nearest")
        axes.set_title(words, fontsize=9)
        axes.axis("off")
    figure.tight_layout()
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_figure(str(temporary), format="png", dpi=110)
    return path
