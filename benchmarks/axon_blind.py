"""Are the pieces axons that no label holds? Sheets for eyes that do not know what they see.

    python benchmarks/axon_blind.py draw --data FOLDER --out SHEETS
    python benchmarks/axon_blind.py count --out SHEETS --verdicts yynbn...

``FOLDER`` is the sample data's ``axon/public``. ``draw`` cuts short runs of centre lines, shuffles
them and shows each as a numbered pair: the image, and the same with the run in dots. The runs
are Axon-Small's of cube 1001 where the fine label has nothing, the fine label's own, Axon-Small's
of real ground that no training saw, and, as decoys, the brightest ways between points of both
places where neither method nor label has anything. ``count`` takes one letter for each number:
y an axon, b a bright dot, n nothing that could be told from the ground.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import tifffile
from axon_model import EXAMPLE, GROUNDS, Judge
from scipy import ndimage
from skimage.graph import route_through_array

from openmedlab.axons.statistics import measure
from openmedlab.axonseg.annotate import skeleton

mpl.use("Agg")
from matplotlib import pyplot as plt

ROWS, COLUMNS = 6, 6
LEAST, MOST = 6, 16
EACH = 16
HALF = 17
FLOOR = 600

Mask = npt.NDArray[np.bool_]
Run = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Item:
    """A run of voxels (n, 3) in an image (z, y, x), and where it comes from."""

    kind: str
    image: npt.NDArray[np.uint16]
    run: Run


def wide(mask: Mask) -> Mask:
    """Return the voxels within 2 of a mask."""
    return np.asarray(ndimage.distance_transform_edt(~mask) <= 2) if mask.any() else mask


def runs(lines: Mask, random: np.random.Generator) -> list[Run]:
    """Return one short stretch of each piece of centre lines."""
    numbers, many = ndimage.label(lines, np.ones((3, 3, 3)))
    found = []
    for number in range(1, many + 1):
        piece = np.argwhere(numbers == number)
        if len(piece) >= LEAST:
            away = ((piece - piece[random.integers(len(piece))]) ** 2).sum(1)
            found.append(piece[np.argsort(away)[:MOST]])
    return found


def decoys(
    image: npt.NDArray[np.uint16], taken: Mask, random: np.random.Generator
) -> Iterator[Run]:
    """Yield the brightest ways between points where nothing was found, as a detector goes."""
    cost = np.exp(-4 * (np.log(np.maximum(image - FLOOR, 50.0)) - np.log(50.0)))
    cost[taken] = 1e6
    while True:
        start = random.integers((2, 6, 6), np.array(image.shape) - (2, 6, 6))
        end = start + random.integers((-3, -12, -12), (4, 13, 13))
        if (end < 0).any() or (end >= image.shape).any() or taken[tuple(start)]:
            continue
        way = np.array(route_through_array(cost, start, end, geometric=True)[0])
        if LEAST <= len(way) <= MOST and not taken[tuple(way.T)].any():
            yield way


def items(data: Path, random: np.random.Generator) -> list[Item]:
    """Return all runs, those of one kind after the other."""
    example = tifffile.imread(data / EXAMPLE)
    judge = Judge(None, measure(example), ridge=False)
    cube = tifffile.imread(data / "cube1001_image.tif")
    fine = tifffile.imread(data / "cube1001_fine.tif") > 0
    rough = tifffile.imread(data / "cube1001_rough.tif") > 0
    found = judge.masks(cube)["axon-small"]
    named = [("label", cube, run) for run in runs(skeleton(fine), random)[:EACH]]
    named += [("network only", cube, run) for run in runs(skeleton(found) & ~wide(fine), random)]
    places = [(cube, wide(found | fine | rough))]
    for cut in GROUNDS:
        ground = np.ascontiguousarray(example[cut])
        mask = judge.masks(ground)["axon-small"]
        named += [("ground", ground, run) for run in runs(skeleton(mask), random)]
        places.append((ground, wide(mask)))
    for image, taken in places:
        ways = decoys(image, taken, random)
        named += [("decoy", image, next(ways)) for _ in range(EACH // 2)]
    return [Item(*one) for one in named]


def draw(data: Path, out: Path) -> None:
    """Write the sheets, and the key that the judge must not read."""
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(22)
    shown = items(data, random)
    shown = [shown[k] for k in random.permutation(len(shown))]
    (out / "key.json").write_text(json.dumps([item.kind for item in shown]))
    for first in range(0, len(shown), ROWS * COLUMNS):
        figure, axes = plt.subplots(ROWS, 2 * COLUMNS, figsize=(24, 12.6))
        for axis in axes.ravel():
            axis.axis("off")
        for number, pair in enumerate(axes.reshape(-1, 2)[: len(shown) - first], first):
            show(shown[number], number, pair)
        figure.tight_layout(pad=0.3)
        figure.savefig(out / f"sheet{first // (ROWS * COLUMNS)}.png", dpi=55)
        plt.close(figure)


def show(item: Item, number: int, pair: npt.NDArray[np.object_]) -> None:
    """Draw the brightest of the run's slices around its middle, without and with the run."""
    z, y, x = item.run.T
    corner = np.maximum(np.rint(item.run.mean(0)).astype(int)[1:] - HALF, 0)
    part = item.image[max(z.min() - 1, 0) : z.max() + 2, corner[0] :, corner[1] :]
    seen = np.log(np.maximum(part[:, : 2 * HALF + 1, : 2 * HALF + 1] - float(FLOOR), 50)).max(0)
    for axis in pair:
        axis.imshow(seen, cmap="gray", vmin=np.percentile(seen, 2), vmax=np.percentile(seen, 98))
    pair[0].set_title(str(number), fontsize=11, pad=1)
    pair[1].scatter(x - corner[1], y - corner[0], s=3, c="orange")


def count(out: Path, verdicts: str) -> None:
    """Print how many runs of each kind were called an axon, a dot, nothing."""
    key = json.loads((out / "key.json").read_text())
    told = Counter(zip(key, verdicts, strict=True))
    for kind in dict.fromkeys(key):
        sys.stdout.write(f"{kind}: " + ", ".join(f"{told[kind, v]} {v}" for v in "ybn") + "\n")


def main() -> None:
    """Draw or count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("draw", "count"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--verdicts")
    given = parser.parse_args()
    if given.task == "draw":
        draw(given.data, given.out)
    else:
        count(given.out, given.verdicts)


if __name__ == "__main__":
    main()
