"""MedLAM: ten organs at once against one by one as published, and the finest similarity.

A made-up CT of 512 x 512 x 200 voxels; random weights filled by name, the last layer scaled so
that the points spread over the body. Each way in its own process.

    python benchmarks/medlam.py ours [--organs 10] [--half] [--threads 1]
    python benchmarks/medlam.py original [--threads 1]
    python benchmarks/medlam.py similarity [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from openmedlab.core import CancelToken, Geometry, Progress, Volume
from openmedlab.medlam import matching, procedure
from openmedlab.medlam.localizer import MedLam
from openmedlab.medlam.network import MedLamNetwork, build_network
from openmedlab.medlam.prepare import Frame, intensities, prepare
from openmedlab.nn.fill import fill_by_name

SHAPE, SPACING = (200, 512, 512), (2.0, 0.8, 0.8)
SPREAD = 0.05
PATCH = 64


def body(seed: int = 0) -> Volume:
    """A noisy elliptic cylinder with soft blobs in air."""
    random = np.random.default_rng(seed)
    y, x = np.ogrid[: SHAPE[1], : SHAPE[2]]
    inside = ((y / SHAPE[1] - 0.5) / 0.42) ** 2 + ((x / SHAPE[2] - 0.5) / 0.46) ** 2 < 1
    array = np.full(SHAPE, -1000, np.int16)
    for z, plane in enumerate(array):
        tissue = (
            40 + 120 * np.sin(y / 17 + z / 13) * np.cos(x / 29) + random.normal(0, 25, SHAPE[1:])
        )
        plane[inside] = tissue[inside]
    return Volume(array, Geometry.from_spacing(SHAPE, SPACING), "CT", f"body {seed}")


def network() -> MedLamNetwork:
    """The published network with made-up weights."""
    made = build_network().eval().requires_grad_(False)
    fill_by_name(made)
    made.fc3.weight.mul_(SPREAD)
    made.fc3.bias.mul_(SPREAD)
    return made


class Kept:
    """A library whose templates were encoded before: made-up features of the right shapes."""

    def __init__(self, organs: int, templates: int) -> None:
        points = np.random.default_rng(1).normal(0, 40, (6, 3))
        self.templates = [
            SimpleNamespace(organ=f"organ {k}", name=f"{k} {t}", scan=str(t), points=points)
            for k in range(organs)
            for t in range(templates)
        ]

    def features(self, template: Any, key: str, make: Any) -> dict[str, Any]:
        """Return what a library would read from its files."""
        random = np.random.default_rng(zlib.crc32(template.name.encode()))
        arrays = {"codes": random.normal(0, 0.05, (6, 3)), "voxels": np.zeros((6, 3))}
        for k, size in enumerate((2, 4, 8)):
            kernel = torch.from_numpy(random.random((6, 96, size, size, size), np.float32))
            arrays[f"template{k}"] = functional.normalize(kernel).numpy()
        return arrays


def ours(organs: int, half: bool) -> dict[str, Any]:
    """Localise all organs at once with two templates each, encoded before."""
    query, library = body(1), Kept(organs, 2)
    model = MedLam(network(), version="benchmark", half=half)
    before = peak_gb()
    scan = measured(lambda: procedure.begin(prepare(query), model._steps))
    patch = np.zeros((1, 1, PATCH, PATCH, PATCH), np.float32)
    template = measured(lambda: model._steps.support(patch, CancelToken()))
    whole = measured(lambda: model.localize(library, query, Progress(), CancelToken()))
    return {
        "preparing and starts": scan,
        "one point of a template, once": template,
        f"{organs} organs": whole,
        "peak_gb": peak_gb(),
        "peak_gb of the scan and the network": before,
    }


def original() -> dict[str, Any]:
    """The published steps for one organ and one template, one after the other."""
    made, times = network(), {}
    query = body(1)
    view = Frame.of(query.geometry).turned.apply(query.read()).astype(np.float64)
    zoom = np.array(SPACING) / 3

    made_of_it: dict[str, Any] = {}

    def prepared() -> None:
        made_of_it["image"] = np.pad(intensities(ndimage.zoom(view, zoom, order=3)), PATCH // 2)

    times["prepare"] = measured(prepared)
    image = made_of_it["image"]
    z, y, x = np.array(image.shape) // 2 - PATCH // 2
    crop = np.ascontiguousarray(image[z : z + PATCH, y : y + PATCH, x : x + PATCH])
    patch = torch.from_numpy(crop)[None, None]

    def look() -> None:
        encoded = made.encode(patch)
        made.code(encoded)
        made_of_it["features"] = matching.normalised(made.features(encoded))

    times["patch with decoder"] = measured(look)
    features = made_of_it["features"]
    templates = matching.middles(features)

    def convolve() -> None:
        for template, feature in zip(templates, features, strict=True):
            six = feature.repeat(1, 6, 1, 1, 1)
            kernel = template.repeat(6, 1, 1, 1, 1)
            functional.conv3d(six, kernel, padding=template.shape[-1] // 2, groups=6)

    times["similarity, 6 points"] = measured(convolve)
    patches = times["patch with decoder"]["cpu_s"]
    query_s = times["prepare"]["cpu_s"] + 16 * patches + times["similarity, 6 points"]["cpu_s"]
    template_s = times["prepare"]["cpu_s"] + 6 * patches
    return {
        **times,
        "one organ, its template known": query_s,
        "one organ with its template": query_s + template_s,
        "peak_gb": peak_gb(),
    }


def similarity() -> dict[str, Any]:
    """The finest similarity of six points: grouped convolution against `matching.similarity`."""
    torch.manual_seed(0)
    features = functional.normalize(torch.rand(6, 96, 64, 64, 64))
    templates = functional.normalize(torch.rand(6, 96, 8, 8, 8))

    def fast() -> list[torch.Tensor]:
        return [matching.similarity(t, f) for t, f in zip(templates, features, strict=True)]

    def published() -> torch.Tensor:
        whole = features.reshape(1, -1, 64, 64, 64)
        return functional.conv3d(whole, templates, padding=4, groups=6)[0] / 512

    fast()
    answers: dict[str, Any] = {}
    times = {
        "ours": measured(lambda: answers.update(ours=torch.stack(fast()))),
        "grouped convolution": measured(lambda: answers.update(published=published())),
    }
    difference = float((answers["ours"] - answers["published"]).abs().max())
    return {**times, "largest difference": difference}


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Return wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        work()
    return {
        "wall_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
    }


def peak_gb() -> float:
    """Return the largest resident memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("ours", "original", "similarity"))
    parser.add_argument("--organs", type=int, default=10)
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.way == "ours":
        told = ours(given.organs, given.half)
    else:
        told = original() if given.way == "original" else similarity()
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
