"""Clicks end to end, prompt to written label, and the memory one takes.

python benchmarks/sam_click.py [--threads 2]

Weights are made from tensor names, so the masks are noise that fills the view: the
slowest case for putting them back. Seconds are the median of the second to tenth click.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from openmedlab.core import Box, Edit, Geometry, LabelPolicy, Point, Promptable, Volume
from openmedlab.engine import answer_prompts
from openmedlab.engine.cache import EncodingCache
from openmedlab.nn.fill import fill_by_name
from openmedlab.zoo import build_network


def model(name: str, **options: bool) -> Promptable:
    from openmedlab.sam_med2d.predictor import SamMed2D
    from openmedlab.sam_med3d.predictor import SamMed3D

    network = build_network(name)
    fill_by_name(network)
    made = {"sam-med3d": SamMed3D, "sam-med2d": SamMed2D}[name]
    return made(network, device="cpu", version="fill", **options)


def volume(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    voxels = np.random.default_rng(0).integers(-100, 900, shape).astype(np.int16)
    return Volume(voxels, Geometry.from_spacing(shape, spacing))


def clicks(promptable: Promptable, image: Volume, count: int = 10) -> tuple[float, float, float]:
    """Return wall seconds of the first click, and wall and CPU seconds of a later one."""
    cache, policy = EncodingCache(), LabelPolicy()
    labels = np.zeros(image.shape, np.uint8)
    middle = np.array(image.shape) // 2
    places = np.random.default_rng(1).integers(-20, 20, (count, 3)) * (0, 1, 1)
    prompts: list[Point] = []
    previous, wall, cpu = None, [], []
    for k, offset in enumerate(places):
        prompts.append(Point(tuple(middle + offset), k % 2 == 0))
        started = time.perf_counter(), time.process_time()
        previous = answer_prompts(promptable, image, prompts, previous, cache=cache)
        before = labels[previous.region.slices]
        edit = Edit.between(before, policy.merge(before, previous.mask, 1), previous.region)
        if edit is not None:
            edit.apply(labels)
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    return wall[0], statistics.median(wall[1:]), statistics.median(cpu[1:])


def peak_megabytes(side: int) -> float:
    """Return how much memory one click in a cube of ``side`` voxels adds at most (Linux)."""
    command = [sys.executable, __file__, "--memory", str(side)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def click_in_a_cube(side: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shape = (side, side, side)
        voxels = np.memmap(Path(folder) / "cube", np.int16, "w+", shape=shape)
        c = side // 2
        near = slice(c - 80, c + 80)
        voxels[near, near, near] = np.random.default_rng(0).integers(1, 900, (160,) * 3)
        image = Volume(voxels, Geometry.from_spacing(shape, (1.0, 1.0, 1.0)))
        box = Box((c - 20.0,) * 3, (c + 20.0,) * 3)
        promptable = model("sam-med3d")
        Path("/proc/self/clear_refs").write_text("5")
        before = megabytes("VmRSS")
        answer_prompts(promptable, image, [box], cache=EncodingCache())
        print(megabytes("VmHWM") - before)


def megabytes(entry: str) -> float:
    """Return an entry of this process's memory as Linux tells it; VmHWM is the peak."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(entry)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        click_in_a_cube(options.memory)
        return
    cases = (
        ("SAM-Med3D, 60 x 290 x 290", model("sam-med3d"), volume((60, 290, 290), (2.5, 0.6, 0.6))),
        (
            "SAM-Med2D, one slice of 512 x 512",
            model("sam-med2d", propagate=False),
            volume((9, 512, 512), (5.0, 0.8, 0.8)),
        ),
    )
    print(f"torch {torch.__version__}, {options.threads} thread(s)")
    print("| click | first, s | later, wall s | later, CPU s |\n|---|---|---|---|")
    for name, promptable, image in cases:
        first, wall, cpu = clicks(promptable, image)
        print(f"| {name} | {first:.2f} | {wall:.3f} | {cpu:.3f} |")
    small, large = (peak_megabytes(side) for side in (200, 1600))
    print(f"\nMemory a first click adds: {small:.0f} MB in 200^3 voxels, {large:.0f} MB in 1600^3.")


if __name__ == "__main__":
    main()
