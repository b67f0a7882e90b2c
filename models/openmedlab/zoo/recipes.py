"""Input recipes of reference cases: the numbers are fixed by seeds, so none are shipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError

Array = npt.NDArray[Any]


def make_input(recipe: Mapping[str, Any]) -> Any:
    """Return the array (or arrays) of one recipe, ``{"kind": ..., parameters}``.

    Raises
    ------
    InputError
        The kind is unknown.
    """
    parameters = dict(recipe)
    kind = parameters.pop("kind")
    if kind not in RECIPES:
        raise InputError(f"{kind!r} is no input recipe; known: {', '.join(RECIPES)}.")
    return RECIPES[kind](**parameters)


def normal(seed: int, shape: Sequence[int], scale: float = 1.0, shift: float = 0.0) -> Array:
    """Gaussian noise, float32."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return (noise * scale + shift).astype(np.float32)


def uniform(seed: int, shape: Sequence[int]) -> Array:
    """Uniform noise in [0, 1), float32."""
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def random_mask(seed: int, shape: Sequence[int], p: float) -> Array:
    """Ones with probability ``p``, float32."""
    return (np.random.default_rng(seed).random(shape) < p).astype(np.float32)


def integers(seed: int, shape: Sequence[int], low: int, high: int, dtype: str) -> Array:
    """Integers in [low, high)."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def values(data: Any, dtype: str) -> Array:
    """Return the numbers themselves."""
    return np.array(data, dtype=dtype)


def blob(
    shape: Sequence[int],
    centre: Sequence[float],
    radius: Sequence[float],
    amp: float,
    reshape: Sequence[int] | None = None,
) -> Array:
    """Mask logits of an ellipsoid: ``amp`` in its centre, 0 on its surface, at least ``-amp``."""
    distance = np.zeros(tuple(shape))
    for axis, (c, r) in enumerate(zip(centre, radius, strict=True)):
        distance = distance + ((_axis(len(shape), axis, shape[axis]) - c) / r) ** 2
    logits = np.clip(amp * (1 - distance), -amp, amp).astype(np.float32)
    return logits.reshape(reshape if reshape is not None else logits.shape)


def image2d(seed: int, h: int, w: int) -> Array:
    """Seven filled ellipses and noise as an RGB picture (h, w, 3), uint8."""
    random = np.random.default_rng(seed)
    picture = np.full((h, w, 3), 20.0)
    rows, columns = _axis(2, 0, h) / h, _axis(2, 1, w) / w
    for _ in range(7):
        (cy, cx), (ry, rx) = random.uniform(0.15, 0.85, 2), random.uniform(0.05, 0.30, 2)
        colour = random.uniform(20, 230, 3)
        picture[((rows - cy) / ry) ** 2 + ((columns - cx) / rx) ** 2 <= 1] = colour
    noisy = picture + 10 * random.standard_normal((h, w, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def volume3d(
    seed: int,
    shape_zyx: Sequence[int],
    part: str,
    dtype: str = "int16",
    labels: int = 1,
    low: float = -200.0,
    noise: float = 15.0,
) -> Array:
    """Phantom (z, y, x): five plain ellipsoids, then ``labels`` labelled ones, and noise."""
    random = np.random.default_rng(seed)
    image, label = np.full(tuple(shape_zyx), low), np.zeros(tuple(shape_zyx), np.uint8)
    axes = [_axis(3, a, n) / n for a, n in enumerate(shape_zyx)]
    for k in range(1 - 5, labels + 1):
        centre, radii = random.uniform(0.25, 0.75, 3), random.uniform(0.10, 0.30, 3)
        value = random.uniform(-100, 900)
        distance = sum(((g - c) / r) ** 2 for g, c, r in zip(axes, centre, radii, strict=True))
        image[distance <= 1] = value
        if k > 0:
            label[distance <= 1] = k
    if part == "label":
        return label
    image = image + noise * random.standard_normal(image.shape)
    return (np.rint(image) if np.dtype(dtype).kind == "i" else image).astype(dtype)


def brains(seed: int, shape: Sequence[int], keys: Sequence[str]) -> dict[str, dict[str, Array]]:
    """Two brains (``fix``, ``mov``): noise for the grey images, random boxes for the parts.

    Arrays are float32 of shape (1, 1, *shape).
    """
    random = np.random.default_rng(seed)

    def part(key: str) -> Array:
        if key in ("simi", "tra"):
            return random.random(shape).astype(np.float32)
        start = [int(random.integers(0, s // 2)) for s in shape]
        size = [int(random.integers(s // 8, s // 2)) for s in shape]
        box = np.zeros(tuple(shape), np.float32)
        box[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = 1
        return box

    return {side: {key: part(key)[None, None] for key in keys} for side in ("fix", "mov")}


def _axis(dimensions: int, axis: int, size: int) -> Array:
    shape = [1] * dimensions
    shape[axis] = size
    return np.arange(size).reshape(shape)


RECIPES: dict[str, Callable[..., Any]] = {
    "normal": normal,
    "uniform": uniform,
    "mask": random_mask,
    "integers": integers,
    "values": values,
    "blob": blob,
    "image2d": image2d,
    "volume3d": volume3d,
    "brains": brains,
}
