"""Connected components across blocks: labelled in each, joined at the borders.

Voxels that touch by a face, an edge or a corner are connected. A component's number is the
rank of its first voxel (in z, y, x order) among those kept, so that neither the blocks nor
their order can be seen in the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.blocks.grid import BlockGrid
from openmedlab.core.region import Index3, Region
from openmedlab.io.atomic import replacing

Labels = npt.NDArray[np.uint32]
Pairs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """Which components stay.

    Attributes
    ----------
    threshold
        Voxels of at least this probability form components.
    seed
        A component reaches this probability somewhere.
    smallest
        ... and has at least this many voxels.
    """

    threshold: float
    seed: float
    smallest: int


@dataclass(frozen=True, eq=False)
class BlockComponents:
    """What must be known of one block to join it with the others; row k is label k + 1.

    Attributes
    ----------
    first
        Place of the first voxel in the whole volume, z, y, x order.
    size, peak
        Voxels, and the highest probability.
    faces
        The block's six outermost planes, ``faces[axis][0]`` at the lower end.
    """

    first: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    peak: npt.NDArray[np.float32]
    faces: tuple[tuple[Labels, Labels], ...]

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        planes: dict[str, Any] = {
            f"face{a}{s}": self.faces[a][s] for a in range(3) for s in range(2)
        }
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, first=self.first, size=self.size, peak=self.peak, **planes)

    @classmethod
    def load(cls, path: Path, *, faces: bool = True) -> BlockComponents:
        """Read what `save` wrote, with or without the planes."""
        with np.load(path) as file:
            axes = range(3 if faces else 0)
            planes = tuple((file[f"face{a}0"], file[f"face{a}1"]) for a in axes)
            return cls(file["first"], file["size"], file["peak"], planes)


def local_components(
    probability: npt.NDArray[np.float32], region: Region, shape: Index3, rules: Rules
) -> tuple[Labels, BlockComponents]:
    """Return the labels of one block and what joining needs.

    Components that end inside the block and break the rules are left out at once; those at
    its borders are judged when they are joined.
    """
    import cc3d

    labels: Any = cc3d.connected_components(
        probability >= rules.threshold, connectivity=26, out_dtype=np.uint32
    )
    place = np.flatnonzero(labels)
    number = labels.ravel()[place].astype(np.int64)
    count = int(labels.max(initial=0)) + 1
    size = np.bincount(number, minlength=count)
    peak = np.zeros(count, np.float32)
    np.maximum.at(peak, number, probability.ravel()[place])
    first = np.zeros(count, np.int64)
    first[number[::-1]] = place[::-1]
    keep = (size >= rules.smallest) & (peak >= rules.seed)
    keep[_reaching_out(labels, region, shape)] = True
    keep[0] = False
    renumber = (np.cumsum(keep) * keep).astype(np.uint32)
    labels = renumber[labels]
    local = np.stack(np.unravel_index(first[keep], labels.shape), 1).reshape(-1, 3)
    world = np.ravel_multi_index(tuple((local + region.start).T), shape)
    faces = tuple(
        (np.array(labels.take(0, axis)), np.array(labels.take(-1, axis))) for axis in range(3)
    )
    return labels, BlockComponents(world.astype(np.int64), size[keep], peak[keep], faces)


def _reaching_out(labels: Labels, region: Region, shape: Index3) -> npt.NDArray[Any]:
    """Return the labels on those faces of the block beyond which the volume goes on."""
    found = [np.zeros(0, np.uint32)]
    for axis in range(3):
        if region.start[axis] > 0:
            found.append(np.unique(labels.take(0, axis)))
        if region.stop[axis] < shape[axis]:
            found.append(np.unique(labels.take(-1, axis)))
    return np.concatenate(found)


def touching(one: BlockComponents, other: BlockComponents, direction: Index3) -> Pairs:
    """Return the pairs (N, 2) of labels that touch; ``other`` lies in ``direction``."""
    here, there = _border(one, direction), _border(other, _opposite(direction))
    pairs = [np.zeros((0, 2), np.int64)]
    axes = [range(-1, 2) if n > 1 else range(1) for n in here.shape]
    for shift in ((a, b) for a in axes[0] for b in axes[1]):
        mine = here[_overlap(shift, here.shape)]
        near = there[_overlap((-shift[0], -shift[1]), here.shape)]
        both = (mine > 0) & (near > 0)
        pairs.append(np.stack([mine[both], near[both]], 1).astype(np.int64))
    return np.unique(np.concatenate(pairs), axis=0)


def _overlap(shift: tuple[int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the part of a plane that stays inside when it is moved by ``shift``."""
    a, b = (slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, shape, strict=True))
    return a, b


