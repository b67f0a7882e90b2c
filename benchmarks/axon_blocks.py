"""The block engine: killed and resumed, overhead, scaling, memory. Figures: axon_blocks.md.

python benchmarks/axon_blocks.py kill --shape 512,2048,2048
python benchmarks/axon_blocks.py scale
python benchmarks/axon_blocks.py memory --gigabytes 1,4
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import zarr
from scipy import ndimage

from openmedlab.axons.demo import winding_axons
from openmedlab.axons.methods import METHODS
from openmedlab.axons.segment import AxonRun, segment_volume
from openmedlab.blocks import ImageSource, crew


@dataclass(frozen=True)
class Cheap:
    """A 3 x 3 x 3 mean over a level: almost no work, so that the machinery is what counts."""

    level: float

    halo = (1, 1, 1)
    alignment = (1, 1, 1)

    def is_empty(self, block):
        return not block.any()

    def segment_block(self, block, halo):
        mean = ndimage.uniform_filter(block, 3, output=np.float32)[1:-1, 1:-1, 1:-1]
        return np.minimum(mean / (2 * self.level), 1, out=mean)


def make_cheap(statistics, weights):
    return Cheap(2000.0)


def use_cheap():
    METHODS["cheap"] = replace(
        METHODS["ridge"], name="cheap", threshold=0.5, seed=0.5, make=make_cheap,
        measure=METHODS["axon-small"].measure,
    )  # fmt: skip


def generate(path: Path, shape: tuple[int, int, int]) -> Path:
    """A brain of repeated, mirrored pieces of winding axons; the outer fifth along x is dark."""
    if path.exists():
        return path
    piece = winding_axons((128, 256, 256), fibres=60).read()
    group = zarr.open_group(str(path), mode="w")
    image = group.create_array("0", shape=shape, chunks=(128, 128, 128), dtype="u2")
    counts = [-(-n // p) for n, p in zip(shape, piece.shape, strict=True)]
    for number, start in enumerate(np.ndindex(*counts)):
        begin = [k * p for k, p in zip(start, piece.shape, strict=True)]
        if begin[2] >= 0.8 * shape[2]:
            continue
        flips = tuple(slice(None, None, -1 if number >> k & 1 else 1) for k in range(3))
        part = piece[flips]
        room = [min(p, n - b) for p, n, b in zip(piece.shape, shape, begin, strict=True)]
        where = tuple(slice(b, b + r) for b, r in zip(begin, room, strict=True))
        image[where] = part[tuple(slice(0, r) for r in room)]
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    scale = [{"type": "scale", "scale": [3.0, 1.625, 1.625]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    return path


class Peaks:
    """The largest memory of this process and of each worker, looked at ten times a second."""

    def __enter__(self):
        self.own, self.worker, self._on = 0, 0, True
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self):
        process = psutil.Process()
        while self._on:
            self.own = max(self.own, process.memory_info().rss)
            for child in process.children(recursive=True):
                try:
                    self.worker = max(self.worker, child.memory_info().rss)
                except psutil.Error:
                    continue
            time.sleep(0.1)

    def __exit__(self, *_):
        self._on = False
        self._thread.join()


def segment(image: Path, name: str, workers: int, method: str, block: int, kill_at: int = 0):
    use_cheap()
    seen = 0

    def told(event):
        nonlocal seen
        seen += event.state in ("done", "empty")
        if kill_at and seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    began = time.perf_counter()
    with crew(workers) as hands:
        ready = time.perf_counter()
        run = AxonRun(ImageSource(image), method=method, block=(block,) * 3, name=name)
        with Peaks() as peaks:
            made = segment_volume(run, hands, restart=False, on_block=told)
    ended = time.perf_counter()
    return {
        "start_s": round(ready - began, 1),
        "wall_s": round(ended - ready, 1),
        "parts_s": made.seconds,
        "blocks": made.blocks,
        "empty": made.empty,
        "components": made.components,
        "driver_gb": round(peaks.own / 1e9, 2),
        "worker_gb": round(peaks.worker / 1e9, 2),
    }


def digest(image: Path, name: str) -> str:
    """Of every voxel of all levels."""
    group = zarr.open_group(str(image / "labels" / name), mode="r")
    found = hashlib.sha256()
    for level in sorted(group.array_keys()):
        array = group[level]
        for z in range(0, array.shape[0], 128):
            found.update(np.ascontiguousarray(array[z : z + 128]).tobytes())
    return found.hexdigest()[:16]


def kill(folder: Path, shape: tuple[int, int, int], block: int) -> None:
    image = generate(folder / "brain.ome.zarr", shape)
    shutil.rmtree(image / "labels", ignore_errors=True)
    print("undisturbed", json.dumps(segment(image, "whole", 2, "cheap", block)), flush=True)
    blocks = int(np.prod([-(-n // block) for n in shape]))
    command = [sys.executable, __file__, "one", str(image), "--block", str(block)]
    ended = subprocess.run([*command, "--kill-at", str(blocks // 2)], check=False)
    print("killed with", ended.returncode, flush=True)
    print("resumed", json.dumps(segment(image, "killed", 2, "cheap", block)))
    print("equal", digest(image, "whole"), digest(image, "killed"))
    assert digest(image, "whole") == digest(image, "killed")


def scale(folder: Path, shape: tuple[int, int, int], block: int) -> None:
    image = generate(folder / "scale.ome.zarr", shape)
    for workers in (1, 2):
        shutil.rmtree(image / "labels", ignore_errors=True)
        cpu = psutil.cpu_times()
        found = segment(image, "axons", workers, "ridge", block)
        after = psutil.cpu_times()
        found["machine_busy_s"] = round(after.user - cpu.user + after.system - cpu.system, 1)
        work = found["parts_s"]
        found["machinery"] = round(1 - work["infer"] / (found["wall_s"] * workers), 4)
        found["of_work"] = round(1 - work["infer"] / sum(work.values()), 4)
        print(workers, json.dumps(found), flush=True)


def memory(folder: Path, gigabytes: list[float], block: int) -> None:
    for size in gigabytes:
        planes = round(size * 1e9 / 2 / 1024 / 1024 / 128) * 128
        image = generate(folder / f"memory_{size:g}.ome.zarr", (planes, 1024, 1024))
        shutil.rmtree(image / "labels", ignore_errors=True)
        print(size, json.dumps(segment(image, "axons", 2, "cheap", block)), flush=True)
        shutil.rmtree(image)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("kill", "scale", "memory", "one"))
    parser.add_argument("image", nargs="?")
    parser.add_argument("--folder", type=Path, default=Path("axon-blocks"))
    parser.add_argument("--shape", default="512,2048,2048")
    parser.add_argument("--gigabytes", default="1,4")
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--kill-at", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    z, y, x = (int(n) for n in given.shape.split(","))
    if given.what == "kill":
        kill(given.folder, (z, y, x), given.block)
    elif given.what == "scale":
        scale(given.folder, (z, y, x), given.block)
    elif given.what == "memory":
        memory(given.folder, [float(g) for g in given.gigabytes.split(",")], given.block)
    else:
        segment(Path(given.image), "killed", 2, "cheap", given.block, given.kill_at)


if __name__ == "__main__":
    main()
