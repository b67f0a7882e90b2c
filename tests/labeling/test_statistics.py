"""Measures against hand computation; warnings on made-up anatomies."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmedlab.core import Geometry, InputError, Label, LabelVolume, Volume
from openmedlab.labeling.statistics import COLUMNS, label_statistics, to_csv
from openmedlab.labeling.warnings import label_warnings, plausible

GEOMETRY = Geometry.from_spacing((40, 10, 12), (5.0, 2.0, 1.0), (100.0, -50.0, 30.0))


@pytest.fixture
def labels() -> LabelVolume:
    array = np.zeros(GEOMETRY.shape, np.uint8)
    array[2:38, 3:5, 4:8] = 1
    array[0, 0, 0] = 3
    names = {1: Label("spleen", None, "78961009"), 2: Label("liver")}
    return LabelVolume(array, GEOMETRY, names)


@pytest.fixture
def image() -> Volume:
    values = np.arange(np.prod(GEOMETRY.shape)).reshape(GEOMETRY.shape) % 301 - 100
    return Volume(values.astype(np.int16), GEOMETRY, "CT")


def test_measures_equal_those_by_hand(labels: LabelVolume, image: Volume) -> None:
    spleen, other = label_statistics(labels, image)
    inside = image.read()[labels.array == 1].astype(float)
    assert (spleen.number, spleen.name, spleen.code) == (1, "spleen", "78961009")
    assert spleen.voxels == 36 * 2 * 4
    assert spleen.ml == pytest.approx(36 * 2 * 4 * 10 / 1000)
    assert spleen.mean == pytest.approx(inside.mean())
    assert spleen.sd == pytest.approx(inside.std())
    assert spleen.centroid == pytest.approx((100 + 5.5, -50 + 3.5 * 2, 30 + 19.5 * 5))
    assert not spleen.touches_border
    assert (other.name, other.voxels, other.touches_border) == ("label_3", 1, True)
    assert other.sd == 0


def test_without_an_image_the_densities_are_unknown(labels: LabelVolume, tmp_path: Path) -> None:
    rows = label_statistics(labels)
    assert np.isnan(rows[0].mean)
    path = to_csv({"a": rows, "b": rows[:1]}, tmp_path / "t.csv")
    with path.open(newline="", encoding="utf-8") as file:
        header, first, *rest = list(csv.reader(file))
    assert tuple(header) == ("image", *COLUMNS)
    assert first[:5] == ["a", "1", "spleen", "78961009", "288"]
    assert first[6:8] == ["", ""]
    assert [r[0] for r in rest] == ["a", "b"]


def test_another_grid_is_refused(labels: LabelVolume, image: Volume) -> None:
    moved = Geometry.from_spacing(GEOMETRY.shape, (5, 2, 1))
    with pytest.raises(InputError, match="another grid"):
        label_statistics(labels, replace(image, geometry=moved))


def _kidneys(left_x: int, right_x: int) -> LabelVolume:
    geometry = Geometry.from_spacing((30, 60, 200), (4.0, 4.0, 2.0))
    array = np.zeros(geometry.shape, np.uint8)
    array[8:20, 20:35, left_x : left_x + 25] = 1
    array[8:20, 20:35, right_x : right_x + 25] = 2
    return LabelVolume(array, geometry, {1: Label("kidney_left"), 2: Label("kidney_right")})


def test_swapped_sides_are_noticed() -> None:
    right = _kidneys(left_x=150, right_x=20)
    wrong = _kidneys(left_x=20, right_x=150)
    assert not label_warnings(label_statistics(right), right)
    (found,) = label_warnings(label_statistics(wrong), wrong)
    assert (found.kind, found.name) == ("laterality", "kidney_left")


def test_sizes_pieces_and_absence_are_noticed() -> None:
    labels = _kidneys(150, 20)
    labels.array[8:20, 20:35, 30:34] = 0
    labels.array[labels.array == 1] = 0
    labels.array[10, 30, 100] = 1
    warnings = label_warnings(label_statistics(labels), labels, ["kidney_left", "spleen"])
    kinds = {(w.kind, w.name) for w in warnings}
    assert kinds == {
        ("missing", "spleen"),
        ("volume", "kidney_left"),
        ("fragmented", "kidney_right"),
    }
    assert all(w.text.endswith(".") for w in warnings)


def test_a_structure_cut_by_the_border_may_be_small(labels: LabelVolume) -> None:
    labels.array[...] = 0
    labels.array[0, 0, 0] = 2
    assert not label_warnings(label_statistics(labels), labels)


def test_the_table_is_sound() -> None:
    assert {"liver", "lung_left", "bone"} <= set(plausible())
    assert all(0 < p.low < p.high for p in plausible().values())
