"""One step per prompt: the first draws the object, each further one puts the mask right."""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt

from openmedlab.builtin import curves, evidence
from openmedlab.builtin.belief import Belief, centred, settled
from openmedlab.builtin.evidence import chance_of
from openmedlab.builtin.grid import Float
from openmedlab.builtin.marks import Marks
from openmedlab.builtin.scene import Scene
from openmedlab.builtin.view import View
from openmedlab.core import Region

Mask = npt.NDArray[np.bool_]
Voxels = npt.NDArray[np.int64]
CELLS = 27_000
REACHES = (20.0, 45.0, 100.0)


def from_box(scene: Scene, box: Region, marks: Marks, extreme: Voxels | None) -> Belief:
    """Return what to believe of an object that fills ``box`` (frame of the crop).

    ``extreme`` (6, 3) are its extreme points; paths of least contrast between opposite
    ones then lie inside (Roth et al. 2021, "Going to extremes", Med. Image Anal. 67).
    """
    side = np.asarray(box.shape) * scene.spacing
    margin = np.maximum(np.ceil(np.maximum(0.15 * side, 5.0) / scene.spacing), 2).astype(int)
    margin[np.asarray(box.shape) == 1] = 0
    view = View.of(scene, box.padded(margin), CELLS)
    core = None if extreme is None else paths(view, box, extreme)
    found, inside = evidence.in_box(view, box, core)
    chance = chance_of(curves.odds("box" if core is None else "extreme", found)) * inside
    seeds = marks.on(view.grid)
    seeds[~inside & (seeds == 0)] = -1
    if core is not None:
        seeds[core & (seeds == 0)] = 1
    return settled(view, centred(chance, 0.2, 0.5), seeds)


def paths(view: View, box: Region, extreme: Voxels) -> Mask:
    """Return the cells on the paths between opposite extreme points, inside the box."""
    inside = evidence.box_radius(view, box) <= 1
    cost = 0.05 + view.edges / max(float(np.percentile(view.edges[inside], 95)), 1e-6)
    cost = np.where(inside, cost, 1e3)
    core = np.zeros(view.shape, bool)
    for axis in range(3):
        order = np.argsort(extreme[:, axis], kind="stable")
        first, last = view.grid.cells(extreme[order[[0, -1]]])
        core |= view.path(tuple(first), tuple(last), cost)
    return core


def from_click(scene: Scene, voxels: Voxels, marks: Marks) -> Belief:
    """Return what to believe of an object of unknown size marked at ``voxels``.

    Looks through a middle-sized window first, then through a smaller or larger one when
    the object found is small in it or reaches its border.
    """
    reach = REACHES[1]
    view, chance, extent = _through(scene, voxels, reach)
    if extent < 0.35 * REACHES[0]:
        reach = REACHES[0]
    elif extent > 0.8 * REACHES[1]:
        reach = REACHES[2]
    if reach != REACHES[1]:
        view, chance, _ = _through(scene, voxels, reach)
    seeds = marks.on(view.grid)
    belief = settled(view, chance, seeds)
    return Belief(belief.grid, connected(belief.chance, seeds > 0))


def _through(scene: Scene, voxels: Voxels, reach: float) -> tuple[View, Float, float]:
    """Return the view of a window, the probabilities there, and how far the object extends."""
    view = View.of(scene, window(scene, voxels, reach), CELLS)
    seeds = seeds_on(view, voxels)
    chance = chance_of(curves.odds("click", evidence.around_click(view, seeds, reach)))
    chance = connected(centred(chance, 0.15, 0.5), seeds)
    distance = view.depth(~seeds)
    return view, chance, float(distance[(chance > 0.5) | seeds].max())


def window(scene: Scene, voxels: Voxels, reach: float) -> Region:
    """Return the voxels within ``reach`` mm of ``voxels``, as a box."""
    margin = np.maximum(np.ceil(reach / np.asarray(scene.spacing)).astype(int), 2)
    return Region.around(voxels).padded(margin)


def after(
    scene: Scene,
    view: View,
    chance: Float,
    marks: Marks,
    voxels: Voxels,
    positive: bool,
    box: Region | None,
    early: bool,
) -> Belief:
    """Return what to believe once ``voxels`` are known to be ``positive``.

    Parameters
    ----------
    view, chance
        Where to look, and what was believed there before.
    marks
        All that the prompts said, ``voxels`` included.
    early
        Whether this is the first correction.
    """
    seeds = seeds_on(view, voxels)
    signs = marks.on(view.grid)
    found = evidence.after_click(view, chance, np.where(seeds, 0, signs), seeds, positive, box)
    side = chance_of(
        curves.odds(f"{'early ' if early else ''}{'add' if positive else 'cut'}", found)
    )
    return settled(view, centred(side if positive else 1 - side, 0.3, 0.5), signs)


def focus(
    scene: Scene, mask: Region | None, marks: Marks, box: Region | None, slack: float
) -> View:
    """Return a view of all that the object may reach: its mask, the prompts and some room."""
    parts = [part for part in (mask, box) if part is not None]
    if len(marks.voxels):
        parts.append(Region.around(marks.voxels))
    area = reduce(Region.union, parts)
    side = np.asarray(area.shape) * scene.spacing
    room = np.maximum(0.12 * side, max(6.0, slack))
    margin = np.maximum(np.ceil(room / scene.spacing), 2).astype(int)
    return View.of(scene, area.padded(margin), CELLS)


def seeds_on(view: View, voxels: Voxels) -> Mask:
    """Return the cells of ``voxels``."""
    out = np.zeros(view.shape, bool)
    out[tuple(view.grid.cells(voxels[view.grid.inside(voxels)]).T)] = True
    return out


def connected(chance: Float, seeds: Mask) -> Float:
    """Return ``chance`` lowered where the object would not hang together with ``seeds``."""
    from scipy import ndimage as ndi

    chance = np.where(seeds, np.maximum(chance, 0.6), chance)
    parts, count = ndi.label(chance > 0.5)
    held = np.zeros(count + 1, bool)
    held[parts[seeds]] = True
    held[0] = True
    return np.asarray(np.where(held[parts], chance, 0.4), np.float32)
