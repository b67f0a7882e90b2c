"""Axon-Small by blocks against a plain MONAI sliding window of the same network.

One thread, CPU seconds; a full real block, and the same block in a corner of an otherwise
empty volume. The plain loop looks at windows of 96 voxels with MONAI's default overlap of a
quarter; the network takes 20 voxels off each side, so its windows are padded first.

    python benchmarks/axon_speed.py BLOCK.tif
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from monai.inferers import sliding_window_inference
from torch.nn import functional

from openmedlab.axons.methods import METHODS, segment_array
from openmedlab.axons.small_net import BUNDLED, REACH, GreyScale, _network
from openmedlab.axons.statistics import measure

WINDOW = 96


def plain(array: np.ndarray, scale: GreyScale) -> np.ndarray:
    """Every window, averaged where windows overlap."""
    image = torch.from_numpy(scale(array))[None, None]
    network = _network(BUNDLED, "cpu")

    def same(window: torch.Tensor) -> torch.Tensor:
        return network(functional.pad(window, (REACH,) * 6, mode="replicate"))

    with torch.inference_mode():
        found = sliding_window_inference(image, (WINDOW,) * 3, 1, same, overlap=0.25)
    return found[0, 0].sigmoid().numpy()


def timed(call) -> tuple[np.ndarray, float]:
    """Return the result and its CPU seconds."""
    began = time.process_time()
    return call(), time.process_time() - began


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    full = tifffile.imread(Path(sys.argv[1]))[:96, :288, :480]
    sparse = np.zeros((96, 576, 960), full.dtype)
    sparse[:, :288, :240] = full[:, :, :240]
    print(
        "| volume | million voxels | plain s | ours s | ratio | agree |",
        "|---|---|---|---|---|---|",
        sep="\n",
    )
    for name, array in (("full", full), ("seven eighths empty", sparse)):
        statistics = measure(full)
        segmenter = METHODS["axon-small"].make(statistics, None)
        segment_array(array[:32, :64, :64], segmenter)
        ours, own = timed(lambda a=array, s=segmenter: segment_array(a, s))
        theirs, other = timed(lambda a=array, s=segmenter: plain(a, s.scale))
        agree = ((ours > 0.5) == ((theirs > 0.5) & (array > segmenter.scale.empty))).mean()
        print(
            f"| {name} | {array.size / 1e6:.1f} | {other:.1f} | {own:.1f} | {other / own:.2f} | "
            f"{100 * agree:.2f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
