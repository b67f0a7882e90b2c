"""Shapes like those of anatomy: blobs, tubes and trees, shells, plates, chains, organs.

A shape is drawn into a bent `Space` and comes as parts: masks in boxes, one for each object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Random = np.random.Generator
Box = tuple[slice, slice, slice]


@dataclass
class Part:
    """One object: where it is True in its box."""

    box: Box
    mask: Mask


def noise(random: Random, shape: tuple[int, ...], wave: float) -> Floats:
    """Return smooth noise of mean 0 and standard deviation 1; ``wave`` is its grain in voxels."""
    counts = [int(n / wave) + 4 for n in shape]
    field = random.standard_normal(counts, np.float32)
    for count, length in zip(counts, shape, strict=True):
        places = (np.arange(count) - (count - 1) / 2) * wave + (length - 1) / 2
        weights = np.exp(-0.5 * ((np.arange(length)[:, None] - places) / (0.7 * wave)) ** 2)
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        field = np.tensordot(field, weights.astype(np.float32), (0, 1))
    return np.ascontiguousarray(field, np.float32)


class Space:
    """A cube of voxels, bent, so that what is drawn straight in it comes out warped."""

    def __init__(self, random: Random, side: int) -> None:
        """Bend the cube at two scales by a random amount."""
        self.random, self.side = random, side
        shape = (side,) * 3
        wide, narrow = random.uniform(0, 0.045) * side, random.uniform(0, 1.2)
        waves = random.uniform(0.2, 0.4) * side, random.uniform(5, 10)
        self.places = np.indices(shape, np.float32)
        for axis in range(3):
            self.places[axis] += wide * noise(random, shape, waves[0])
            self.places[axis] += narrow * noise(random, shape, waves[1])
        moved = self.places - np.indices(shape, np.float32)
        self.bend = float(np.abs(moved).max()) + 1

    def somewhere(self, margin: float = 0.12) -> Floats:
        """Return a random place, not too near the border."""
        low, high = margin * self.side, (1 - margin) * self.side
        return np.asarray(self.random.uniform(low, high, 3), np.float32)

    def around(self, centre: Floats, reach: float) -> tuple[Box, Floats]:
        """Return the box about a place and the bent coordinates in it, seen from the place."""
        reach = reach + self.bend
        low = np.clip(np.floor(centre - reach), 0, self.side - 1).astype(int)
        high = np.clip(np.ceil(centre + reach), low + 1, self.side).astype(int)
        box: Box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))  # type: ignore[assignment]
        return box, self.places[(slice(None), *box)] - centre[:, None, None, None]


def unit(random: Random) -> Floats:
    """Return a random direction."""
    direction = random.normal(size=3)
    return np.asarray(direction / np.linalg.norm(direction), np.float32)


def frame(random: Random, axis: Floats | None = None) -> Floats:
    """Return three directions at right angles (rows); ``axis`` is the first."""
    rows = random.normal(size=(3, 3))
    if axis is not None:
        rows[0] = axis
    turned = np.linalg.qr(rows.T)[0].T
    return np.asarray(turned * np.sign(turned[0] @ rows[0]), np.float32)


def line(random: Random, start: Floats, direction: Floats, length: float, bend: float) -> Floats:
    """Return a bent line (n, 3) in steps of one voxel."""
    turns = random.normal(0, bend, (max(4, int(length)), 3))
    turns = ndimage.gaussian_filter1d(turns, 6, axis=0)
    steps = direction + np.cumsum(turns, 0)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    return np.asarray(start + np.cumsum(steps, 0), np.float32)


def solid(
    space: Space, centre: Floats, radii: Floats, axes: Floats, power: float = 2.0
) -> tuple[Box, Floats]:
    """Return a box and the super-ellipsoid's level in it: below 1 inside, 1 on its surface."""
    box, seen = space.around(centre, float(np.max(radii)) * (1.0 if power <= 2 else 1.6))
    inside = np.abs(np.tensordot(axes / radii[:, None], seen, 1))
    if power == 2.0:
        return box, np.sqrt((inside**2).sum(0))
    return box, (inside**power).sum(0) ** np.float32(1 / power)


