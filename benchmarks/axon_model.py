"""The bundled Axon-Small against the ridge filter, by the four measures that matter.

    python benchmarks/axon_model.py --data FOLDER [--weights FILE] [--pictures FOLDER]
    python benchmarks/axon_model.py --data FOLDER --network   # without the slow ridge filter

``FOLDER`` is the sample data's ``axon/public``. Scores are those of centre lines: precision
is the share of the found skeleton within 2 voxels of the true mask, recall the share of the
true centre lines within 2 voxels of the found mask. The ridge filter is measured twice: with
its percentile taken from the block at hand, as its settings were chosen, and with the one of
the whole volume, as in a run; the better of the two counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage

from openmedlab.axons.methods import METHODS, components, segment_array
from openmedlab.axons.ridge import measure_ridge
from openmedlab.axons.small_net import SmallSegmenter
from openmedlab.axons.statistics import VolumeStatistics, measure
from openmedlab.axonseg.annotate import skeleton

sys.path.insert(0, str(Path(__file__).parents[1] / "training" / "axons"))
from generator import Optics, Scene, add_artefacts, add_axons, compose
from scoring import Score
from train import EXAMPLE, TEST_GROUND

GROUNDS = (
    (slice(2, 98), slice(172, 268), slice(302, 398)),
    (slice(2, 98), slice(172, 244), slice(402, 498)),
)
SEEDS = range(7000, 7003)
GAIN = 9.0
SHORT = 10

Array = npt.NDArray
Bare = list[dict[str, Array]]


@dataclass
class Judge:
    """The methods, knowing the whole public volume."""

    weights: Path | None
    volume: VolumeStatistics
    ridge: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Of the methods."""
        return "axon-small", *(("ridge, of the block", "ridge, of the volume") * self.ridge)

    def masks(self, block: Array) -> dict[str, Array]:
        """Return what every method finds in a block."""
        small, ridge = METHODS["axon-small"], METHODS["ridge"]
        network = SmallSegmenter.of(self.volume, self.weights)
        found = [components(segment_array(block, network), small)]
        for statistics in (measure_ridge(block), self.volume) if self.ridge else ():
            response = ridge.make(statistics, None).segment_block(block, (0, 0, 0))
            found.append(components(response, ridge))
        return dict(zip(self.names, found, strict=True))


def blocks(example: Array, floor: float, axons: bool) -> Iterator[tuple[Array, Scene, int]]:
    """Yield real ground that no training saw, with generated axons or artefacts in it."""
    for seed in SEEDS:
        for place, ground in enumerate(GROUNDS):
            random = np.random.default_rng((seed, place, int(axons)))
            crop = example[ground].astype(np.float32)
            scene, optics = Scene.blank(crop.shape), Optics.draw(random)
            if axons:
                add_axons(random, scene, optics)
            else:
                add_artefacts(random, scene, optics, share=0.3, least=2)
            image = compose(random, crop - floor, scene.contrast, GAIN, 0.0) + floor
            yield np.clip(np.rint(image), 0, 65535).astype(np.uint16), scene, place


def inserted(example: Array, judge: Judge, bare: Bare, pictures: Path | None) -> list[str]:
    """Measure 1: generated axons in real ground."""
    scores = {name: Score() for name in judge.names}
    known = widened(bare)
    for number, (image, scene, place) in enumerate(blocks(example, floor_of(judge), True)):
        found = {n: mask & ~known[place][n] for n, mask in judge.masks(image).items()}
        for name, mask in found.items():
            scores[name].add(mask, scene.axons, scene.lines)
        picture(pictures, f"inserted{number:02}", image, scene.axons, found)
    return table("Generated axons in real ground", scores)


def bare_grounds(example: Array, judge: Judge) -> Bare:
    """Return what each method finds in each ground where nothing has been inserted.

    The real ground has axons and dots of its own, of unknown truth. What a method finds there
    anyway, or one voxel beside it, counts neither for nor against it in measures 1 and 3.
    """
    return [judge.masks(np.ascontiguousarray(example[ground])) for ground in GROUNDS]


def widened(bare: Bare) -> Bare:
    """Return masks one voxel wider."""
    return [{n: ndimage.binary_dilation(m) for n, m in masks.items()} for masks in bare]


def untouched(bare: Bare) -> list[str]:
    """Tell what is found in the bare ground: short pieces are mostly bright dots."""
    size = sum(next(iter(masks.values())).size for masks in bare)
    rows = []
    for name in bare[0]:
        counts = np.zeros((2, 2))
        for masks in bare:
            numbers, _ = ndimage.label(masks[name], np.ones((3, 3, 3)))
            for number, box in enumerate(ndimage.find_objects(numbers), 1):
                long = max(side.stop - side.start for side in box) > SHORT
                counts[int(long)] += 1, (numbers[box] == number).sum()
        told = [f"{pieces:.0f}, {1e6 * voxels / size:.0f}" for pieces, voxels in counts]
        rows.append(f"| {name} | {told[0]} | {told[1]} |")
    head = f"| method | pieces of at most {SHORT} voxels a side, voxels per million | longer ones |"
    return ["### Real ground as it is", "", head, "|---|---|---|", *rows, ""]


