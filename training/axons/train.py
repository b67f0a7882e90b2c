"""Train the bundled Axon-Small: generated axons and artefacts, on real and generated ground.

    python training/axons/train.py generate --data FOLDER --out RUN
    python training/axons/train.py train --out RUN --minutes 9     # again until it is done
    python training/axons/train.py export --out RUN --file first.safetensors
    python training/axons/train.py train --out RUN --steps 3000 --start first.safetensors
    python training/axons/train.py export --out RUN/second
    python training/axons/train.py calibrate --out RUN   # thresholds, on its validation cubes

``FOLDER`` is the sample data's ``axon/public``. Everything random follows from the seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tifffile
from generator import Optics, Scene, add_artefacts, add_axons, background, compose, dots, texture
from scipy import ndimage
from scoring import Score, near

from openmedlab.axons.methods import BUNDLED, components, method, segment_array
from openmedlab.axons.small_net import GreyScale
from openmedlab.axons.statistics import measure
from openmedlab.axonseg.annotate import clean, skeleton
from openmedlab.core.errors import Cancelled
from openmedlab.core.progress import CancelToken, Progress

if TYPE_CHECKING:
    from openmedlab.axons.trainer import Cube, Settings, Trainer

SIDE = 96
PART = 100
GENERATED = 1472
DOTTED = 1232
DOT = 10
STEPS = 13000
RATE, SECOND_RATE = 2e-3, 7e-4
VALIDATION = 32
RULES = ((0.2, 0.5), (0.3, 0.6), (0.3, 0.8), (0.4, 0.7), (0.5, 0.8), (0.6, 0.9), (0.7, 0.95))
SMALLEST = (10, 20, 30)
TEST_GROUND = (slice(0, 100), slice(170, 340), slice(300, 500))
JUDGED = (slice(67, 100), slice(265, 340), slice(46, 196))
EXAMPLE = "brain_example_z000-099_y160-499_x100-599.tif"
CARD = {
    "name": "axon-small",
    "licence": "CC-BY-4.0",
    "data": "D-LMBmap example volume (CC BY 4.0), Li Z. et al., Nature Methods 20, 1593-1604 "
    "(2023), doi:10.1038/s41592-023-01998-6; generated axons and artefacts",
    "made_by": "training/axons/train.py, see training/axons/README.md",
}

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


def teacher(volume: npt.NDArray[np.uint16], out: Path) -> Labels:
    """Return what the ridge filter finds in the real volume: 1 sure, 2 perhaps, 0 nothing.

    Sure is what it finds by the measures of the whole volume, which dim places never reach;
    what it finds there by the measures of a part alone may be axon or may not, unless it is
    short and stands alone: a bright dot, which is nothing.
    """
    if (out / "teacher.npy").exists():
        return np.load(out / "teacher.npy")
    choice = method("ridge")
    found = segment_array(volume, choice.make(choice.measure(volume, None, None), None))
    sure = clean(components(found, choice), 40)
    axons = ndimage.binary_dilation(skeleton(sure))
    perhaps = (found > 0.2) | sure
    cuts = list(product(*(range(0, n, PART) for n in volume.shape[1:])))
    places = [(slice(None), slice(y, y + PART), slice(x, x + PART)) for y, x in cuts]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        parts = workers.map(found_alone, (volume[place] for place in places))
        for place, part in zip(places, parts, strict=True):
            perhaps[place] |= part
    perhaps = ndimage.binary_dilation(without_dots(perhaps), iterations=2)
    label = np.where(axons, 1, np.where(perhaps, 2, 0)).astype(np.uint8)
    np.save(out / "teacher.npy", label)
    return label


def without_dots(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return a mask (z, y, x) without the pieces that are at most `DOT` voxels long each way."""
    numbers, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sides = [max(s.stop - s.start for s in box) for box in ndimage.find_objects(numbers)]
    return np.asarray(np.array([False, *(side > DOT for side in sides)])[numbers])


