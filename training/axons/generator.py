"""Generated light-sheet volumes: axons of exact truth, and artefacts that are none.

Everything is drawn in contrast: 1 means as bright as the background under it. `compose` puts
contrast onto a background, real or generated, with the shot noise that the added light brings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int, int]
Random = np.random.Generator

WIDEST = 2.0


@dataclass(frozen=True)
class Optics:
    """The microscope: blur of a point in voxels (standard deviation, z and in the plane)."""

    axial: float
    lateral: float

    @classmethod
    def draw(cls, random: Random) -> Optics:
        """Return optics like those of the public volume (1.6 and 0.76), better and worse."""
        lateral = random.uniform(0.5, 1.0)
        return cls(lateral * random.uniform(1.0, 2.4), lateral)

    @property
    def sigmas(self) -> npt.NDArray[np.float64]:
        """Return the blur along z, y, x."""
        return np.array([self.axial, self.lateral, self.lateral])


@dataclass
class Scene:
    """What is drawn: contrast, and the truth of the axons in it.

    Attributes
    ----------
    contrast
        float32 (z, y, x).
    axons
        True inside axons.
    lines
        True on their centre lines.
    """

    contrast: Floats
    axons: Mask
    lines: Mask

    @classmethod
    def blank(cls, shape: Shape) -> Scene:
        """Return an empty scene."""
        return cls(np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool))


def path(
    random: Random, start: Floats, direction: Floats, length: float, bend: float, step: float = 0.5
) -> Floats:
    """Return a wandering line (n, 3): a random walk of its direction, flatter along z."""
    count = max(2, int(length / step))
    turns = random.normal(0, bend * step**0.5, (count, 3))
    turns = ndimage.gaussian_filter1d(turns, 6, axis=0)
    steps = np.empty((count, 3))
    for k, turn in enumerate(turns):
        direction = direction + turn
        direction = direction / np.linalg.norm(direction)
        steps[k] = direction
    return np.asarray(start + step * np.cumsum(steps, 0), np.float32)


def unit(random: Random) -> Floats:
    """Return a random direction, less often along z."""
    direction = random.normal(size=3) * (0.6, 1, 1)
    return np.asarray(direction / np.linalg.norm(direction), np.float32)


def tree(random: Random, shape: Shape, start: Floats | None = None) -> list[Floats]:
    """Return the lines of one branching axon."""
    if start is None:
        start = np.asarray(random.uniform(0, shape), np.float32)
    direction, bend = unit(random), random.uniform(0.03, 0.3)
    trunk = path(random, start, direction, random.uniform(20, 1.5 * max(shape)), bend)
    lines = [trunk]
    for _ in range(random.poisson(0.8)):
        parent = lines[random.integers(len(lines))]
        at = random.integers(len(parent) - 1)
        side = parent[at + 1] - parent[at] + 0.6 * unit(random)
        lines.append(
            path(random, parent[at], side / np.linalg.norm(side), random.uniform(15, 60), bend)
        )
    return lines


def bundle(random: Random, shape: Shape) -> list[Floats]:
    """Return fibres that run side by side."""
    guide = path(random, np.asarray(random.uniform(0, shape)), unit(random), 2 * max(shape), 0.06)
    guide = np.concatenate([2 * guide[0] - guide[::-1], guide])
    lines = []
    for _ in range(random.integers(4, 30)):
        offset = random.normal(0, random.uniform(2, 12), 3)
        wander = np.cumsum(random.normal(0, 0.08, guide.shape), 0)
        lines.append(np.asarray(guide + offset + ndimage.gaussian_filter1d(wander, 10, axis=0)))
    return lines


def arbour(random: Random, shape: Shape) -> list[Floats]:
    """Return a terminal arbour: many short, strongly bent branches in one place."""
    centre = random.uniform(0, shape)
    starts = centre + random.normal(0, 6, (random.integers(4, 14), 3))
    return [
        path(random, start, unit(random), random.uniform(8, 30), random.uniform(0.3, 0.8))
        for start in np.asarray(starts, np.float32)
    ]


def draw_lines(
    random: Random,
    scene: Scene,
    lines: list[Floats],
    optics: Optics,
    contrast: Callable[[], float],
) -> None:
    """Draw axons of 1 to 4 voxels' width, some with boutons, and note their truth."""
    shape = scene.contrast.shape
    for radius in np.unique(radii := random.choice([0.5, 0.75, 1.0, 1.5, WIDEST], len(lines))):
        light, centre = np.zeros(shape, np.float32), np.zeros(shape, bool)
        sigmas = np.sqrt(optics.sigmas**2 + (radius / 2) ** 2)
        for line in (line for line, r in zip(lines, radii, strict=True) if r == radius):
            along = _brightness(random, len(line)) * contrast()
            _splat(light, line, along * _peak(line, sigmas))
            _mark(centre, line)
        scene.contrast += ndimage.gaussian_filter(light, sigmas, truncate=3)
        scene.lines |= centre
        wide = ndimage.distance_transform_edt(~centre) if centre.any() else np.full(shape, 9.0)
        scene.axons |= wide <= max(radius, 1.0)