def floor_of(judge: Judge) -> float:
    """Return the grey value of no light in the public volume."""
    return judge.volume.percentile(0.1)


def labelled(data: Path, judge: Judge, pictures: Path | None) -> list[str]:
    """Measure 2: the labelled part of cube 1001, which no training saw."""
    image = tifffile.imread(data / "cube1001_image.tif")
    found, lines = judge.masks(image), []
    for word in ("rough", "fine"):
        truth = tifffile.imread(data / f"cube1001_{word}.tif") > 0
        scores = {name: Score() for name in judge.names}
        for name, mask in found.items():
            scores[name].add(mask, truth, skeleton(truth))
        lines += table(f"Cube 1001 against its {word} label", scores)
        picture(pictures, f"cube1001_{word}", image, truth, found)
    return lines


def artefacts(example: Array, judge: Judge, bare: Bare, pictures: Path | None) -> list[str]:
    """Measure 3: artefacts in real ground, no axons."""
    counts = {name: [0, 0] for name in judge.names}
    size = 0
    known = widened(bare)
    for number, (image, _, place) in enumerate(blocks(example, floor_of(judge), False)):
        found = {n: mask & ~known[place][n] for n, mask in judge.masks(image).items()}
        size += image.size
        for name, mask in found.items():
            counts[name][0] += int(mask.sum())
            counts[name][1] += int(skeleton(mask).sum()) if mask.any() else 0
        picture(pictures, f"artefacts{number:02}", image, np.zeros(image.shape, bool), found)
    rows = [
        f"| {name} | {1e6 * voxels / size:.0f} | {1e6 * length / size:.0f} |"
        for name, (voxels, length) in counts.items()
    ]
    head = ["| per million voxels | mask voxels | skeleton voxels |", "|---|---|---|"]
    return ["### Artefacts without axons", "", *head, *rows, ""]


def speed(example: Array, judge: Judge) -> list[str]:
    """Measure 4: CPU seconds per million voxels of one thread, 64 x 128 x 128 voxels."""
    block = example[:64, :128, 150:278]
    lines = ["### CPU seconds per million voxels, one thread", ""]
    cases: dict[str, tuple[Any, bool]] = {
        "axon-small, halo included": (SmallSegmenter.of(judge.volume, judge.weights), True),
    }
    if judge.ridge:
        ridge = METHODS["ridge"].make(judge.volume, None)
        cases |= {"ridge, halo included": (ridge, True), "ridge, without halo": (ridge, False)}
    for name, (segmenter, padded) in cases.items():
        halo = segmenter.halo if padded else (0, 0, 0)
        image = np.pad(block, [(h, h) for h in halo], mode="edge")
        times = []
        for _ in range(2):
            started = time.process_time()
            segmenter.segment_block(image, halo)
            times.append(time.process_time() - started)
        lines.append(f"- {name}: {1e6 * min(times) / block.size:.2f}")
    return [*lines, ""]


def table(title: str, scores: dict[str, Score]) -> list[str]:
    """Return scores as Markdown."""
    rows = [
        f"| {name} | " + " | ".join(f"{value:.3f}" for value in score.values) + " |"
        for name, score in scores.items()
    ]
    head = ["| method | precision | recall | F1 |", "|---|---|---|---|"]
    return [f"### {title}", "", *head, *rows, ""]


def picture(
    folder: Path | None, name: str, image: Array, truth: Array, found: dict[str, Array]
) -> None:
    """Write projections: image, truth, what each method found."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    grey = np.sqrt(image.max(0).astype(np.float32))
    grey = (grey - grey.min()) / max(float(np.ptp(grey)), 1e-6)
    panels = [grey, *(m.max(0) * 0.8 + 0.2 * grey for m in (truth, *found.values()))]
    tifffile.imwrite(folder / f"{name}.tif", (255 * np.concatenate(panels, 1)).astype(np.uint8))


def main() -> None:
    """Run all and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--network", action="store_true", help="judge the network alone")
    given = parser.parse_args()
    example = tifffile.imread(given.data / EXAMPLE)
    statistics = measure(example) if given.network else measure_ridge(example)
    judge = Judge(given.weights, statistics, not given.network)
    assert all(_inside(ground) for ground in GROUNDS)
    bare = bare_grounds(example, judge)
    for lines in (
        inserted(example, judge, bare, given.pictures),
        labelled(given.data, judge, given.pictures),
        artefacts(example, judge, bare, given.pictures),
        untouched(bare),
        speed(example, judge),
    ):
        print("\n".join(lines), flush=True)


def _inside(ground: tuple[slice, slice, slice]) -> bool:
    """Tell whether a ground lies where no training looked."""
    pairs = zip(ground, TEST_GROUND, strict=True)
    return all(t.start <= g.start and g.stop <= t.stop for g, t in pairs)


if __name__ == "__main__":
    main()
