"""Turn the patients of OpenKBP into training volumes for openmedlab-click.

    git clone https://github.com/ababier/open-kbp FOLDER
    python training/click/openkbp.py --data FOLDER/provided-data --out POOL

Babier A. et al., OpenKBP: The open-access knowledge-based planning grand challenge and dataset,
Medical Physics 48, 5549-5561 (2021); MIT licence, the scans by way of The Cancer Imaging Archive
(CC BY). The six patients among the sample data are left out, as they judge the network.

Besides the organs' contours, every scan gets `regions`: basins of the watershed of its gradient,
so that the network also learns borders of which nobody drew a contour.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK

SIDE = 128
JUDGED = frozenset({4, 17, 60, 269, 286, 312})
ORGANS = (
    "Brainstem",
    "SpinalCord",
    "RightParotid",
    "LeftParotid",
    "Esophagus",
    "Larynx",
    "Mandible",
)
OFFSET = 1000
SMALLEST_REGION = 60
Floats = npt.NDArray[np.float32]


def patient(folder: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Return image (HU), labels, regions and spacing of one patient, arrays (z, y, x)."""
    image = np.zeros(SIDE**3, np.float32)
    table = np.loadtxt(folder / "ct.csv", delimiter=",", skiprows=1, ndmin=2)
    image[table[:, 0].astype(np.int64)] = table[:, 1]
    labels = np.zeros(SIDE**3, np.uint8)
    for value, organ in enumerate(ORGANS, 1):
        if (folder / f"{organ}.csv").exists():
            labels[_indices(folder / f"{organ}.csv")] = value
    sizes = np.loadtxt(folder / "voxel_dimensions.csv")
    body = np.argwhere(image.reshape(SIDE, SIDE, SIDE) > 0)
    crop = tuple(slice(a, b) for a, b in zip(body.min(0), body.max(0) + 1, strict=True))
    grey = image.reshape(SIDE, SIDE, SIDE)[crop] - OFFSET
    # Stored as (posterior, left, inferior): slices go first here.
    grey, known = (
        np.ascontiguousarray(np.moveaxis(a, 2, 0))
        for a in (grey, labels.reshape((SIDE,) * 3)[crop])
    )
    return {
        "image": grey.astype(np.int16),
        "labels": known,
        "regions": regions(grey, sizes[[2, 0, 1]], seed=int(folder.name.split("_")[1])),
        "spacing": sizes[[2, 0, 1]].astype(np.float32),
    }


def _indices(path: Path) -> npt.NDArray[np.int64]:
    lines = path.read_text().splitlines()[1:]
    return np.array([int(line.split(",")[0]) for line in lines], np.int64)


def regions(image: Floats, spacing: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.uint16]:
    """Return watershed basins (z, y, x) at a depth drawn from ``seed``; 0 where they are small."""
    random = np.random.default_rng((11, seed))
    scan = SimpleITK.GetImageFromArray(np.clip(image, -300, 700))
    scan.SetSpacing([float(s) for s in spacing[::-1]])
    edges = SimpleITK.GradientMagnitudeRecursiveGaussian(scan, random.uniform(2.0, 5.0))
    level = random.uniform(1.0, 8.0)
    basins = SimpleITK.GetArrayFromImage(
        SimpleITK.MorphologicalWatershed(edges, level, False, False)
    )
    sizes = np.bincount(basins.ravel())
    kept = np.flatnonzero((sizes >= SMALLEST_REGION) & (sizes < image.size / 8))
    number = np.zeros(len(sizes), np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)
    number[0] = 0
    return np.asarray(number[basins])


def main() -> None:
    """Convert all patients; those already there stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for folder in sorted(p.parent for p in given.data.glob("*-pats/pt_*/ct.csv")):
        number = int(folder.name.split("_")[1])
        path = given.out / f"openkbp{number:04}.npz"
        if number in JUDGED or path.exists():
            continue
        np.savez_compressed(path.with_suffix(".part.npz"), **patient(folder))  # type: ignore[arg-type]
        path.with_suffix(".part.npz").rename(path)


if __name__ == "__main__":
    main()
