"""The block engine: killed and resumed, overhead, scaling, memory. Figures: axon_blocks.md.

python benchmarks/axon_blocks.py kill --shape 512,2048,2048
python benchmarks/axon_blocks.py scale --shape 128,256,256 --block 128
python benchmarks/axon_blocks.py memory --gigabytes 1,4,16
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
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import zarr
from scipy import ndimage

from openmedlab.axons.demo import winding_axons
from openmedlab.axons.methods import METHODS
from openmedlab.axons.segment import AxonRun, segment_volume
from openmedlab.blocks import BlockGrid, ImageSource, crew
from openmedlab.core.progress import Progress


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


def generate(
    path: Path, shape: tuple[int, int, int], bright: Callable[[list[int]], bool] | None = None
) -> Path:
    """A brain of repeated, mirrored pieces of winding axons, written piece by piece.

    Pieces that begin where ``bright`` says no stay empty; by default the outer fifth along x.
    """
    if path.exists():
        return path
    piece = winding_axons((128, 256, 256), fibres=60).read()
    group = zarr.open_group(str(path), mode="w")
    image = group.create_array("0", shape=shape, chunks=(128, 128, 128), dtype="u2")
    counts = [-(-n // p) for n, p in zip(shape, piece.shape, strict=True)]
    for number, start in enumerate(np.ndindex(*counts)):
        begin = [k * p for k, p in zip(start, piece.shape, strict=True)]
        if not (bright(begin) if bright else begin[2] < 0.8 * shape[2]):
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


def one_in_twenty(grid: BlockGrid, begin: list[int]) -> bool:
    """Whether the block that holds this voxel is every twentieth of its grid."""
    place = [b // size for b, size in zip(begin, grid.block, strict=True)]
    return np.ravel_multi_index(place, grid.counts) % 20 == 10


class Peaks:
    """The largest memory of this process and of each worker, looked at ten times a second.

    Afterwards ``cpu`` holds the CPU seconds of this process and of all workers, ``alone`` those
    of the thread that drives the run.
    """

    def __enter__(self):
        own = psutil.Process()
        self._all = [own, *own.children(recursive=True)]
        self.memory, self._on = np.zeros(len(self._all)), True
        self._began, self._alone = self._spent(), time.thread_time()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _spent(self):
        spent = [t.user + t.system for t in (process.cpu_times() for process in self._all)]
        return np.array([spent[0], sum(spent[1:])])

    def _look(self):
        while self._on:
            now = [process.memory_info().rss for process in self._all]
            self.memory = np.maximum(self.memory, now)
            time.sleep(0.1)

    def __exit__(self, *_):
        self._on = False
        self._thread.join()
        self.alone = round(time.thread_time() - self._alone, 1)
        self.cpu = np.round(self._spent() - self._began, 1).tolist()


def warmed() -> None:
    """Import what blocks need, as a worker does once, before the clock starts."""
    from skimage import feature, filters

    assert callable(filters.frangi)
    assert callable(feature.hessian_matrix)


def segment(image: Path, name: str, workers: int, method: str, block: int, kill_at: int = 0):
    use_cheap()
    run = AxonRun(ImageSource(image), method=method, block=(block,) * 3, name=name)
    journal, progress = run.folder / "journal.jsonl", Progress()
    seen = noted = 0

    def told(event):
        nonlocal seen, noted
        noted = journal.stat().st_size
        seen += event.state in ("done", "empty")
        if kill_at and seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    began = time.perf_counter()
    with crew(workers) as hands:
        hands.client.run(warmed)
        ready = time.perf_counter()
        with Peaks() as peaks:
            made = segment_volume(run, hands, restart=False, progress=progress, on_block=told)
    ended = time.perf_counter()
    return {
        "start_s": round(ready - began, 1),
        "wall_s": round(ended - ready, 1),
        "prepare_s": round(progress.timings.prepare, 1),
        "parts_s": made.seconds,
        "driver_alone_s": peaks.alone,
        "driver_cpu_s": peaks.cpu[0],
        "workers_cpu_s": peaks.cpu[1],
        "blocks": made.blocks,
        "empty": made.empty,
        "components": made.components,
        "driver_gb": round(peaks.memory[0] / 1e9, 2),
        "worker_gb": round(max(peaks.memory[1:]) / 1e9, 2),
        "journal_kb": round(noted / 1e3, 1),
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


def scale(folder: Path, shape: tuple[int, int, int], block: int, workers: list[int]) -> None:
    image = generate(folder / f"scale_{'_'.join(map(str, shape))}.ome.zarr", shape)
    for count in workers:
        shutil.rmtree(image / "labels", ignore_errors=True)
        cpu = psutil.cpu_times()
        found = segment(image, "axons", count, "ridge", block)
        after = psutil.cpu_times()
        found["machine_busy_s"] = round(after.user - cpu.user + after.system - cpu.system, 1)
        work = found["parts_s"]
        found["machinery"] = round(1 - work["infer"] / (found["wall_s"] * count), 4)
        found["of_work"] = round(1 - work["infer"] / sum(work.values()), 4)
        print(count, json.dumps(found), flush=True)


def memory(folder: Path, gigabytes: list[float], block: int, method: str) -> None:
    """Volumes with every twentieth block full; made by another process, whose memory is its own."""
    for size in gigabytes:
        shape = (round(size * 1e9 / 2 / 1024 / 1024 / 128) * 128, 1024, 1024)
        bright = partial(one_in_twenty, BlockGrid(shape, (block,) * 3))
        with ProcessPoolExecutor(1, get_context("spawn")) as other:
            path = folder / f"memory_{size:g}.ome.zarr"
            image = other.submit(generate, path, shape, bright).result()
        shutil.rmtree(image / "labels", ignore_errors=True)
        print(size, json.dumps(segment(image, "axons", 1, method, block)), flush=True)
        shutil.rmtree(image)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("kill", "scale", "memory", "one"))
    parser.add_argument("image", nargs="?")
    parser.add_argument("--folder", type=Path, default=Path("axon-blocks"))
    parser.add_argument("--shape", default="512,2048,2048")
    parser.add_argument("--gigabytes", default="1,4")
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--method", default="axon-small", help="of the memory benchmark")
    parser.add_argument("--workers", default="1,2", help="of the scale benchmark")
    parser.add_argument("--kill-at", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    z, y, x = (int(n) for n in given.shape.split(","))
    if given.what == "kill":
        kill(given.folder, (z, y, x), given.block)
    elif given.what == "scale":
        scale(given.folder, (z, y, x), given.block, [int(n) for n in given.workers.split(",")])
    elif given.what == "memory":
        sizes = [float(g) for g in given.gigabytes.split(",")]
        memory(given.folder, sizes, given.block, given.method)
    else:
        segment(Path(given.image), "killed", 2, "cheap", given.block, given.kill_at)


if __name__ == "__main__":
    main()