def _brightness(random: Random, count: int) -> Floats:
    """Return how bright an axon is along its way: slow changes, and boutons on some."""
    slow = ndimage.gaussian_filter1d(random.normal(size=count), 20) * 4
    along = np.exp(0.25 * slow)
    if random.random() < 0.4:
        beads = (random.random(count) < random.uniform(0.01, 0.06)) * random.uniform(4, 14)
        along *= 1 + ndimage.gaussian_filter1d(beads, 2.0)
    return np.asarray(along, np.float32)


def _peak(line: Floats, sigmas: Floats) -> Floats:
    """Return what each point must carry so that the blurred line is 1 on its axis."""
    steps = np.gradient(line, axis=0)
    spacing = np.maximum(np.linalg.norm(steps, axis=1), 1e-6)
    direction = steps / spacing[:, None]
    along = np.sqrt(((direction / sigmas) ** 2).sum(1))
    return np.asarray(2 * np.pi * np.prod(sigmas) * along * spacing, np.float32)


def _splat(light: Floats, points: Floats, amounts: Floats) -> None:
    """Add points between voxels to the eight voxels around each."""
    low = np.floor(points).astype(int)
    part = points - low
    for corner in np.ndindex(2, 2, 2):
        at = low + corner
        weight = np.prod(np.where(corner, part, 1 - part), 1) * amounts
        inside = np.all((at >= 0) & (at < light.shape), 1)
        np.add.at(light, tuple(at[inside].T), weight[inside])


def _mark(mask: Mask, points: Floats) -> None:
    at = np.rint(points).astype(int)
    at = at[np.all((at >= 0) & (at < mask.shape), 1)]
    mask[tuple(at.T)] = True


def dots(random: Random, scene: Scene, optics: Optics) -> None:
    """Bright specks, single or in clusters, round or slightly drawn out."""
    shape = scene.contrast.shape
    light = np.zeros(shape, np.float32)
    points = random.uniform(0, shape, (random.integers(3, 40), 3))
    if random.random() < 0.5:
        points = points[0] + random.normal(0, 8, points.shape)
    sigmas = np.sqrt(optics.sigmas**2 + random.uniform(0, 1.0) ** 2)
    strength = np.exp(random.normal(0.3, 0.9, len(points)))
    _splat(light, points, (strength * (2 * np.pi) ** 1.5 * np.prod(sigmas)).astype(np.float32))
    scene.contrast += ndimage.gaussian_filter(light, sigmas, truncate=3)


