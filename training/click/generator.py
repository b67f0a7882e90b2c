"""Generated volumes for the promptable network: objects of exact truth, in anatomy's manner.

    python training/click/generator.py --out FOLDER --count 400 [--first 0]

Grey values are drawn in units of the noise: a contrast of 3 is three standard deviations.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from click_shapes import (
    SHAPES,
    Floats,
    Mask,
    Part,
    Random,
    Space,
    frame,
    noise,
    organs,
    size,
    solid,
)
from scipy import ndimage

Labels = npt.NDArray[np.uint8]

FEWEST, MOST = 4, 30
SMALLEST = 24
FAINT = 0.5
SEED = 9


@dataclass
class Canvas:
    """What is painted so far.

    Attributes
    ----------
    values
        Grey values without noise, float32 (z, y, x).
    rough
        Strength of the fine texture.
    coarse
        Strength of the coarse texture.
    labels
        The objects.
    means
        Grey value of each object painted, the first being the background's.
    """

    values: Floats
    rough: Floats
    coarse: Floats
    labels: Labels
    means: list[float]

    @classmethod
    def blank(cls, side: int) -> Canvas:
        """Return a canvas of no objects."""
        shape = (side,) * 3
        values, rough, coarse = np.zeros((3, *shape), np.float32)
        return cls(values, rough, coarse, np.zeros(shape, np.uint8), [0.0])

    def fill(self, part: Part, value: float, rough: float, coarse: float) -> None:
        """Give a part its look."""
        self.values[part.box][part.mask] = value
        self.rough[part.box][part.mask] = rough
        self.coarse[part.box][part.mask] = coarse


def ring(part: Part, shape: Sequence[int], reach: int = 3) -> Part:
    """Return the voxels around a part, at most ``reach`` away."""
    low = [max(0, s.start - reach) for s in part.box]
    box = tuple(
        slice(a, min(n, s.stop + reach)) for a, n, s in zip(low, shape, part.box, strict=True)
    )
    mask = np.zeros([s.stop - s.start for s in box], bool)
    mask[tuple(slice(s.start - a, s.stop - a) for a, s in zip(low, part.box, strict=True))] = (
        part.mask
    )
    return Part(box, ndimage.binary_dilation(mask, iterations=reach) & ~mask)  # type: ignore[arg-type]


def contrast(random: Random) -> float:
    """Return a contrast against the surroundings: mostly 1 to 7, sometimes faint, of any sign."""
    if random.random() < 0.15:
        strength = random.uniform(0.2, 1.2)
    else:
        strength = np.exp(random.uniform(np.log(1.0), np.log(7.5)))
    return float(strength * random.choice([-1, 1]))


def look(random: Random, canvas: Canvas, part: Part) -> tuple[float, float, float]:
    """Return mean and textures of a new object: its own mean, or that of another in the scene."""
    rough = random.uniform(0, 1.2) if random.random() < 0.4 else random.uniform(0, 0.3)
    coarse = random.uniform(0, 1.5) if random.random() < 0.3 else random.uniform(0, 0.3)
    if random.random() < 0.25:
        return float(random.choice(canvas.means)), rough, coarse
    around = ring(part, canvas.values.shape)
    near = canvas.values[around.box][around.mask]
    base = float(np.median(near)) if near.size else canvas.means[0]
    thin = 1 + 2.0 / max(1.0, float(part.mask.sum()) ** (1 / 3) / 3)
    return base + contrast(random) * thin, rough, coarse


def paint(random: Random, canvas: Canvas, parts: list[Part], alike: float) -> None:
    """Paint parts as objects, with ``alike`` probability in one look."""
    same, shared = random.random() < alike, None
    style = random.random()
    for part in parts:
        if canvas.labels.max() >= MOST or part.mask.sum() < SMALLEST:
            continue
        if shared is None or not same:
            shared = look(random, canvas, part)
        mean, rough, coarse = shared
        mean += float(random.normal(0, 0.15))
        canvas.fill(part, mean, rough, coarse)
        canvas.labels[part.box][part.mask] = canvas.labels.max() + 1
        canvas.means.append(mean)
        if style < 0.22:
            _core(random, canvas, part, mean)
        elif style < 0.4:
            _contents(random, canvas, part, mean)


def _core(random: Random, canvas: Canvas, part: Part, mean: float) -> None:
    """Make a bone of it: a bright rim about a darker core."""
    inner = ndimage.binary_erosion(part.mask, iterations=int(random.integers(1, 4)))
    drop = random.uniform(0.5, 4) * random.choice([-1, 1], p=[0.8, 0.2])
    canvas.fill(Part(part.box, inner), mean - drop, random.uniform(0.2, 1.2), 0.3)


def _contents(random: Random, canvas: Canvas, part: Part, mean: float) -> None:
    """Put vessels, lesions or bubbles into an object; they stay part of it."""
    shape, wave = part.mask.shape, random.uniform(2.5, 8)
    field = noise(random, shape, wave)
    if random.random() < 0.5:
        inside = np.abs(field + 0.3 * noise(random, shape, 2.5)) < random.uniform(0.05, 0.2)
        inside &= np.abs(noise(random, shape, wave)) < 0.5
    else:
        inside = field > random.uniform(1.2, 2.2)
    strength = random.uniform(1, 4) if random.random() < 0.8 else random.uniform(6, 15)
    value = mean + strength * random.choice([-1, 1])
    canvas.fill(Part(part.box, inside & part.mask), value, 0.2, 0.2)


def ground(random: Random, space: Space, canvas: Canvas) -> Mask:
    """Paint air, body and its tissues, and return the body."""
    side = space.side
    body = np.ones((side,) * 3, bool)
    tissue = 0.0
    canvas.rough[:], canvas.coarse[:] = random.uniform(0, 0.4, 2)
    if random.random() < 0.6:
        centre = side * np.asarray(random.uniform(0.4, 0.6, 3), np.float32)
        radii = side * np.asarray(random.uniform(0.42, 0.8, 3), np.float32)
        box, level = solid(space, centre, radii, frame(random), 2.5)
        body[:] = False
        body[box] = level < 1
        air = random.uniform(5, 25) * (1 if random.random() < 0.1 else -1)
        canvas.fill(Part((slice(None),) * 3, ~body), air, 0, 0)
        if random.random() < 0.5:
            skin = Part(box, (level < 1) & (level > 1 - random.uniform(0.02, 0.12)))
            canvas.fill(skin, tissue + contrast(random), 0.2, 0.2)
    for _ in range(random.integers(0, 4)):
        field = noise(random, body.shape, random.uniform(6, 30))
        layer = (field > random.uniform(0.2, 1.5)) & body & (canvas.values == tissue)
        look_of = contrast(random) * random.uniform(0.3, 1), *random.uniform(0, 0.6, 2)
        canvas.fill(Part((slice(None),) * 3, layer), *look_of)
    return body


def objects(random: Random, space: Space, canvas: Canvas, body: Mask) -> None:
    """Paint the objects of a scene, family by family, and some that are no targets."""
    if random.random() < 0.45:
        paint(random, canvas, organs(space, body), alike=0.2)
    names = list(SHAPES)
    weights = np.array([SHAPES[name].weight for name in names])
    families = int(random.integers(3, 10))
    for name in random.choice(names, families, p=weights / weights.sum()):
        kind = SHAPES[name]
        parts = [
            Part(p.box, p.mask & body[p.box]) if random.random() < 0.95 else p
            for p in kind.draw(space)
        ]
        free = [p for p in parts if _free(random, canvas, p)]
        if random.random() < 0.1:
            for part in free:
                canvas.fill(part, *look(random, canvas, part))
                canvas.labels[part.box][part.mask] = 0
        else:
            paint(random, canvas, free, kind.alike)
    while canvas.labels.max() < 4:
        paint(random, canvas, SHAPES["blob"].draw(space), alike=1)


def _free(random: Random, canvas: Canvas, part: Part) -> bool:
    """Return whether a part may go where it would: not over most of a smaller object."""
    below = canvas.labels[part.box][part.mask]
    hit = np.bincount(below, minlength=256)
    whole = np.bincount(canvas.labels[part.box].ravel(), minlength=256)
    hidden = bool((hit[1:] > 0.6 * np.maximum(whole[1:], 1)).any())
    return not hidden or random.random() < 0.1


def spread(side: int, factor: float, smooth: bool) -> Floats:
    """Return the matrix that averages an axis to thick slices and resamples it back."""
    count = max(2, round(side / factor))
    edges = np.linspace(0, side, count + 1)
    places = np.arange(side)
    overlap = np.minimum(places + 1, edges[1:, None]) - np.maximum(places, edges[:-1, None])
    down = np.maximum(overlap, 0) / (side / count)
    at = (places + 0.5) * count / side - 0.5
    weights = np.maximum(0, 1 - np.abs(np.clip(at, 0, count - 1)[:, None] - np.arange(count)))
    if not smooth:
        weights = np.eye(count)[np.clip(np.rint(at), 0, count - 1).astype(int)]
    return np.asarray(weights @ down, np.float32)


def camera(random: Random, canvas: Canvas) -> tuple[Floats, Floats]:
    """Return the canvas as a scanner gives it, without noise and texture and with them.

    Blur, a bias field, Gaussian or Rician noise, and thick slices along one axis.
    """
    shape = canvas.values.shape
    plain = ndimage.gaussian_filter(canvas.values, random.uniform(0.4, 1.5), truncate=2.5)
    full = plain + canvas.rough * noise(random, shape, random.uniform(1.5, 3))
    full += canvas.coarse * noise(random, shape, random.uniform(5, 12))
    if random.random() < 0.5:
        low = float(plain.min()) - random.uniform(0, 20)
        field = random.uniform(0, 0.2) * noise(random, shape, random.uniform(0.4, 0.9) * shape[0])
        plain, full = ((v - low) * np.exp(field) + low for v in (plain, full))
    full = shake(random, full)
    if random.random() < 0.45:
        axis, factor = int(random.integers(3)), random.uniform(1.3, 5)
        slices = spread(shape[0], factor, smooth=random.random() < 0.7)
        plain, full = (
            np.moveaxis(np.tensordot(slices, v, (1, axis)), 0, axis) for v in (plain, full)
        )
    return plain, full


def shake(random: Random, image: Floats) -> Floats:
    """Return the image with noise, white or grained, Gaussian or Rician."""
    grain = random.standard_normal(image.shape, np.float32)
    if random.random() < 0.4:
        grain = ndimage.gaussian_filter(grain, random.uniform(0.4, 0.9), truncate=2.5)
        grain /= grain.std()
    loud = np.float32(np.exp(random.uniform(np.log(0.25), np.log(1.4))))
    if random.random() > 0.25:
        return image + loud * grain
    floor = float(image.min()) - random.uniform(0, 2)
    other = loud * random.standard_normal(image.shape, np.float32)
    return np.sqrt((image - floor + loud * grain) ** 2 + other**2) + np.float32(floor)


def metal(random: Random, space: Space, image: Floats) -> Floats:
    """Return the image with a piece of metal and the streaks that come from it."""
    centre, axis = space.somewhere(), int(random.integers(3))
    across = [c - m for c, m in zip(np.indices(image.shape, np.float32), centre, strict=True)]
    depth = across.pop(axis)
    distance = np.hypot(*across)
    rays = random.normal(0, 1, 90).astype(np.float32)
    turn = ((np.arctan2(*across) + np.pi) * (len(rays) / (2 * np.pi))).astype(int) % len(rays)
    near = np.exp(-((depth / random.uniform(2, 15)) ** 2) - distance / (0.3 * space.side))
    image = image + random.uniform(0.3, 2.5) * rays[turn] * near
    radius = size(random, space.side, 1.5, 0.05)
    piece = (distance < radius) & (np.abs(depth) < radius * random.uniform(0.5, 4))
    image[piece] = image.max() + random.uniform(0, 60)
    return image


def hide_unseen(random: Random, labels: Labels, plain: Floats, full: Floats) -> Labels:
    """Return the labels in order without scraps and without most objects that nobody can see."""
    kept, count = np.zeros_like(labels), 0
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        part = Part(box, without_scraps(labels[box] == label))
        if part.mask.sum() < SMALLEST:
            continue
        if seen(part, plain, full) < FAINT and random.random() < 0.6:
            continue
        count += 1
        kept[box][part.mask] = count
    return kept


def without_scraps(mask: Mask, least: float = 0.05) -> Mask:
    """Return the pieces of a mask that are no smaller than this share of it."""
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    large = sizes >= least * sizes[1:].sum()
    large[0] = False
    return np.asarray(large[pieces])


def seen(part: Part, plain: Floats, full: Floats) -> float:
    """Return the contrast that two fifths of the voxels around a part have to it, in noise."""
    around = ring(part, plain.shape)
    if not around.mask.any():
        return 0.0
    inside = part.mask
    level = float(np.median(plain[part.box][inside]))
    apart = np.quantile(np.abs(plain[around.box][around.mask] - level), 0.6)
    loud = (full[part.box][inside] - plain[part.box][inside]).std()
    return float(apart / max(float(loud), 1e-6))


def scene(random: Random, side: int = 96) -> tuple[Floats, Labels]:
    """Return a generated volume and its objects.

    Parameters
    ----------
    random
        Where all chance comes from.
    side
        Voxels along each axis.

    Returns
    -------
    tuple
        The image, float32 (side, side, side) in arbitrary grey values, and the objects,
        uint8: 0 outside, then 1, 2, ... without gaps.
    """
    space, canvas = Space(random, side), Canvas.blank(side)
    body = ground(random, space, canvas)
    objects(random, space, canvas, body)
    plain, full = camera(random, canvas)
    labels = hide_unseen(random, canvas.labels, plain, full)
    if labels.max() < FEWEST:
        return scene(random, side)
    if random.random() < 0.15:
        full[~body & (labels == 0)] = full.min() - random.uniform(0, 5)
    if random.random() < 0.08:
        full = metal(random, space, full)
    if random.random() < 0.2:
        full = -full
    gain = np.float32(np.exp(random.uniform(0, np.log(200))))
    full = gain * (full + np.float32(random.uniform(-20, 60)))
    order = random.permutation(3)
    return (
        np.ascontiguousarray(full.transpose(order), np.float32),
        np.ascontiguousarray(labels.transpose(order)),
    )


def write(folder: Path, first: int, count: int, side: int = 96) -> None:
    """Write volumes ``first`` to ``first + count - 1``; those already there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        file = folder / f"synthetic{number:04d}.npz"
        if file.exists():
            continue
        image, labels = scene(np.random.default_rng((SEED, number)), side)
        temporary = file.with_name(f"{file.name}.{os.getpid()}.part")
        with temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                image=image.astype(np.float16),
                labels=labels,
                spacing=np.ones(3, np.float32),
            )
        temporary.replace(file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the volumes that the command line asks for."""
    parser = argparse.ArgumentParser(description="Generate volumes for the promptable network.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=400, help="how many volumes")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--side", type=int, default=96, help="voxels along each axis")
    chosen = parser.parse_args(arguments)
    write(chosen.out, chosen.first, chosen.count, chosen.side)


if __name__ == "__main__":
    main()
