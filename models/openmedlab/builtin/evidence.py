"""What speaks for a cell being in the object: named measurements after each kind of prompt.

Each function returns arrays on the view's grid by name. `curves` says how much every one
of them counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.grid import Float
from openmedlab.builtin.view import View
from openmedlab.core import Region

Mask = npt.NDArray[np.bool_]
Evidence = dict[str, Float]


def logit(chance: Float) -> Float:
    """Return the log odds of a probability, within +-9."""
    p = np.clip(chance, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)), np.float32)


def chance_of(odds: Float) -> Float:
    """Return the probability of log odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))), np.float32)


# ------------------------------------------------------------------ first prompt: a box
def in_box(view: View, box: Region, core: Mask | None) -> tuple[Evidence, Mask]:
    """Measure for an object that fills ``box``; return also the cells inside the box.

    ``core`` are cells surely in the object (paths between extreme points), or None.
    """
    from scipy import ndimage as ndi

    radii = _radii(view, box)
    inside = radii[2] <= 1
    square = np.asarray((radii**2).sum(0), np.float32)
    size = float(np.cbrt(np.prod(np.asarray(box.shape) * view.scene.spacing)))
    if core is None:
        seeds = square <= max(0.1, float(square.min()))
        place = 1.5 - 2.6 * square
        weight = chance_of(place) * inside
    else:
        seeds = core
        place = 1.0 - 6.4 * view.depth(~core) / size - 0.6 * square
        weight = ndi.gaussian_filter(core.astype(np.float32), 0.7) * inside
    first = view.log_ratio(weight, 1 - chance_of(place) * inside)
    chance = weight
    for _ in range(3):
        ratio = view.log_ratio(chance, 1 - chance)
        chance = chance_of(place + ratio) * inside
    ratio = view.log_ratio(chance, 1 - chance)
    rim = ~inside & ndi.binary_dilation(inside)
    if not rim.any():
        rim = radii[2] >= radii[2].max() - 1e-3
    barrier = 0.03 + 2 * np.minimum(view.edges, 0.5)
    near = view.geodesic(seeds, barrier + 0.125 * np.clip(-ratio, 0, 4)) / size
    far = view.geodesic(rim, barrier + 0.125 * np.clip(ratio, 0, 4)) / size
    return {
        "belief": logit(chance),
        "belief around": logit(ndi.gaussian_filter(chance, 1.5)),
        "likeness": ratio,
        "likeness of core": first,
        "radius": radii[2],
        "middle radius": radii[1],
        "least radius": radii[0],
        "square radius": square,
        "distance": view.depth(~seeds) / np.float32(size),
        "path in": np.log(near + 1e-3),
        "path out": np.log(far + 1e-3),
        "path ratio": np.log((near + 1e-3) / (far + 1e-3)),
        "grey": np.abs(view.image - np.median(view.image[seeds])),
        "grey around": np.abs(view.around - np.median(view.around[seeds])),
        "texture": np.abs(view.texture - np.median(view.texture[seeds])),
        "edge": view.edges,
        "size": view.full(np.log(size)),
    }, inside


def box_radius(view: View, box: Region) -> Float:
    """Return how far out in ``box`` every cell lies: 0 in the middle, 1 on the faces."""
    return np.asarray(_radii(view, box)[2])


def _radii(view: View, box: Region) -> Float:
    """Distance from the box's middle by axis, 1 on its faces; (3, z, y, x), sorted."""
    out = np.empty((3, *view.shape), np.float32)
    for axis in range(3):
        middle = (box.start[axis] + box.stop[axis] - 1) / 2
        u = np.abs(view.grid.centres(axis) - middle) * 2 / box.shape[axis]
        u[np.argmin(u)] = min(u.min(), 1.0)
        out[axis] = u.reshape([-1 if k == axis else 1 for k in range(3)])
    return np.sort(out, axis=0)


# -------------------------------------------------------- first prompt: a click or stroke
def around_click(view: View, seeds: Mask, reach: float) -> Evidence:
    """Measure for an object of unknown size marked at ``seeds``, in a window of ``reach`` mm."""
    distance = view.depth(~seeds)
    spot = _grown(seeds)
    signed = view.image - np.median(view.image[spot])
    grey = np.abs(signed)
    blurred = np.abs(view.around - np.median(view.around[seeds]))
    inner = float(np.median(view.depth(blurred < 0.12)[seeds]))
    weight = np.exp(-distance / max(inner, view.spacing.max()))
    cost = 0.03 + 0.5 * grey + 0.5 * np.minimum(view.edges * 2, 1)
    path = view.geodesic(seeds, cost)
    out = view.geodesic(_border(view), cost)
    near = np.log(distance + 0.5 * view.spacing.min())
    return {
        "distance": near,
        "grey": grey,
        "grey around": blurred,
        "brighter": signed,
        "tolerance": _tolerance(grey, seeds),
        "tolerance around": _tolerance(blurred, seeds),
        "path": np.log(path + 0.02),
        "path ratio": np.log((path + 0.02) / (out + 0.02)),
        "texture": np.abs(view.texture - np.median(view.texture[seeds])),
        "edge": view.edges,
        "likeness": view.log_ratio(weight * (grey < 0.3), 1 - weight * 0.5),
        "reach": view.full(np.log(reach)),
        "inner radius": view.full(np.log(inner + 1)),
        "relative distance": near - np.float32(np.log(inner + 1)),
    }


