"""STU-Net: streaming inference against a plain loop over full class maps.

Both start from the same native volume and end with native labels; same network (random
weights filled by name), same 128^3 tiles and weights, same number of threads. Each way runs
in its own process so that peaks of memory can be compared.

    python benchmarks/stunet_streaming.py [--threads 1] [--slices 240]
    python benchmarks/stunet_streaming.py --whole-ct
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from openmedlab.core import CancelToken, Geometry, Progress, Volume
from openmedlab.nn.fill import fill_by_name
from openmedlab.stunet.labeler import StuNet
from openmedlab.stunet.network import StuNetwork, build_network
from openmedlab.stunet.plan import released_plan
from openmedlab.stunet.resample import resampled_shape
from openmedlab.stunet.window import importance_map

PATCH = (128, 128, 128)
SPACING = (1.6, 0.75, 0.75)
LIMIT_GB = 6.0


def body(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    """A noisy elliptic cylinder with soft blobs in air."""
    random = np.random.default_rng(0)
    array = np.empty(shape, np.int16)
    y, x = np.ogrid[: shape[1], : shape[2]]
    inside = ((y / shape[1] - 0.5) / 0.42) ** 2 + ((x / shape[2] - 0.5) / 0.46) ** 2 < 1
    for z in range(shape[0]):
        tissue = (
            40 + 80 * np.sin(y / 17 + z / 23) * np.cos(x / 29) + random.normal(0, 25, shape[1:])
        )
        array[z] = np.where(inside, tissue, -1000)
    affine = Geometry.from_spacing(shape, spacing, direction=np.eye(3)[:, ::-1] * (1, -1, -1))
    return Volume(array, Geometry(shape, affine.affine), "CT", "body")


def network() -> StuNetwork:
    """STU-Net small, weights filled by name."""
    made = build_network("small")
    fill_by_name(made)
    return made.eval().requires_grad_(False)


def plain(volume: Volume, resize: str) -> np.ndarray:
    """Cubic zoom, MONAI's sliding window on full class maps, full resize, arg-max."""
    from monai.inferers import sliding_window_inference
    from scipy import ndimage
    from torch.nn.functional import interpolate

    usual = volume.geometry.reorientation("SAR")
    array = usual.apply(volume.read()).astype(np.float32)
    shape = resampled_shape(array.shape, usual.geometry.spacing, released_plan().spacing)
    factors = [n / o for n, o in zip(shape, array.shape, strict=True)]
    image = ndimage.zoom(array, factors, order=3, mode="nearest", grid_mode=True)
    image = np.clip(image, array.min(), array.max())
    image = torch.from_numpy((image - image.mean()) / (image.std() + 1e-8))[None, None]
    net = network()
    maps = sliding_window_inference(
        image,
        PATCH,
        1,
        lambda x: net(x).softmax(1),
        overlap=0.5,
        roi_weight_map=torch.from_numpy(importance_map(PATCH)),
    )
    if resize == "torch":
        maps = interpolate(maps, array.shape, mode="trilinear")[0]
    else:
        back = [1 / f for f in factors]
        kind = {"order": 1, "mode": "nearest", "grid_mode": True}
        resized = np.empty((maps.shape[1], *array.shape), np.float32)
        for number, values in enumerate(maps[0].numpy()):
            ndimage.zoom(values, back, resized[number], **kind)
        maps = torch.from_numpy(resized)
    return usual.undo(maps.argmax(0).to(torch.uint8).numpy())


def streamed(volume: Volume, openvino: bool, whole: bool = True) -> np.ndarray:
    """Ours; ``whole`` looks at the same tiles as the plain loop."""
    labeler = StuNet(network(), whole=whole, openvino=openvino)
    progress = Progress(lambda done, total, text: print(text, file=sys.stderr, end="\r"))
    labels = labeler.label(volume, None, progress, CancelToken()).array
    print(progress.timings, file=sys.stderr)
    return labels


WAYS = {
    "plain, scipy resize": lambda v: plain(v, "scipy"),
    "plain, torch resize": lambda v: plain(v, "torch"),
    "streaming, PyTorch": lambda v: streamed(v, openvino=False),
    "streaming, OpenVINO": lambda v: streamed(v, openvino=True),
    "streaming, OpenVINO, air left out": lambda v: streamed(v, openvino=True, whole=False),
}


def run_one(way: str, slices: int, threads: int, out: Path) -> None:
    """Run one way in this process; write labels and figures."""
    torch.set_num_threads(threads)
    shape = (slices, 384, 256) if slices < 500 else (slices, 512, 512)
    volume = body(shape, SPACING if slices < 500 else (1.0, 0.8, 0.8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        labels = WAYS[way](volume)
    figures = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "start": before / 2**20,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    np.savez_compressed(out, labels=labels, figures=json.dumps(figures))


def main() -> None:
    """Compare all ways, or measure one whole CT of 512 x 512 x 600."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--slices", type=int, default=240)
    options.add_argument("--whole-ct", action="store_true")
    options.add_argument("--skip", nargs="*", default=[], help="words of ways to leave out")
    options.add_argument("--way", help=argparse.SUPPRESS)
    options.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.way:
        run_one(given.way, given.slices, given.threads, given.out)
        return
    ways = ["streaming, OpenVINO"] if given.whole_ct else list(WAYS)
    slices = 600 if given.whole_ct else given.slices
    expected = None
    print("| way | wall s | CPU s | peak GB | same labels |", "|---|---|---|---|---|", sep="\n")
    for way in [w for w in ways if not any(s in w for s in given.skip)]:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run.npz"
            words = ["--way", way, "--out", str(out), "--threads", str(given.threads)]
            command = [sys.executable, __file__, *words, "--slices", str(slices)]
            subprocess.run(command, check=True)
            with np.load(out) as file:
                labels, figures = file["labels"], json.loads(str(file["figures"]))
        expected = labels if expected is None else expected
        same = 100 * float((labels == expected).mean())
        numbers = " | ".join(f"{figures[k]:.1f}" for k in ("wall", "cpu", "peak"))
        print(f"| {way} | {numbers} | {same:.3f} % |", flush=True)
        if given.whole_ct:
            assert figures["peak"] < LIMIT_GB, "more memory than promised"


if __name__ == "__main__":
    main()
