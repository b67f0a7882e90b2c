"""Skeleton voxels as a graph: neighbours, lengths in µm, branch points, directions.

Everything about a node depends on the voxels within `REACH` of it and nothing else, so
that it comes out the same from any block that holds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.geometry import Geometry
from openmedlab.core.region import Region

REACH = 16
SMOOTHING = 8
FORWARD = tuple(d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0))

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes and edges of one block; ids are places in the whole volume (z, y, x order).

    Attributes
    ----------
    nodes
        Columns by name: ``id``, ``component``, ``x_um``, ``y_um``, ``z_um`` (LPS world,
        smoothed along the fibre), ``length_um`` (half of every edge that ends here),
        ``radius_um``, ``degree``, ``branch`` (true once for each branch point), ``end``,
        ``ux``, ``uy``, ``uz`` (direction of the fibre, LPS; 0 where fibres meet).
    edges
        Columns ``a``, ``b`` and ``component``.
    """

    nodes: dict[str, npt.NDArray[Any]]
    edges: dict[str, npt.NDArray[Any]]


def block_graph(
    skeleton: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    around: Region,
    core: Region,
    geometry: Geometry,
) -> Graph:
    """Return the graph of the voxels in ``core``.

    Parameters
    ----------
    skeleton, mask
        Component numbers on the skeleton, and the segmented voxels, of the region ``around``,
        which holds ``core`` and `REACH` voxels more where the volume goes on.
    geometry
        Of the whole volume.
    """
    place = np.argwhere(skeleton)
    whole = place + np.asarray(around.start)
    edges = _edges(skeleton, place)
    scale = 1.0 if geometry.unit == "micrometer" else 1000.0
    points = _smoothed(geometry.index_to_world(whole) * scale, edges)
    steps = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    count = len(place)
    degree = np.bincount(edges.ravel(), minlength=count)
    share = np.bincount(edges.ravel(), np.repeat(steps / 2, 2), minlength=count)
    identity = np.ravel_multi_index(tuple(whole.T), geometry.shape).astype(np.int64)
    component = skeleton[tuple(place.T)]
    inside = ((whole >= core.start) & (whole < core.stop)).all(axis=1)
    towards = _directions(points, edges, degree)
    radius = _radii(mask, place, np.asarray(geometry.spacing) * scale)
    columns = {
        "id": identity,
        "component": component.astype(np.uint32),
        "x_um": points[:, 0],
        "y_um": points[:, 1],
        "z_um": points[:, 2],
        "length_um": share,
        "radius_um": radius.astype(np.float32),
        "degree": degree.astype(np.uint8),
        "branch": _branch_points(edges, degree),
        "end": degree == 1,
        **{f"u{a}": towards[:, k].astype(np.float32) for k, a in enumerate("xyz")},
    }
    own = edges[inside[edges.min(axis=1)]]
    return Graph(
        {name: values[inside] for name, values in columns.items()},
        {
            "a": identity[own[:, 0]],
            "b": identity[own[:, 1]],
            "component": component[own[:, 0]].astype(np.uint32),
        },
    )


def _edges(skeleton: npt.NDArray[Any], place: Ints) -> Ints:
    """Return neighbouring voxels (N, 2), without the diagonals that cut a corner."""
    from scipy.sparse import coo_array, csr_array

    count = len(place)
    number = np.full([n + 2 for n in skeleton.shape], -1, np.int64)
    number[tuple((place + 1).T)] = np.arange(count)
    by_kind: list[list[Ints]] = [[], [], []]
    for step in FORWARD:
        other = number[tuple((place + 1 + step).T)]
        here = np.flatnonzero(other >= 0)
        by_kind[np.count_nonzero(step) - 1].append(np.stack([here, other[here]], 1))
    kinds = [np.concatenate(found) for found in by_kind]

    def matrix(pairs: Ints) -> csr_array:
        both = np.concatenate([pairs, pairs[:, ::-1]])
        return coo_array((np.ones(len(both)), tuple(both.T)), shape=(count, count)).tocsr()

    faces, edges = matrix(kinds[0]), matrix(kinds[1])
    for kind, detour in ((1, faces @ faces), (2, faces @ edges)):
        pairs = kinds[kind]
        around = np.asarray(detour[pairs[:, 0], pairs[:, 1]]).ravel() if len(pairs) else np.zeros(0)
        kinds[kind] = pairs[around == 0]
    joined = np.concatenate(kinds)
    return joined[np.lexsort((joined[:, 1], joined[:, 0]))]