def found_alone(part: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Return what the ridge filter finds in a part of the volume (z, y, x) by its own measures."""
    choice = method("ridge")
    segmenter = choice.make(choice.measure(part, None, None), None)
    return components(segment_array(part, segmenter), choice)


def grounds(
    random: np.random.Generator, volume: npt.NDArray[np.uint16], label: Labels
) -> tuple[Floats, Labels]:
    """Return a real crop (z, y, x) that touches neither the test ground nor cube 1001."""
    barred = np.zeros(volume.shape[1:], bool)
    barred[TEST_GROUND[1:]] = barred[JUDGED[1:]] = True
    while True:
        y, x = (
            random.integers(0, volume.shape[1] - SIDE),
            random.integers(0, volume.shape[2] - SIDE),
        )
        if barred[y : y + SIDE, x : x + SIDE].any():
            continue
        cut = (slice(2, 2 + SIDE), slice(y, y + SIDE), slice(x, x + SIDE))
        return volume[cut].astype(np.float32), label[cut]


def generated(
    seed: int, volume: npt.NDArray[np.uint16], label: Labels, scale: GreyScale
) -> tuple[npt.NDArray[np.float16], Labels]:
    """Return one training cube: the network's input and its label."""
    random = np.random.default_rng((9, seed))
    shape = (SIDE, SIDE, SIDE)
    scene, optics = Scene.blank(shape), Optics.draw(random)
    for _ in range(random.choice(3, p=(0.1, 0.5, 0.4))):
        add_axons(random, scene, optics)
    add_artefacts(random, scene, optics)
    for _ in range(random.integers(1, 4) if seed >= DOTTED else 0):
        dots(random, scene, optics)
    if random.random() < (0.9 if seed >= DOTTED else 0.6):
        crop, known = grounds(random, volume, label)
        light = dimmed(random, crop - scale.floor, 0.6 if seed >= DOTTED else 0.3)
        image = compose(random, light, scene.contrast, random.uniform(3, 15), 0.0)
    else:
        light, known = background(random, shape), np.zeros(shape, np.uint8)
        gain, read = np.exp(random.uniform(0, np.log(40))), random.uniform(5, 80)
        image = compose(random, light, scene.contrast, gain, read)
        smooth = max(float(np.median(light)), 1.0)
        scale = GreyScale(0.0, smooth * np.exp(random.uniform(np.log(0.5), np.log(4))), 0.0)
    known = known.copy()
    rim = ndimage.binary_dilation(scene.axons) & ~scene.axons
    known[rim & (known == 0)] = 2
    known[scene.axons] = 1
    return scale(image + scale.floor).astype(np.float16), known


def dimmed(random: np.random.Generator, light: Floats, kept: float = 0.3) -> Floats:
    """Return light (z, y, x) as it is (``kept`` of the time) or as dimmer places have it."""
    if random.random() < kept:
        return light
    wanted = np.exp(random.uniform(np.log(200), np.log(1200)))
    light = light * np.float32(min(wanted / max(float(np.median(light)), 1.0), 0.9))
    smooth = np.maximum(ndimage.gaussian_filter(light, 3), 0)
    shot = random.standard_normal(light.shape, np.float32) * np.sqrt(smooth * random.uniform(3, 25))
    grain = texture(random, light.shape) * smooth * random.uniform(0, 0.2)
    return np.asarray(light + shot + grain, np.float32)


def generate(data: Path, out: Path) -> None:
    """Write the training cubes under ``out``; those already there stay."""
    out.mkdir(parents=True, exist_ok=True)
    volume = tifffile.imread(data / EXAMPLE)
    scale = GreyScale.of(measure(volume))
    label = teacher(volume, out)
    for seed in range(GENERATED):
        path = out / f"cube{seed:04}.npz"
        if not path.exists():
            image, known = generated(seed, volume, label, scale)
            np.savez(path.with_suffix(".part.npz"), image=image, label=known)
            path.with_suffix(".part.npz").rename(path)


def train(out: Path, minutes: float, steps: int, start: Path | None) -> None:
    """Go on training for some minutes, at first from nothing on the cubes before `DOTTED`.

    From ``start``, weights of such a training, it learns all cubes at a smaller rate, to the end.
    """
    import torch

    from openmedlab.axons.small_net import AxonSmall, load
    from openmedlab.axons.trainer import Trainer

    cubes = read_cubes(out)[: None if start else DOTTED]
    torch.manual_seed(6)
    network = load(start) if start else AxonSmall()
    judges, folder = ([], out / "second") if start else (cubes[:VALIDATION], out)
    schedule = settings(steps, SECOND_RATE if start else RATE)
    learn(Trainer(network, cubes[VALIDATION:], judges, schedule, folder), minutes)


def read_cubes(out: Path) -> list[Cube]:
    """Return the training cubes, those with more dots drawn three times as often."""
    from openmedlab.axons.trainer import Cube

    cubes = []
    for seed, path in enumerate(sorted(out.glob("cube????.npz"))):
        with np.load(path) as file:
            cubes.append(Cube(file["image"], file["label"], 3.0 if seed >= DOTTED else 1.0))
    return cubes


def settings(steps: int, rate: float) -> Settings:
    """Return how to train: to the last update, whatever the validation cubes say."""
    from openmedlab.axons.trainer import Settings

    return Settings(steps, rate, 3, 64, average=0.998, check=500, patience=steps, seed=6)


def learn(trainer: Trainer, minutes: float) -> None:
    """Go on with a training for some minutes, saying how far it is."""
    cancel, ends = CancelToken(), time.monotonic() + 60 * minutes

    def report(done: int, total: int, text: str) -> None:
        if done % 50 == 0:
            sys.stdout.write(f"{done}/{total} {text}\n")
            sys.stdout.flush()
        if time.monotonic() > ends:
            cancel.cancel()

    with suppress(Cancelled):
        trainer.run(Progress(report), cancel)


def export(out: Path, file: Path) -> None:
    """Write the best weights so far, with what a reader of the file should know."""
    from openmedlab.tuning.loop import best_weights
    from openmedlab.zoo.checkpoint import write_safetensors

    write_safetensors(best_weights(out), file, CARD)


def calibrate(file: Path, out: Path) -> None:
    """Print precision, recall and F1 of centre lines on the validation cubes for all rules.

    And how many voxels in a million are found where nothing is.
    """
    import torch

    from openmedlab.axons.small_net import REACH, load

    network = load(file).eval()
    scores: dict[tuple[float, float, int], Score] = defaultdict(Score)
    wrong: dict[tuple[float, float, int], list[float]] = defaultdict(list)
    for path in sorted(out.glob("cube????.npz"))[:VALIDATION]:
        with np.load(path) as cube:
            image, label = cube["image"].astype(np.float32), cube["label"]
        padded = torch.from_numpy(np.pad(image, REACH, mode="reflect"))
        with torch.inference_mode():
            found = network(padded[None, None]).sigmoid()[0, 0].numpy()
        truth, unknown = label == 1, label == 2
        lines, nothing = skeleton(truth), ~(near(truth) | unknown)
        for (threshold, seed), smallest in product(RULES, SMALLEST):
            rule = replace(method("axon-small"), threshold=threshold, seed=seed, smallest=smallest)
            mask = components(found, rule)
            scores[threshold, seed, smallest].add(mask, truth, lines, unknown)
            wrong[threshold, seed, smallest].append(1e6 * float((mask & nothing).mean()))
    for rules, score in sorted(scores.items(), key=lambda pair: -pair[1].values[2]):
        told = " ".join(f"{value:.4f}" for value in score.values)
        sys.stdout.write(f"{rules}: {told}, {np.mean(wrong[rules]):.0f} per million\n")


def main() -> None:
    """Run one task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("generate", "train", "calibrate", "export"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--start", type=Path, help="weights to begin with, for a second training")
    parser.add_argument("--file", type=Path, default=BUNDLED)
    given = parser.parse_args()
    if given.task == "generate":
        generate(given.data, given.out)
    elif given.task == "train":
        train(given.out, given.minutes, given.steps, given.start)
    elif given.task == "calibrate":
        calibrate(given.file, given.out)
    else:
        export(given.out, given.file)


if __name__ == "__main__":
    main()
