"""The training-free tissue labels against reference labels: Dice, time and memory per scan.

Run with OPENMEDLAB_SAMPLES naming the folder of real samples; prints a Markdown table.
--large FOLDER writes a made-up CT of 512 x 512 x 600 voxels; --memory FILE labels it and
prints the peak of the process.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from openmedlab.builtin.tissues import TISSUES, TissueLabeler
from openmedlab.core import LabelVolume, Volume
from openmedlab.evaluation.metrics import dice
from openmedlab.io import phantom, sample, sample_names

BONES = (
    "rib_", "vertebra", "hip_", "sacrum", "scapula", "skull", "femur", "sternum", "clavic",
    "humerus",
)  # fmt: skip
NUMBER = {label.name: number for number, label in TISSUES.items()}


def reference(labels: LabelVolume, *names: str) -> np.ndarray:
    numbers = [n for n, v in labels.labels.items() if v.name.startswith(names)]
    return np.isin(labels.array, numbers)


def score(found: np.ndarray, truth: np.ndarray) -> str:
    return f"{dice(found, truth):.3f}" if truth.any() else ""


def row(name: str) -> str | None:
    volume, truth = sample(name)
    if volume.modality != "CT":
        return None
    started = time.perf_counter()
    labels = TissueLabeler().label(volume)
    seconds = time.perf_counter() - started
    left, right, bone = (labels.array == NUMBER[n] for n in ("lung_left", "lung_right", "bone"))
    true_bone = reference(truth, *BONES)
    recall = (bone & true_bone).sum() / max(true_bone.sum(), 1)
    cells = (
        name,
        "x".join(map(str, volume.shape)),
        score(left | right, reference(truth, "lung_")),
        score(bone, true_bone),
        f"{recall:.2f}" if true_bone.any() else "",
        *(
            f"{(labels.array == n).sum() * volume.geometry.voxel_volume / 1000:.0f}"
            for n in TISSUES
        ),
        f"{seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def large(folder: Path) -> Path:
    """Write a phantom of 512 x 512 x 600 voxels, enlarged from a smaller one."""
    from openmedlab.io import write_volume

    volume = phantom((150, 128, 128))[0]
    array = volume.read().repeat(4, 0).repeat(4, 1).repeat(4, 2)
    grid = volume.geometry.resized(array.shape)
    return write_volume(Volume(array, grid, "CT", "large"), folder / "large.nrrd")


def memory(image: Path) -> None:
    """Label a file in this process and print its peak."""
    from openmedlab.io import read_volume

    volume = read_volume(image)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    started = time.perf_counter()
    TissueLabeler().label(volume)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"before {before:.2f} GB, peak {peak:.2f} GB, {time.perf_counter() - started:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=Path, help="write the made-up CT into this folder")
    parser.add_argument("--memory", type=Path, help="label this file and print the peak")
    chosen = parser.parse_args()
    if chosen.large:
        print(large(chosen.large))
        return
    if chosen.memory:
        memory(chosen.memory)
        return
    names = ("scan", "voxels", "lungs Dice", "bone Dice", "bone recall", *NUMBER, "s")
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for name in sample_names():
        line = row(name)
        if line is not None:
            print(line, flush=True)


if __name__ == "__main__":
    main()