def _smoothed(points: Floats, edges: Ints) -> Floats:
    """Return points moved towards the middle of their two neighbours; ends and forks stay.

    A path of voxels zigzags around the fibre and would come out up to a tenth too long.
    """
    degree = np.bincount(edges.ravel(), minlength=len(points))
    movable = (degree == 2)[:, None]
    for _ in range(SMOOTHING):
        middle = np.zeros_like(points)
        np.add.at(middle, edges[:, 0], points[edges[:, 1]])
        np.add.at(middle, edges[:, 1], points[edges[:, 0]])
        points = np.where(movable, points / 2 + middle / 4, points)
    return points


def _directions(points: Floats, edges: Ints, degree: Ints) -> Floats:
    """Return unit vectors along the fibre (N, 3); 0 where more than two edges meet."""
    count = len(points)
    first = np.full(count, count)
    np.minimum.at(first, edges.ravel(), edges[:, ::-1].ravel())
    last = np.full(count, -1)
    np.maximum.at(last, edges.ravel(), edges[:, ::-1].ravel())
    itself = np.arange(count)
    start = np.where(degree == 1, itself, np.minimum(first, count - 1))
    vector = points[np.maximum(last, 0)] - points[start]
    vector[(degree == 0) | (degree > 2)] = 0
    size = np.linalg.norm(vector, axis=1, keepdims=True)
    return np.divide(vector, size, out=np.zeros_like(vector), where=size > 0)


def _branch_points(edges: Ints, degree: Ints) -> npt.NDArray[np.bool_]:
    """Return which nodes stand for a branch point: the first of every cluster of forks."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    fork = degree > 2
    inner = edges[fork[edges].all(axis=1)]
    count = len(degree)
    joined = coo_array((np.ones(len(inner), bool), tuple(inner.T)), shape=(count, count))
    _, group = connected_components(joined, directed=False) if count else (0, np.zeros(0, int))
    first = np.zeros(count, bool)
    forks = np.flatnonzero(fork)
    first[forks[np.unique(group[forks], return_index=True)[1]]] = True
    return first


def _radii(mask: npt.NDArray[np.bool_], place: Ints, spacing: Floats) -> Floats:
    """Return the distance (µm) of every node to the nearest voxel that is not segmented."""
    from scipy import ndimage

    if not len(place):
        return np.zeros(0)
    box = Region.around(place).padded(REACH).clipped(mask.shape)
    distance = ndimage.distance_transform_edt(mask[box.slices], sampling=spacing)
    return np.asarray(distance[tuple((place - np.asarray(box.start)).T)])


def skeleton_of(labels: npt.NDArray[Any], inner: tuple[slice, ...]) -> npt.NDArray[Any]:
    """Return the labels on the centre lines of a block, without its margin.

    Thinning after T. C. Lee, R. L. Kashyap, C. N. Chu, Building skeleton models via 3-D
    medial surface/axis thinning algorithms, CVGIP 56 (1994), as scikit-image has it. Of small
    pieces that it takes away altogether the voxel nearest to their middle stays.
    """
    from skimage.morphology import skeletonize

    kept = np.where(skeletonize(labels > 0), labels, 0)
    _restore(labels, kept)
    return kept[inner].astype(labels.dtype)


def _restore(labels: npt.NDArray[Any], kept: npt.NDArray[Any]) -> None:
    """Give every label that ``kept`` lacks its voxel nearest to its middle."""
    filled = np.flatnonzero(labels)
    filled = filled[~np.isin(labels.ravel()[filled], kept[kept > 0])]
    if not filled.size:
        return
    place = np.stack(np.unravel_index(filled, labels.shape), 1)
    lost, group = np.unique(labels.ravel()[filled], return_inverse=True)
    size = np.bincount(group)
    middle = np.stack([np.bincount(group, axis) / size for axis in place.T], 1)
    away = ((place - middle[group]) ** 2).sum(1).round(6)
    order = np.lexsort((np.arange(len(group)), away, group))
    nearest = place[order[np.searchsorted(group[order], np.arange(len(lost)))]]
    kept[tuple(nearest.T)] = lost