def _opposite(direction: Index3) -> Index3:
    z, y, x = direction
    return -z, -y, -x


def _border(block: BlockComponents, direction: Index3) -> Labels:
    """Return a block's voxels next to the neighbour in ``direction``, as a plane (2-D)."""
    axis = next(k for k in range(3) if direction[k])
    plane = block.faces[axis][direction[axis] > 0]
    rest = [d for k, d in enumerate(direction) if k != axis]
    ends = {0: slice(None), 1: slice(-1, None), -1: slice(0, 1)}
    return np.asarray(plane[ends[rest[0]], ends[rest[1]]])


@dataclass(frozen=True)
class PairStage:
    """Stage: the pairs that a block forms with its later neighbours."""

    folder: Path
    grid: BlockGrid
    filled: frozenset[int]

    def __call__(self, index: int, region: Region) -> dict[str, Any]:
        one = BlockComponents.load(facts_file(self.folder, index))
        found = {
            other: touching(one, BlockComponents.load(facts_file(self.folder, other)), direction)
            for other, direction in self.grid.neighbours(index)
            if other in self.filled
        }
        return {"pairs": {other: pairs for other, pairs in found.items() if len(pairs)}}


def facts_file(folder: Path, index: int) -> Path:
    """Return where a block's `BlockComponents` are kept."""
    return folder / f"{index}.npz"


@dataclass(frozen=True, eq=False)
class Joined:
    """The components of the whole volume.

    Attributes
    ----------
    numbers
        By block: final number of every local label, 0 for those left out.
    first, size, peak
        Of every component, row k is number k + 1.
    """

    numbers: dict[int, Labels]
    first: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    peak: npt.NDArray[np.float32]


def join(
    blocks: dict[int, BlockComponents], pairs: dict[int, dict[int, Pairs]], rules: Rules
) -> Joined:
    """Join touching labels of all blocks and apply the rules to the whole components.

    Memory grows with the number of local labels (about 60 bytes each), not with voxels.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    order = sorted(blocks)
    counts = [blocks[b].size.size for b in order]
    offsets = dict(zip(order, np.concatenate([[0], np.cumsum(counts)])[:-1].tolist(), strict=True))
    total = sum(counts)
    edges = [
        found + np.array([offsets[one] - 1, offsets[other] - 1])
        for one, others in pairs.items()
        for other, found in others.items()
    ]
    ends = np.concatenate([np.zeros((0, 2), np.int64), *edges])
    graph = coo_array((np.ones(len(ends), bool), tuple(ends.T)), shape=(total, total))
    count, group = connected_components(graph, directed=False) if total else (0, np.zeros(0, int))
    size = np.zeros(count, np.int64)
    first = np.full(count, np.iinfo(np.int64).max)
    peak = np.zeros(count, np.float32)
    for index in order:
        own = group[offsets[index] : offsets[index] + blocks[index].size.size]
        np.add.at(size, own, blocks[index].size)
        np.minimum.at(first, own, blocks[index].first)
        np.maximum.at(peak, own, blocks[index].peak)
    keep = (size >= rules.smallest) & (peak >= rules.seed)
    kept = np.flatnonzero(keep)[np.argsort(first[keep], kind="stable")]
    number = np.zeros(count, np.uint32)
    number[kept] = np.arange(1, kept.size + 1)
    numbers = {
        b: number[group[offsets[b] : offsets[b] + blocks[b].size.size]].astype(np.uint32)
        for b in order
    }
    return Joined(numbers, first[kept], size[kept], peak[kept])