def lumpy(random: Random, level: Floats) -> Floats:
    """Return a level whose surface is, on some, lobed, folded or ragged."""
    if random.random() < 0.6:
        return level
    wave, height = np.exp(random.uniform(np.log(2.5), np.log(10))), random.uniform(0.03, 0.15)
    return level + np.float32(height) * noise(random, level.shape, wave)


def size(random: Random, side: int, least: float = 3.0, most: float = 0.375) -> float:
    """Return a log-uniform radius, at most this part of the cube's side."""
    return float(np.exp(random.uniform(np.log(least), np.log(max(most * side, least + 1)))))


def radii_of(random: Random, radius: float, spread: float = 0.45) -> Floats:
    """Return three radii about one."""
    return np.asarray(radius * np.exp(random.uniform(-spread, spread, 3)), np.float32)


def blob(space: Space) -> list[Part]:
    """Return a lump: a super-ellipsoid, or metaballs."""
    random, centre = space.random, space.somewhere()
    radius = size(random, space.side)
    if random.random() < 0.5:
        power = float(random.choice([1.5, 2.0, 2.0, 3.0, 5.0]))
        box, level = solid(space, centre, radii_of(random, radius), frame(random), power)
        return [Part(box, lumpy(random, level) < 1)]
    box, seen = space.around(centre, 1.6 * radius)
    total = np.zeros(seen.shape[1:], np.float32)
    for _ in range(random.integers(2, 7)):
        place = random.normal(0, 0.5 * radius, 3).astype(np.float32)
        gap = ((seen - place[:, None, None, None]) ** 2).sum(0)
        total += np.exp(-gap / (0.5 * radius * random.uniform(0.6, 1.3)) ** 2)
    return [Part(box, lumpy(random, 1.4 - total) < 1)]


def pair(space: Space) -> list[Part]:
    """Return twins left and right of a mirror plane; sometimes as one object of two parts."""
    random, middle = space.random, space.side / 2
    radii = radii_of(random, size(random, space.side, most=0.22))
    axes, power = frame(random), float(random.choice([1.6, 2.0, 3.0]))
    offset = random.uniform(0.9 * float(radii.mean()) + 1, 0.38 * space.side)
    centre = space.somewhere()
    mirror = np.asarray([1, 1, -1], np.float32)
    parts = []
    for hand in (1, -1):
        place = np.asarray([centre[0], centre[1], middle + hand * offset], np.float32)
        turned = axes if hand == 1 else axes * mirror
        box, level = solid(space, place, radii, turned, power)
        parts.append(Part(box, level < random.uniform(0.92, 1.08)))
    return [union(space, parts)] if random.random() < 0.15 else parts


def union(space: Space, parts: list[Part]) -> Part:
    """Return several parts as one object."""
    whole = np.zeros((space.side,) * 3, bool)
    for part in parts:
        whole[part.box] |= part.mask
    return cropped(whole)


def cropped(whole: Mask) -> Part:
    """Return a mask of the whole cube in its own box."""
    found = ndimage.find_objects(whole.view(np.uint8))
    box = found[0] if found else (slice(0, 1),) * 3
    return Part(box, whole[box].copy())


def stamp(whole: Mask, points: Floats, radius: float) -> None:
    """Set the balls of one radius about points."""
    reach = int(np.ceil(radius)) + 1
    offsets = np.indices((2 * reach + 1,) * 3).reshape(3, -1).T - reach
    offsets = offsets[(offsets**2).sum(1) <= (radius + 0.9) ** 2]
    points = points[:: max(1, int(radius / 2.5))]
    middle = np.rint(points).astype(int)
    at = middle[:, None] + offsets
    near = ((at - points[:, None]) ** 2).sum(-1) <= max(radius, 0.8) ** 2
    near &= np.all((at >= 0) & (at < whole.shape[0]), -1)
    whole[tuple(at[near].T)] = True


def branches(random: Random, side: int, radius: float) -> list[tuple[Floats, float]]:
    """Return the lines of a tree and their radii, thinner with each branching."""
    start = np.asarray(random.uniform(0.1, 0.9, 3) * side, np.float32)
    bend = random.uniform(0.01, 0.15)
    ways = [(line(random, start, unit(random), random.uniform(0.4, 1.3) * side, bend), radius)]
    for _ in range(random.poisson(2.5) if random.random() < 0.6 else 0):
        parent, thick = ways[random.integers(len(ways))]
        at = random.integers(len(parent) - 1)
        aside = parent[at + 1] - parent[at] + 0.9 * unit(random)
        length = random.uniform(0.15, 0.6) * side
        thin = max(1.0, thick * random.uniform(0.5, 0.9))
        ways.append((line(random, parent[at], aside, length, 1.3 * bend), thin))
    return ways


