"""Runs over files and folders: manifests, resuming, bad scans, a Dask cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from openmedlab.builtin.tissues import TissueLabeler
from openmedlab.core import Cancelled, CancelToken, InputError, Volume
from openmedlab.engine import cohort
from openmedlab.engine.cohort import Failed
from openmedlab.io import phantom, read_labels, write_labels, write_volume
from openmedlab.io.scans import find_scans, is_cohort
from openmedlab.labeling.cohort import label_cohort
from openmedlab.labeling.methods import LABELERS, LabelerChoice
from openmedlab.labeling.run import Labelled, label_volume

CHOICE = LabelerChoice("builtin-tissues", fast=True)


@pytest.fixture(scope="module")
def volume() -> Volume:
    return phantom((24, 60, 80))[0]


@pytest.fixture
def scans(volume: Volume, tmp_path: Path) -> Path:
    """Two good scans, one damaged, one MR-like; labels and hidden files beside them."""
    folder = tmp_path / "scans"
    write_volume(volume, folder / "a.nii.gz")
    write_volume(volume, folder / "deep" / "b.nrrd")
    (folder / "c.nii.gz").write_bytes(b"\x1f\x8b not an image")
    odd = Volume(np.abs(volume.read()), volume.geometry, "MR", "odd")
    write_volume(odd, folder / "d.nrrd")
    write_labels(phantom((24, 60, 80))[1], folder / "labels.nii.gz")
    (folder / ".hidden.nii.gz").write_bytes(b"x")
    return folder


def test_one_volume_gets_labels_and_a_manifest(volume: Volume, tmp_path: Path) -> None:
    image, out = write_volume(volume, tmp_path / "i.nii.gz"), tmp_path / "o.nii.gz"
    done = label_volume(image, TissueLabeler(fast=True), out, classes=["bone", "lung_left"])
    written = read_labels(out)
    assert {v.name for v in written.labels.values()} == {"bone", "lung_left"}
    assert written.method == "builtin-tissues"
    assert {s.name for s in done.statistics} == {"bone", "lung_left"}
    record = json.loads(done.manifest.read_text())
    assert record["method"]["name"] == "builtin-tissues"
    assert record["parameters"]["classes"] == ["bone", "lung_left"]


def test_resuming_keeps_only_what_is_the_same(volume: Volume, tmp_path: Path) -> None:
    image, out = write_volume(volume, tmp_path / "i.nii.gz"), tmp_path / "o.nii.gz"
    labeler = TissueLabeler(fast=True)
    first = label_volume(image, labeler, out, classes=["bone"], resume=True)
    again = label_volume(image, labeler, out, classes=["bone"], resume=True)
    assert (first.kept, again.kept) == (False, True)
    assert [s.voxels for s in again.statistics] == [s.voxels for s in first.statistics]
    assert not label_volume(image, labeler, out, classes=["fat"], resume=True).kept
    write_volume(volume, image)
    os.utime(image, (1, 1))
    assert not label_volume(image, labeler, out, classes=["fat"], resume=True).kept


def test_cancelled_writes_nothing(volume: Volume, tmp_path: Path) -> None:
    image, out = write_volume(volume, tmp_path / "i.nii.gz"), tmp_path / "o.nii.gz"
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        label_volume(image, TissueLabeler(), out, cancel=cancel)
    assert [p.name for p in tmp_path.iterdir()] == ["i.nii.gz"]


def test_scans_are_found_and_labels_are_not(scans: Path) -> None:
    found = [str(p.relative_to(scans)) for p in find_scans(scans)]
    assert found == ["a.nii.gz", "c.nii.gz", "d.nrrd", str(Path("deep") / "b.nrrd")]
    assert is_cohort(scans)
    assert not is_cohort(scans / "a.nii.gz")


def test_a_series_and_a_zarr_are_one_scan_each(tmp_path: Path, volume: Volume) -> None:
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"\0" * 128 + b"DICM")
    write_volume(volume, tmp_path / "z.ome.zarr")
    assert not is_cohort(series)
    assert not is_cohort(tmp_path / "z.ome.zarr")
    assert [p.name for p in find_scans(tmp_path)] == ["series", "z.ome.zarr"]


def test_bad_scans_are_listed_and_the_rest_is_done(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen: list[str] = []
    outcomes = label_cohort(
        scans, out, CHOICE, classes=["bone"], on_outcome=lambda o: seen.append(o.image.name)
    )
    assert [type(o) for o in outcomes] == [Labelled, Failed, Failed, Labelled]
    assert seen == ["a.nii.gz", "c.nii.gz", "d.nrrd", "b.nrrd"]
    assert all(o.reason for o in outcomes if isinstance(o, Failed))
    assert (out / "deep" / "b_labels.nii.gz").is_file()
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]
    again = label_cohort(scans, out, CHOICE, classes=["bone"])
    assert [o.kept for o in again if isinstance(o, Labelled)] == [True, True]


def test_outputs_inside_the_folder_are_not_scans(scans: Path) -> None:
    out = scans / "out"
    label_cohort(scans, out, CHOICE, classes=["bone"])
    assert len(find_scans(scans, out)) == 4


def test_a_cancelled_run_goes_on(scans: Path, tmp_path: Path) -> None:
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        label_cohort(
            scans, tmp_path / "o", CHOICE, cancel=cancel, on_outcome=lambda _: cancel.cancel()
        )
    outcomes = label_cohort(scans, tmp_path / "o", CHOICE)
    assert [o.kept for o in outcomes if isinstance(o, Labelled)] == [True, False]


def test_bad_requests_end_in_a_sentence(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="no images"):
        label_cohort(tmp_path / "empty", tmp_path / "o", CHOICE)
    with pytest.raises(InputError, match="nonsense"):
        LabelerChoice("nonsense").make()
    with pytest.raises(InputError, match="no weights"):
        LabelerChoice("builtin-tissues", weights=Path("w.pth")).make()
    assert set(LABELERS) >= {"builtin-tissues", "stu-net-s", "stu-net-h"}


@pytest.mark.slow
def test_a_dask_cluster_does_the_same(scans: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    with cluster:
        outcomes = label_cohort(
            scans, tmp_path / "o", CHOICE, classes=["bone"], scheduler=cluster.scheduler_address
        )
    assert [type(o) for o in outcomes] == [Labelled, Failed, Failed, Labelled]
    here = label_cohort(scans, tmp_path / "p", CHOICE, classes=["bone"])
    for there, own in zip(outcomes, here, strict=True):
        if isinstance(there, Labelled) and isinstance(own, Labelled):
            a, b = read_labels(there.output), read_labels(own.output)
            assert np.array_equal(a.array, b.array)


def test_no_scheduler_is_said_in_a_sentence(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(cohort, "CONNECT_S", 1)
    with pytest.raises(InputError, match="No Dask scheduler"):
        label_cohort(scans, tmp_path / "o", CHOICE, scheduler="tcp://127.0.0.1:9")
