"""Does Axon-Small learn the labels of cube 1001? Two folds in space, one for each half of the cube.

    python benchmarks/axon_folds.py --data FOLDER --run RUN --start FILE --fold left
    python benchmarks/axon_folds.py --data FOLDER --run RUN --start FILE --fold right
    python benchmarks/axon_folds.py --data FOLDER --run RUN

``FOLDER`` is the sample data's ``axon/public``, ``RUN`` that of ``training/axons/train.py`` and
``FILE`` what came of its first training. A fold is the second training with one half of the
labelled part beside the generated cubes, in ``SHARE`` of the patches: axon is what the fine label
holds, nothing what neither label holds. The last line judges each network by the other half.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from axon_model import EXAMPLE, Judge, table
from scipy import ndimage

from openmedlab.axons.small_net import GreyScale, load
from openmedlab.axons.statistics import measure
from openmedlab.axons.trainer import Cube, Trainer
from openmedlab.axonseg.annotate import skeleton
from openmedlab.tuning.loop import best_weights
from openmedlab.zoo.checkpoint import write_safetensors

sys.path.insert(0, str(Path(__file__).parents[1] / "training" / "axons"))
from scoring import Score
from train import CARD, JUDGED, SECOND_RATE, VALIDATION, learn, read_cubes, settings

SHARE = 0.08
STEPS = 1400
AROUND = (slice(36, 100), slice(245, 340), slice(26, 216))
HALVES = {"left": slice(0, 73), "right": slice(77, 150)}
MIDDLE = 75

Mask = npt.NDArray[np.bool_]


def read_labels(data: Path) -> dict[str, Mask]:
    """Return the rough and the fine label (z, y, x)."""
    return {w: tifffile.imread(data / f"cube1001_{w}.tif") > 0 for w in ("rough", "fine")}


def half_cube(data: Path, fold: str, weight: float) -> Cube:
    """Return the labelled part with its surroundings, all but one half of it unknown."""
    example, labels = tifffile.imread(data / EXAMPLE), read_labels(data)
    doubted = ndimage.binary_dilation(labels["rough"])
    known = np.where(labels["fine"], 1, np.where(doubted, 2, 0))
    label = np.full(example.shape, 2, np.uint8)
    label[JUDGED][..., HALVES[fold]] = known[..., HALVES[fold]]
    scale = GreyScale.of(measure(example))
    return Cube(scale(example[AROUND].astype(np.float32)), label[AROUND], weight)


def train(data: Path, run: Path, start: Path, fold: str) -> None:
    """Train one fold."""
    cubes = read_cubes(run)[VALIDATION:]
    others = sum(cube.weight for cube in cubes)
    cubes.append(half_cube(data, fold, others * SHARE / (1 - SHARE)))
    folder = run / fold
    learn(Trainer(load(start), cubes, [], settings(STEPS, SECOND_RATE), folder), math.inf)
    write_safetensors(best_weights(folder), run / f"{fold}.safetensors", CARD)


def judge(data: Path, run: Path) -> None:
    """Print how each fold's network does on the half that it did not learn."""
    volume = measure(tifffile.imread(data / EXAMPLE))
    image, labels = tifffile.imread(data / "cube1001_image.tif"), read_labels(data)
    halves = {"left": np.s_[..., MIDDLE:], "right": np.s_[..., :MIDDLE]}
    found = {f: Judge(run / f"{f}.safetensors", volume, False).masks(image) for f in halves}
    scores = {word: Score() for word in labels}
    for fold, half in halves.items():
        mask = found[fold]["axon-small"][half]
        for word, truth in labels.items():
            scores[word].add(mask, truth[half], skeleton(truth)[half])
    print("\n".join(table("Each half of cube 1001 by the network that learned the other", scores)))


def main() -> None:
    """Train a fold or judge both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--fold", choices=tuple(HALVES))
    given = parser.parse_args()
    if given.fold and given.start:
        train(given.data, given.run, given.start, given.fold)
    else:
        judge(given.data, given.run)


if __name__ == "__main__":
    main()