def tube(space: Space) -> list[Part]:
    """Return a bent tube or a tree: solid, or its lumen and its wall."""
    random, side = space.random, space.side
    radius = float(np.exp(random.uniform(0, np.log(8))))
    outer, inner = np.zeros((side,) * 3, bool), np.zeros((side,) * 3, bool)
    wall = random.uniform(1, 0.5 * radius + 1) if radius > 3 and random.random() < 0.5 else 0.0
    for way, thick in branches(random, side, radius):
        stamp(outer, way, thick)
        if thick > wall + 1 and wall:
            stamp(inner, way, thick - wall)
    if not wall:
        return [cropped(outer)]
    lumen, ring = cropped(inner), cropped(outer & ~inner)
    return [lumen, ring] if random.random() < 0.6 else [ring]


def shell(space: Space) -> list[Part]:
    """Return a hollow ellipsoid, whole or cut, mostly with what it holds."""
    random, centre = space.random, space.somewhere(0.25)
    radius = size(random, space.side, 7.0, 0.42)
    box, level = solid(space, centre, radii_of(random, radius, 0.25), frame(random))
    thick, level = random.uniform(1.5, 0.3 * radius + 1.5) / radius, lumpy(random, level)
    ring = (level < 1) & (level >= 1 - thick)
    if random.random() < 0.35:
        seen = space.places[(slice(None), *box)] - centre[:, None, None, None]
        height = np.tensordot(unit(random), seen, 1)
        return [Part(box, ring & (height > random.uniform(-0.6, 0.3) * radius))]
    parts = [Part(box, ring)]
    if random.random() < 0.7:
        parts.append(Part(box, level < 1 - thick))
    return parts


def plate(space: Space) -> list[Part]:
    """Return a bent plate: a scapula, a hip, a muscle's sheet."""
    random, centre = space.random, space.somewhere()
    wide, long = size(random, space.side, 8.0, 0.4), size(random, space.side, 8.0, 0.4)
    box, seen = space.around(centre, max(wide, long))
    across, u, v = np.tensordot(frame(random), seen, 1)
    curve, twist = random.normal(0, 0.5, 2) / max(wide, long)
    depth = across - curve * (u**2 + 0.3 * v**2) - twist * u * v
    half = random.uniform(0.8, 3.5) * (1 + random.uniform(0, 0.8) * u / wide)
    return [Part(box, (np.abs(depth) < half) & ((u / wide) ** 2 + (v / long) ** 2 < 1))]


def arch(random: Random, side: int) -> Floats:
    """Return a line to set a chain on: a bent line, or a horseshoe."""
    if random.random() < 0.7:
        direction, length = unit(random), random.uniform(0.6, 1.1) * side
        away = random.normal(0, 0.1 * side, 3) - direction * length / 2
        start = np.asarray(side / 2 + away, np.float32)
        return line(random, start, direction, length, random.uniform(0, 0.05))
    angles = np.linspace(0, random.uniform(0.8, 1.6) * np.pi, 2 * side)
    axes, radius = frame(random), random.uniform(0.2, 0.36) * side
    way = np.cos(angles)[:, None] * axes[0] + 1.2 * np.sin(angles)[:, None] * axes[1]
    return np.asarray(side / 2 + radius * way, np.float32)


