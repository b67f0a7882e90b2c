"""Objects beyond one window: zoom out, find the extent, refine in overlapping tiles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from openmedlab.core import CancelToken, InputError, Progress, Region
from openmedlab.core.region import Index3
from openmedlab.nn.resample import lerp_grid
from openmedlab.sam_med3d.frame import SIZE, SPACING, Frame, window
from openmedlab.sam_med3d.network import LOW
from openmedlab.sam_med3d.rounds import Round
from openmedlab.sam_med3d.scene import Logits, Memory, Place, Scene, full_logits

STEP = SIZE // 2
CELL = SIZE // LOW
FACE_VOXELS = 16
MARGIN = 16
MAX_TILES = 48
MAX_ZOOM = 64.0


@dataclass(frozen=True)
class Canvas:
    """Canonical logits of a part of a frame.

    Attributes
    ----------
    frame
        The grid.
    region
        The part, canonical indices; it may stick out of the grid.
    logits
        float32 of ``region.shape``.
    told
        How it came about, for the user; empty for a single window.
    """

    frame: Frame
    region: Region
    logits: Logits
    told: str = ""


def touches_border(logits: Logits, start: Index3, frame: Frame) -> bool:
    """Whether the mask reaches a face of its window beyond which the volume goes on."""
    mask = logits > 0
    for axis in range(3):
        if start[axis] > 0 and np.count_nonzero(mask.take(0, axis)) >= FACE_VOXELS:
            return True
        goes_on = start[axis] + SIZE < frame.geometry.shape[axis]
        if goes_on and np.count_nonzero(mask.take(-1, axis)) >= FACE_VOXELS:
            return True
    return False


def holds_clicks(scene: Scene, place: Place, turn: Round) -> bool:
    """Whether every positive click of ``turn`` lies in the window."""
    _, inside = scene.clicks_inside(place, turn)
    return int(inside.sum()) == sum(c.positive for c in turn.clicks)


def segment_large(
    scene: Scene, rounds: list[Round], memory: Memory, progress: Progress, cancel: CancelToken
) -> Canvas:
    """Return the logits of an object that one window at 1.5 mm does not hold.

    The spacing is doubled until the mask stays clear of the window's faces. The mask
    found there is refined at the finest spacing at which 48 tiles suffice, half
    overlapping, each with the coarse logits as its mask prompt.
    """
    coarse, place = _zoom_out(scene, rounds, memory, progress, cancel)
    spacing, unit = SPACING, scene.volume.geometry.unit
    told = f"object beyond one window: found at {place[0]:g} {unit}"
    while spacing < place[0]:
        tiles = _tiles(scene, spacing, coarse)
        if len(tiles) <= MAX_TILES:
            logits = _refine(scene, rounds, memory, coarse, tiles, progress, cancel)
            told += f", refined in {len(tiles)} tiles at {spacing:g} {unit}"
            area = _union(tiles)
            return Canvas(scene.frame(spacing), area, logits, told)
        spacing *= 2
    return Canvas(coarse.frame, coarse.region, coarse.logits, told)


def _zoom_out(
    scene: Scene, rounds: list[Round], memory: Memory, progress: Progress, cancel: CancelToken
) -> tuple[Canvas, Place]:
    spacing = SPACING
    while True:
        spacing *= 2
        frame = scene.frame(spacing)
        start = _first_start(scene, frame)
        place = (spacing, start)
        whole = window(start).contains(frame.geometry.region)
        last = whole or spacing >= SPACING * MAX_ZOOM
        if not last and not holds_clicks(scene, place, rounds[-1]):
            continue
        cancel.check()
        progress.report(0, 0, f"looking from further away ({spacing:g} per voxel)")
        logits = full_logits(scene.play(place, rounds, memory))
        if last or not touches_border(logits, start, frame):
            return Canvas(frame, window(start), logits), place


def _tiles(scene: Scene, spacing: float, coarse: Canvas) -> list[Place]:
    """Return the windows on the grid of the first one that hold some of the coarse mask."""
    frame = scene.frame(spacing)
    extent = Region.of_mask(coarse.logits > 0)
    if extent is None:
        return [(spacing, _first_start(scene, frame))]
    corners = np.array([extent.start, extent.stop]) + np.asarray(coarse.region.start) - 0.5
    fine = frame.from_native(coarse.frame.to_native(corners))
    area = Region.around(fine).padded(MARGIN).clipped(frame.geometry.shape)
    origin = _first_start(scene, frame)
    ranges = []
    for axis in range(3):
        first = (area.start[axis] - origin[axis]) // STEP
        last = max(first, -((origin[axis] + SIZE - area.stop[axis]) // STEP))
        ranges.append([origin[axis] + STEP * k for k in range(first, last + 1)])
    places = [(spacing, (z, y, x)) for z, y, x in product(*ranges)]
    if len(places) > 8 * MAX_TILES:
        return places
    return [p for p in places if (_seen_from(scene, p, coarse) > 0).any()]


def _first_start(scene: Scene, frame: Frame) -> Index3:
    """Return where the window with the same middle as the first one starts in ``frame``."""
    middle = np.asarray(scene.start) + SIZE // 2
    there = frame.from_native(scene.frame(SPACING).to_native(middle))
    return frame.window_start(Region.around(np.floor(there + 0.5)))


def _seen_from(scene: Scene, place: Place, coarse: Canvas) -> Logits:
    """Return the coarse logits at the 32^3 cells of a window, canonical (z, y, x)."""
    spacing, start = place
    cells = (np.arange(LOW) + 0.5) * CELL - 0.5
    points = np.asarray(start)[None] + cells[:, None]
    seen = coarse.frame.from_native(scene.frame(spacing).to_native(points))
    z, y, x = (seen - np.asarray(coarse.region.start)).T
    return lerp_grid(coarse.logits, (z, y, x)).astype(np.float32)


def _refine(
    scene: Scene,
    rounds: list[Round],
    memory: Memory,
    coarse: Canvas,
    tiles: list[Place],
    progress: Progress,
    cancel: CancelToken,
) -> Logits:
    """Return the tiles' logits blended over their union, nearer to its middle counting more."""
    area = _union(tiles)
    total = np.zeros(area.shape, np.float32)
    weight = np.zeros(area.shape, np.float32)
    fade = np.minimum(np.arange(SIZE) + 0.5, SIZE - 0.5 - np.arange(SIZE)).astype(np.float32) / STEP
    share = fade[:, None, None] * fade[:, None] * fade
    for k, place in enumerate(tiles):
        cancel.check()
        progress.report(k, len(tiles), f"refining tile {k + 1} of {len(tiles)}")
        if place == scene.first:
            low = scene.play(place, rounds, memory)
        else:
            low = _tile(scene, place, rounds[-1], _seen_from(scene, place, coarse))
        part = window(place[1]).relative_to(area).slices
        total[part] += full_logits(low) * share
        weight[part] += share
    progress.report(len(tiles), len(tiles), "refined")
    return np.where(weight > 0, total / np.maximum(weight, 1e-6), np.float32(-1))


def _tile(scene: Scene, place: Place, turn: Round, seen: Logits) -> Tensor:
    """Refine one tile from the coarse logits; where no click fell, its deepest cell is one.

    A tile without contrast keeps the coarse logits.
    """
    points, labels = scene.clicks_inside(place, turn)
    if not (labels > 0).any():
        points = np.concatenate([points, _deepest(seen)[None]])
        labels = np.append(labels, 1)
    low = torch.from_numpy(np.ascontiguousarray(seen.T))[None, None]
    try:
        return scene.answer(place, points, labels, low)
    except InputError:
        return low


def _deepest(seen: Logits) -> npt.NDArray[np.float32]:
    depth = ndimage.distance_transform_edt(np.pad(seen > 0, 1))[1:-1, 1:-1, 1:-1]
    cell = np.array(np.unravel_index(int(depth.argmax()), seen.shape))
    return np.asarray(cell * CELL + CELL // 2, np.float32)


def _union(tiles: list[Place]) -> Region:
    area = window(tiles[0][1])
    for _, start in tiles[1:]:
        area = area.union(window(start))
    return area
