"""What the wire and the server add to a click, and how eight sessions share the thread.

python benchmarks/server.py [--clicks 20]

Everything on one machine over the loopback; the server is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time

import numpy as np

from openmedlab.builtin.click import ClickSegmenter
from openmedlab.client import Client
from openmedlab.client.wire import pack, unpack
from openmedlab.core import Geometry, Point, Progress, Session, Volume
from openmedlab.engine import EncodingCache, answer_prompts

SHAPE, SPACING = (200, 512, 512), (1.5, 0.75, 0.75)
SESSIONS = 8


def scan() -> Volume:
    """Return 200 slices: balls of 40 voxels on a noisy ground."""
    rng = np.random.default_rng(0)
    array = rng.normal(40, 12, SHAPE).astype(np.int16)
    z, y, x = np.ogrid[[slice(n) for n in SHAPE]]
    for center in centers():
        distance = sum(
            ((axis - c) * s) ** 2 for axis, c, s in zip((z, y, x), center, SPACING, strict=True)
        )
        array[distance < 30**2] += 120
    return Volume(array, Geometry.from_spacing(SHAPE, SPACING), "CT", "balls")


def centers() -> list[tuple[int, int, int]]:
    return [(60 + 80 * (k % 2), 100 + 100 * (k // 2), 256) for k in range(SESSIONS)]


def clicks(center: tuple[int, int, int], count: int) -> list[Point]:
    rng = np.random.default_rng(center)
    near = rng.integers(-8, 9, (count, 3))
    near[0] = 0
    return [Point(tuple(np.add(center, offset))) for offset in near]


def local(volume: Volume, count: int) -> tuple[float, float]:
    """Return seconds of the first and of a later click, in process."""
    session, model, cache = Session(volume), ClickSegmenter(), EncodingCache()
    session.add_object()
    seconds = []
    for point in clicks(centers()[0], count):
        started = time.perf_counter()
        session.add_prompt(1, point)
        patch = answer_prompts(
            model, volume, session.model_prompts(1), session.previous(1, model.name), cache=cache
        )
        session.commit(1, patch)
        seconds.append(time.perf_counter() - started)
    return seconds[0], statistics.median(seconds[1:])


def remote(
    address: str, volume: Volume, center: tuple[int, int, int], count: int
) -> tuple[float, list[float], list[float]]:
    """Return seconds of the upload, of every click, and of the model within it."""
    with Client(address) as client:
        session = client.open(volume)
        session.add_object()
        started = time.perf_counter()
        session._desk.claim()
        upload = time.perf_counter() - started
        seconds, inside = [], []
        for point in clicks(center, count):
            session.add_prompt(1, point)
            progress = Progress()
            started = time.perf_counter()
            session.predict(1, progress=progress)
            seconds.append(time.perf_counter() - started)
            inside.append(progress.timings.total)
    return upload, seconds, inside


def together(address: str, volume: Volume, count: int) -> tuple[float, float]:
    """Return median and 95th percentile of a click while eight sessions click."""
    waits: list[float] = []

    def one(k: int) -> None:
        moved = Volume(volume.array, volume.geometry, "CT", f"session {k}")
        waits.extend(remote(address, moved, centers()[k], count)[1][1:])

    threads = [threading.Thread(target=one, args=(k,)) for k in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.median(waits), float(np.percentile(waits, 95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=20)
    count = parser.parse_args().clicks
    volume = scan()
    started = time.perf_counter()
    body = pack(volume.array)
    packing = time.perf_counter() - started
    started = time.perf_counter()
    unpack(body, volume.array.nbytes)
    unpacking = time.perf_counter() - started
    size = f"{volume.array.nbytes / 1e6:.0f} MB to {len(body) / 1e6:.0f} MB"
    print(f"pack {packing:.2f} s, unpack {unpacking:.2f} s, {size}")
    first, later = local(volume, count)
    print(f"in process: first click {first:.3f} s, later {later:.3f} s")
    command = [sys.executable, "-m", "openmedlab.cli", "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        upload, seconds, inside = remote(address, volume, centers()[0], count)
        over = statistics.median(a - b for a, b in zip(seconds[1:], inside[1:], strict=True))
        print(f"upload of 200 slices {upload:.2f} s")
        print(f"served: first click {seconds[0]:.3f} s, later {statistics.median(seconds[1:]):.3f}")
        print(f"wire and server of a later click {1000 * over:.1f} ms")
        middle, high = together(address, volume, max(count // 2, 3))
        print(f"{SESSIONS} sessions at once: later click {middle:.3f} s, 95 % within {high:.3f} s")
        server.terminate()


if __name__ == "__main__":
    main()