def cells(random: Random, scene: Scene, optics: Optics) -> None:
    """Cell bodies and clumps, 3 to 9 voxels in radius."""
    coordinates = np.indices(scene.contrast.shape, np.float32)
    for _ in range(random.integers(1, 7)):
        centre = random.uniform(0, scene.contrast.shape)
        radii = random.uniform(3, 9) * random.uniform(0.6, 1.4, 3)
        distance = sum(
            ((c - m) / r) ** 2 for c, m, r in zip(coordinates, centre, radii, strict=True)
        )
        body = np.asarray(distance < 1, np.float32) * random.uniform(0.2, 3)
        scene.contrast += ndimage.gaussian_filter(body, optics.sigmas, truncate=3)


def vessels(random: Random, scene: Scene, optics: Optics) -> None:
    """Vessels of 3.5 to 10 voxels' radius: dark, filled or with bright walls."""
    shape = scene.contrast.shape
    for _ in range(random.integers(1, 3)):
        centre = np.zeros(shape, bool)
        start = np.asarray(random.uniform(0, shape), np.float32)
        line = path(random, start, unit(random), 2 * max(shape), 0.08)
        _mark(centre, np.concatenate([2 * line[0] - line[::-1], line]))
        if not centre.any():
            continue
        distance, radius = ndimage.distance_transform_edt(~centre), random.uniform(3.5, 10)
        inside = np.where(distance < radius, random.uniform(-0.5, 0.8), 0)
        wall = np.exp(-(((distance - radius) / random.uniform(0.7, 1.5)) ** 2))
        inside = inside + wall * random.uniform(0, 1.0) * (random.random() < 0.6)
        scene.contrast += ndimage.gaussian_filter(
            inside.astype(np.float32), optics.sigmas, truncate=3
        )


def sheets(random: Random, scene: Scene, optics: Optics) -> None:
    """Membranes: thin curved surfaces."""
    side = max(scene.contrast.shape)
    height = ndimage.gaussian_filter(random.normal(size=(side, side)), 14) * 150
    axis = random.integers(3)
    surface = np.zeros(scene.contrast.shape, np.float32)
    view = np.moveaxis(surface, axis, 0)
    rows, columns = view.shape[1:]
    level = height[:rows, :columns] + random.uniform(0, view.shape[0])
    depth = np.arange(view.shape[0])[:, None, None] - level
    view += np.exp(-((depth / random.uniform(0.6, 2)) ** 2)) * random.uniform(0.1, 1.0)
    scene.contrast += ndimage.gaussian_filter(surface, optics.sigmas, truncate=3)


def stripes(random: Random, scene: Scene, optics: Optics) -> None:
    """Shadows and glare along the light sheet: straight lines of one slice or a few, along x."""
    depth, rows, _ = scene.contrast.shape
    profile = np.zeros((depth, rows), np.float32)
    for _ in range(random.integers(2, 25)):
        z, y = random.integers(depth), random.integers(rows)
        profile[z, y] += random.normal(0, 0.6)
    blur = (random.uniform(0.3, 2), random.uniform(0.5, 2))
    profile = ndimage.gaussian_filter(profile, blur) * np.prod(blur) * 4
    if random.random() < 0.5:
        profile = profile.T[:depth, :rows] if depth == rows else profile
    ramp = np.linspace(random.uniform(0, 1), random.uniform(0, 1), scene.contrast.shape[2])
    scene.contrast += (profile[:, :, None] * ramp).astype(np.float32)


def edges(random: Random, scene: Scene, optics: Optics) -> None:
    """The border of the tissue or of a bright region, rough, with a rim on some."""
    shape = scene.contrast.shape
    coordinates = np.indices(shape, np.float32)
    normal = random.normal(size=3) * (0.5, 1, 1)
    normal /= np.linalg.norm(normal)
    place = np.asarray(random.uniform(0.2, 0.8, 3) * shape)
    distance = sum(n * (c - p) for n, c, p in zip(normal, coordinates, place, strict=True))
    rough = ndimage.gaussian_filter(random.normal(size=shape), 5) * random.uniform(20, 160)
    distance = distance + rough
    step = 1 / (1 + np.exp(-np.clip(distance / random.uniform(0.5, 3), -30, 30)))
    light = step * (random.uniform(-0.8, -0.3) if random.random() < 0.5 else random.uniform(0.5, 5))
    if random.random() < 0.4:
        light = light + random.uniform(0.2, 1) * np.exp(-((distance / 1.5) ** 2))
    scene.contrast += ndimage.gaussian_filter(light.astype(np.float32), optics.sigmas, truncate=3)