def chain(space: Space) -> list[Part]:
    """Return similar objects in a row with thin gaps: vertebrae, teeth, phalanges."""
    random = space.random
    way = arch(random, space.side)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    pitch = random.uniform(5, 0.22 * space.side)
    gap = min(random.uniform(0.8, 4), 0.4 * pitch)
    across = pitch * random.uniform(0.4, 1.3, 2)
    power = float(random.choice([2.0, 3.0, 5.0]))
    spine = random.random() < 0.4
    first, parts = frame(random), []
    for place in np.arange(pitch / 2, along[-1], pitch)[:14]:
        at = min(int(np.searchsorted(along, place)), len(way) - 2)
        ahead = way[at + 1] - way[at]
        axes = np.linalg.qr(np.stack([ahead, first[1], first[2]]).T)[0].T.astype(np.float32)
        axes *= np.sign((axes * np.stack([ahead, first[1], first[2]])).sum(1))[:, None]
        radii = np.asarray([(pitch - gap) / 2, *across], np.float32)
        radii[1:] *= np.exp(random.normal(0, 0.07, 2))
        box, level = solid(space, way[at], radii, axes, power)
        part = Part(box, level < 1)
        if spine:
            arm = np.asarray([0.25 * pitch, 0.25 * across[0], across[1]], np.float32)
            tip = way[at] + axes[2] * across[1] * 1.5
            box, level = solid(space, tip.astype(np.float32), arm, axes)
            part = union(space, [part, Part(box, level < 1)])
        parts.append(part)
    return parts


def ribs(space: Space) -> list[Part]:
    """Return parallel arcs, one object each."""
    random, side = space.random, space.side
    axes, radius = frame(random), random.uniform(0.22, 0.45) * side
    thick, flat = random.uniform(1.2, 4), random.uniform(0.7, 1.3)
    pitch = 2 * thick + random.uniform(1.5, 8)
    begin, sweep = random.uniform(0, 2 * np.pi), random.uniform(0.4, 1.3) * np.pi
    slope = random.normal(0, 0.25)
    count = int(np.clip(random.uniform(0.5, 0.95) * side / pitch, 2, 10))
    parts = []
    for k in range(count):
        angles = begin + np.linspace(0, sweep * random.uniform(0.9, 1), int(sweep * radius) + 4)
        way = np.cos(angles)[:, None] * axes[0] + flat * np.sin(angles)[:, None] * axes[1]
        height = (k - (count - 1) / 2) * pitch + slope * radius * (angles - begin)
        whole = np.zeros((side,) * 3, bool)
        way = side / 2 + radius * way + height[:, None] * axes[2]
        stamp(whole, np.asarray(way, np.float32), thick)
        parts.append(cropped(whole))
    return parts


def organs(space: Space, body: Mask) -> list[Part]:
    """Return Voronoi cells of the body and unions of neighbours, with or without thin gaps."""
    random, side = space.random, space.side
    seeds = random.uniform(0.1, 0.9, (random.integers(5, 22), 3)).astype(np.float32) * side
    stretch = np.exp(random.uniform(-0.4, 0.4, 3)).astype(np.float32)
    best = np.full((side,) * 3, -np.inf, np.float32)
    second, cell = best.copy(), np.zeros(best.shape, np.uint8)
    for k, seed in enumerate(seeds):
        pull = np.tensordot(seed * stretch, space.places, 1) - 0.5 * float(stretch @ seed**2)
        pull += random.uniform(0, 0.02) * side**2
        nearer = pull > best
        second = np.maximum(second, np.minimum(best, pull))
        best, cell[nearer] = np.maximum(best, pull), k
    gap = random.uniform(0.7, 2.5) if random.random() < 0.5 else 0.0
    inside = body & (best - second >= gap * 0.4 * side)
    groups = np.arange(len(seeds))
    for joined in np.flatnonzero(random.random(len(seeds)) < 0.25):
        groups[joined] = groups[np.argsort(((seeds - seeds[joined]) ** 2).sum(1))[1]]
    chosen = [g for g in np.unique(groups) if random.random() < 0.6]
    masks = (np.isin(cell, np.flatnonzero(groups == g)) & inside for g in chosen)
    return [cropped(mask) for mask in masks]


@dataclass(frozen=True)
class Kind:
    """How to draw a kind of shape, how often, and how often all its parts look alike."""

    draw: Callable[[Space], list[Part]]
    weight: float
    alike: float


SHAPES = {
    "blob": Kind(blob, 4.0, 1.0),
    "tube": Kind(tube, 2.5, 0.0),
    "pair": Kind(pair, 1.5, 0.9),
    "shell": Kind(shell, 1.5, 0.0),
    "plate": Kind(plate, 1.0, 1.0),
    "chain": Kind(chain, 1.3, 0.85),
    "ribs": Kind(ribs, 0.8, 0.95),
}
