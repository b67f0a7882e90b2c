"""A cohort of small phantoms, and networks small enough to learn it on one core."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from openmedlab.core import Geometry, Label, LabelVolume, Volume
from openmedlab.io import write_labels, write_volume
from openmedlab.tuning.data import read_cohort

sys.path.insert(0, str(Path(__file__).parent))
import tiny_tuning

SHAPE = (24, 28, 32)


def scan(seed, spacing=(2.0, 1.6, 1.6)):
    """A CT-like block of tissue with a bright ball (organ) and a bright rod (vessel)."""
    random = np.random.default_rng(seed)
    image = random.normal(40, 15, SHAPE)
    z, y, x = np.indices(SHAPE)
    middle = random.uniform(0.35, 0.65, 3) * SHAPE
    ball = ((z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2) < 36
    row, column = random.integers(4, 8, 2)
    rod = ((y - row) ** 2 + (x - column) ** 2) < 9
    image[ball], image[rod] = image[ball] + 150, image[rod] + 300
    labels = np.where(ball, 1, np.where(rod, 3, 0)).astype(np.uint8)
    geometry = Geometry.from_spacing(SHAPE, spacing)
    names = {1: Label("organ"), 3: Label("vessel")}
    return (
        Volume(image.astype(np.int16), geometry, "CT", f"scan{seed}"),
        LabelVolume(labels, geometry, names),
    )


def write_scan(folder, seed, image="{}_image.nii.gz", label="{}_label.nii.gz"):
    volume, labels = scan(seed)
    paths = [folder / form.format(f"scan{seed}") for form in (image, label)]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    paths[1].parent.mkdir(parents=True, exist_ok=True)
    write_volume(volume, paths[0])
    write_labels(labels, paths[1])
    return paths


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cohort")
    for seed in range(4):
        write_scan(made, seed)
    return made


@pytest.fixture(scope="session")
def cohort(folder):
    return read_cohort(folder)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The tiny network in a home of its own; returns the weights to start from."""
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    cards = tmp_path / "home" / "cards"
    cards.mkdir(parents=True)
    (cards / "tiny.toml").write_text(tiny_tuning.CARD)
    tiny_tuning.install(monkeypatch.setitem)
    return tiny_tuning.write_base(tmp_path)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