def noise_specks(random: Random, scene: Scene, optics: Optics) -> None:
    """Single hot voxels."""
    count = random.integers(5, 80)
    at = tuple(random.integers(0, n, count) for n in scene.contrast.shape)
    scene.contrast[at] += random.exponential(0.8, at[0].size).astype(np.float32)


ARTEFACTS: dict[str, Callable[[Random, Scene, Optics], None]] = {
    "dots": dots,
    "cells": cells,
    "vessels": vessels,
    "sheets": sheets,
    "stripes": stripes,
    "edges": edges,
    "specks": noise_specks,
}


def add_axons(random: Random, scene: Scene, optics: Optics, least: float = 0.2) -> None:
    """Draw a random lot of axons: single trees, bundles, arbours."""
    shape = scene.contrast.shape
    lines = [line for _ in range(random.integers(2, 10)) for line in tree(random, shape)]
    typical = np.exp(random.uniform(np.log(0.3), np.log(3)))

    def contrast() -> float:
        return float(max(least, typical * np.exp(random.normal(0, 0.5))))

    if random.random() < 0.3:
        lines += bundle(random, shape)
    if random.random() < 0.25:
        lines += arbour(random, shape)
    draw_lines(random, scene, lines, optics, contrast)


def add_artefacts(
    random: Random, scene: Scene, optics: Optics, share: float = 0.3, least: int = 0
) -> list[str]:
    """Draw artefacts, each kind with probability ``share``, and return their kinds."""
    chosen = [name for name in ARTEFACTS if random.random() < share]
    while len(chosen) < least:
        chosen.append(str(random.choice(list(ARTEFACTS))))
    for name in chosen:
        ARTEFACTS[name](random, scene, optics)
    return chosen


def background(random: Random, shape: Shape) -> Floats:
    """Return a generated background in grey values: tissue, its texture, the camera's offset."""
    coarse = ndimage.gaussian_filter(random.normal(size=shape), random.uniform(8, 20))
    level = np.exp(random.uniform(np.log(300), np.log(4000)))
    tissue = level * np.exp(
        coarse / coarse.std() * random.uniform(0, 0.35)
        + texture(random, shape) * random.uniform(0, 0.2)
    )
    return np.asarray(tissue, np.float32)


def texture(random: Random, shape: Shape) -> Floats:
    """Return the fine structure that tissue has besides noise: deviation 1, longer along z."""
    lateral = random.uniform(0.7, 2.5)
    sigmas = (lateral * random.uniform(1, 1.5), lateral, lateral)
    fine = ndimage.gaussian_filter(random.standard_normal(shape, np.float32), sigmas)
    return np.asarray(fine / fine.std(), np.float32)


def compose(random: Random, tissue: Floats, contrast: Floats, gain: float, read: float) -> Floats:
    """Return what the camera sees above its offset: light, its shot noise and read noise.

    Parameters
    ----------
    tissue
        Light of the background (z, y, x); noise that it already has is kept.
    contrast
        Light added, in units of the local background.
    gain
        Variance of the shot noise per grey value.
    read
        Standard deviation of the read noise; both noises count what is added alone where
        the background is real (``read`` 0).
    """
    smooth = ndimage.gaussian_filter(tissue, 3)
    added = np.maximum(contrast, -0.95) * smooth
    light = np.maximum(tissue + added, 0)
    noisy = light if read == 0 else light + random.normal(0, read, light.shape)
    shot = np.maximum(added, 0) if read == 0 else light
    return np.asarray(noisy + random.normal(size=light.shape) * np.sqrt(gain * shot), np.float32)
