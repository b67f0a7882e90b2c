"""A library marked on one phantom, and a cohort of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shifted import Shifted

from openmedlab.core import LabelVolume, Region, Volume
from openmedlab.io import phantom, write_volume
from openmedlab.localization import run
from openmedlab.localization.methods import LOCALIZERS
from openmedlab.localization.points import parts_of_mask, points_of_mask
from openmedlab.localization.templates import TemplateLibrary

ORGANS = ("liver", "kidney_left", "spleen", "heart")
SHAPE = (30, 60, 80)


@pytest.fixture(scope="session")
def body() -> tuple[Volume, LabelVolume]:
    return phantom(SHAPE)


@pytest.fixture(autouse=True)
def shifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Shifted]:
    """Offer `Shifted` as ``"shifted"``."""
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(LOCALIZERS, "shifted", lambda choice: Shifted())
    monkeypatch.setattr(Shifted, "runs", 0)
    run.tools.cache_clear()
    return Shifted


@pytest.fixture
def library(tmp_path: Path, body: tuple[Volume, LabelVolume]) -> TemplateLibrary:
    """Four organs marked on a scan beside the library."""
    from openmedlab.io import read_volume

    scan = read_volume(write_volume(body[0], tmp_path / "marked" / "m.nii.gz"))
    made = TemplateLibrary(tmp_path / "library")
    numbers = {label.name: n for n, label in body[1].labels.items()}
    for organ in ORGANS:
        mask = body[1].array == numbers[organ]
        points, parts = points_of_mask(mask, scan.geometry), parts_of_mask(mask, scan.geometry)
        made.add(organ, points, scan, parts=parts)
    return made


@pytest.fixture
def scans(tmp_path: Path, body: tuple[Volume, LabelVolume]) -> Path:
    """Two good scans, a damaged one, an empty one, an MR."""
    folder = tmp_path / "scans"
    volume = body[0]
    write_volume(volume, folder / "a.nii.gz")
    write_volume(volume.cropped(Region((2, 2, 2), (28, 58, 78))), folder / "deep" / "b.nrrd")
    (folder / "c.nii.gz").write_bytes(b"\x1f\x8b not an image")
    empty = Volume(np.full(SHAPE, -1024, np.int16), volume.geometry, "CT", "empty")
    write_volume(empty, folder / "d.nii.gz")
    odd = Volume(np.abs(volume.read()), volume.geometry, "MR", "odd")
    write_volume(odd, folder / "e.nrrd")
    return folder