# ------------------------------------------------------------------ a further prompt
def after_click(
    view: View,
    chance: Float,
    marks: npt.NDArray[np.int8],
    seeds: Mask,
    positive: bool,
    box: Region | None,
) -> Evidence:
    """Measure how far the mask is wrong around ``seeds``, which belong to the side ``positive``.

    The measurements speak for a cell to be of the seeds' side.

    Parameters
    ----------
    chance
        What was believed so far.
    marks
        1 and -1 where earlier prompts said so, 0 elsewhere.
    box
        Where the object was said to be, if it was.
    """
    from scipy import ndimage as ndi

    sign = np.float32(1 if positive else -1)
    wrong = ((chance > 0.5) != positive) | seeds
    depth = view.depth(wrong)
    reach = max(float(depth[seeds].max()), 0.7 * float(view.spacing.min()))
    small = 0.5 * float(view.spacing.min())
    distance = view.depth(~seeds)
    grey = np.abs(view.image - np.median(view.image[_grown(seeds)]))
    blurred = np.abs(view.around - np.median(view.around[seeds]))
    near = np.exp(-distance / max(reach, float(view.spacing.max())))
    examples = near * (grey < 0.25)
    examples = examples * max(1.0, 0.1 * float(wrong.sum()) / max(float(examples.sum()), 1.0))
    believed = chance if positive else 1 - chance
    ratio = view.log_ratio(believed + 2 * examples, (1 - believed) * (1 - near))
    special = view.log_ratio(near * (grey < 0.3), np.where(wrong, np.float32(0.02), np.float32(1)))
    others = marks == -sign
    if positive:
        others |= _border(view) & (chance < 0.5) if box is None else box_radius(view, box) > 1.15
    barrier = 0.03 + np.minimum(view.edges, 0.5)
    path = view.geodesic(seeds, barrier + 0.5 * grey + 0.3 * ~wrong)
    own = view.geodesic(seeds | (marks == sign), barrier + 0.1 * np.clip(-ratio, 0, 4))
    other = view.geodesic(others, barrier + 0.1 * np.clip(ratio, 0, 4))
    outer = box_radius(view, box) - 1.5 if box is not None else view.full(0)
    return {
        "belief": sign * logit(chance),
        "belief around": sign * logit(ndi.gaussian_filter(chance, 1.5)),
        "likeness": ratio,
        "likeness of click": special,
        "distance": np.log((distance + small) / reach),
        "absolute distance": np.log(distance + small),
        "depth": np.where(wrong, depth, -view.depth(~wrong)) / np.float32(reach),
        "grey": grey,
        "grey around": blurred,
        "tolerance around": _tolerance(blurred, seeds),
        "path": np.log((path + 0.02) / reach),
        "path ratio": np.log((path + 0.02) / (other + 0.02)),
        "own path ratio": np.log((own + 0.02) / (other + 0.02)),
        "others": _log_ratio_to(view, marks == -sign, distance, small),
        "friends": _log_ratio_to(view, marks == sign, distance, small),
        "texture": np.abs(view.texture - np.median(view.texture[seeds])),
        "edge": view.edges,
        "reach": view.full(np.log(reach)),
        "box": sign * outer,
    }


def _log_ratio_to(view: View, marked: Mask, distance: Float, small: float) -> Float:
    if not marked.any():
        return view.full(3)
    return np.clip(np.log((view.depth(~marked) + small) / (distance + small)), -3, 3)


def _grown(seeds: Mask) -> Mask:
    from scipy import ndimage as ndi

    return np.asarray(ndi.binary_dilation(seeds, np.ones((3, 3, 3), bool)))


def _border(view: View) -> Mask:
    """Cells on the faces of the view, without those of axes a few cells thick."""
    out = np.zeros(view.shape, bool)
    for axis, count in enumerate(view.shape):
        if count > 4:
            np.moveaxis(out, axis, 0)[[0, -1]] = True
    return out


def _tolerance(difference: Float, seeds: Mask) -> Float:
    """Return the least tolerance at which region growing from ``seeds`` takes every cell."""
    from scipy import ndimage as ndi
    from skimage.morphology import reconstruction

    start = np.where(seeds, difference, difference.max())
    cross = ndi.generate_binary_structure(3, 1)
    grown = reconstruction(start, difference, method="erosion", footprint=cross)
    return np.asarray(grown, np.float32)
