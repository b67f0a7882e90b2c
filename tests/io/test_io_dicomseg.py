"""DICOM-SEG through highdicom: on made series, tilted too, and on the real one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from test_io_dicom import enhanced, series

from openmedlab.core import InputError, Label, LabelVolume, Volume
from openmedlab.io import read_labels, read_volume, write_labels

hd = pytest.importorskip("highdicom")

NAMES = {
    2: Label("liver", (0.8, 0.4, 0.2), "10200004"),
    7: Label("odd thing", None),
}


def _labels(image: Volume) -> LabelVolume:
    array = np.zeros(image.shape, np.uint8)
    array[1, 1:3, 2:4] = 2
    array[-1, 0, 0] = 7
    return LabelVolume(array, image.geometry, NAMES, "organs", "builtin")


def _same(back: LabelVolume, labels: LabelVolume) -> None:
    assert back.geometry.almost_equal(labels.geometry, 1e-6)
    np.testing.assert_array_equal(back.array, labels.array)
    assert (dict(back.labels), back.method) == (dict(labels.labels), labels.method)


def test_round_trip_keeps_the_whole_grid(tmp_path: Path) -> None:
    series(tmp_path / "ct", [(10, 20, 30 - 2.5 * k) for k in range(6)])
    image = read_volume(tmp_path / "ct")
    _same(
        read_labels(write_labels(_labels(image), tmp_path / "s.dcm", image=image)), _labels(image)
    )
    stored = hd.seg.segread(tmp_path / "s.dcm")
    liver, odd = stored.SegmentSequence
    assert (liver.segmented_property_type.value, odd.segmented_property_type.value) == (
        "10200004",
        "85756007",
    )
    assert stored.SeriesInstanceUID != pydicom.dcmread(_first(tmp_path / "ct")).SeriesInstanceUID


def test_objects_of_others_span_their_slices(tmp_path: Path) -> None:
    series(tmp_path / "ct", [(10, 20, 2.5 * k) for k in range(6)])
    image = read_volume(tmp_path / "ct")
    labels = _labels(image)
    write_labels(labels, tmp_path / "s.dcm", image=image)
    foreign = pydicom.dcmread(tmp_path / "s.dcm")
    foreign.remove_private_tags()
    foreign.save_as(tmp_path / "f.dcm")
    back = read_labels(tmp_path / "f.dcm")
    assert [(n, v.name, v.code) for n, v in back.labels.items()] == [
        (1, "liver", "10200004"),
        (2, "odd thing", ""),
    ]
    assert back.labels[1].color == pytest.approx((0.8, 0.4, 0.2), abs=0.01)
    for number, own in ((1, 2), (2, 7)):
        there = back.geometry.index_to_world(np.argwhere(back.array == number))
        wanted = labels.geometry.index_to_world(np.argwhere(labels.array == own))
        np.testing.assert_allclose(np.sort(there, 0), np.sort(wanted, 0), atol=1e-6)


def test_enhanced_and_tilted_sources(tmp_path: Path) -> None:
    enhanced(tmp_path / "e.dcm", (6, 4, 2), ContentDate="20240101", ContentTime="000000")
    image = read_volume(tmp_path / "e.dcm")
    _same(
        read_labels(write_labels(_labels(image), tmp_path / "s.dcm", image=image)), _labels(image)
    )
    c, s = np.cos(0.3), np.sin(0.3)
    series(tmp_path / "t", [(0, 0, 3 * k) for k in range(5)], orientation=(1, 0, 0, 0, c, s))
    image = read_volume(tmp_path / "t")
    _same(
        read_labels(write_labels(_labels(image), tmp_path / "u.dcm", image=image)), _labels(image)
    )


def test_refusals(tmp_path: Path) -> None:
    series(tmp_path / "ct", [(0, 0, k) for k in range(4)])
    image = read_volume(tmp_path / "ct")
    labels = _labels(image)
    with pytest.raises(InputError, match="open the image from its DICOM folder"):
        write_labels(labels, tmp_path / "s.dcm")
    empty = LabelVolume(np.zeros(image.shape, np.uint8), image.geometry)
    with pytest.raises(InputError, match="no labelled voxels"):
        write_labels(empty, tmp_path / "s.dcm", image=image)
    write_labels(labels, tmp_path / "s.dcm", image=image)
    with pytest.raises(InputError, match="is a DICOM segmentation; open it as labels"):
        read_volume(tmp_path / "s.dcm")


def test_the_real_series(tmp_path: Path) -> None:
    samples = os.environ.get("OPENMEDLAB_SAMPLES")
    if not samples:
        pytest.skip("OPENMEDLAB_SAMPLES names no folder with the real DICOM series")
    folder = Path(samples) / "ct" / "ct_upperabd_dicom_ts"
    image, all_labels = read_volume(folder / "dicom"), read_labels(folder / "labels.nii.gz")
    kept = {n: v for n, v in all_labels.labels.items() if v.name in ("liver", "stomach")}
    array = np.where(np.isin(all_labels.array, list(kept)), all_labels.array, 0)
    labels = LabelVolume(array, image.geometry, kept, "organs")
    _same(read_labels(write_labels(labels, tmp_path / "s.dcm", image=image)), labels)


def _first(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]
