"""Slicer's segmentation NRRD: its header fields, files as Slicer writes them, layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from io_helpers import labels_on

from openmedlab.core import Geometry, Label, LabelVolume
from openmedlab.io import read_labels, write_labels


def test_header_fields(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), np.int64)
    array[1:3, 2, 3:6] = 4
    labels = LabelVolume(
        array,
        Geometry.from_spacing((4, 5, 6)),
        {4: Label("liver", (0.8, 0.4, 0.2), "10200004"), 9: Label("not there yet")},
    )
    image = sitk.ReadImage(str(write_labels(labels, tmp_path / "s.seg.nrrd")))
    head = {k: image.GetMetaData(k) for k in image.GetMetaDataKeys() if k.startswith("Segment")}
    assert head["Segment0_Name"] == "liver"
    assert head["Segment0_ID"] == "Segment_4"
    assert head["Segment0_LabelValue"] == "4"
    assert head["Segment0_Layer"] == "0"
    assert head["Segment0_Color"] == "0.8 0.4 0.2"
    assert head["Segment0_Extent"] == "3 5 2 2 1 2"
    assert "~SCT^10200004^liver~" in head["Segment0_Tags"]
    assert head["Segment1_Name"] == "not there yet"
    assert head["Segment1_Extent"] == "0 -1 0 -1 0 -1"
    assert head["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert image.GetPixelID() == sitk.sitkUInt8
    back = read_labels(tmp_path / "s.seg.nrrd")
    assert back.labels[4] == labels.labels[4]
    assert back.labels[9].name == "not there yet"


def test_unnamed_labels_get_names(tmp_path: Path) -> None:
    labels = labels_on(Geometry.from_spacing((4, 5, 6)))
    bare = LabelVolume(labels.array, labels.geometry)
    back = read_labels(write_labels(bare, tmp_path / "s.seg.nrrd"))
    assert {n: v.name for n, v in back.labels.items()} == {
        1: "Segment_1",
        3: "Segment_3",
        300: "Segment_300",
    }


def _slicer(path: Path, array: np.ndarray, segments: list[dict[str, str]]) -> Path:
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    for k, fields in enumerate(segments):
        for key, value in fields.items():
            image.SetMetaData(f"Segment{k}_{key}", value)
    sitk.WriteImage(image, str(path))
    return path


def test_overlapping_layers_are_flattened_with_a_warning(tmp_path: Path) -> None:
    layers = np.zeros((3, 4, 5, 2), np.uint8)
    layers[0, ..., 0] = 1
    layers[0:2, 0, :, 1] = 1
    segments = [
        {"ID": "A", "Name": "organ", "LabelValue": "1", "Layer": "0", "Color": "1 0 0"},
        {"ID": "B", "Name": "lesion", "LabelValue": "1", "Layer": "1", "Color": "0 1 0"},
    ]
    path = _slicer(tmp_path / "two.seg.nrrd", layers, segments)
    with pytest.warns(UserWarning, match="5 voxels belong to several segments"):
        back = read_labels(path)
    assert {n: v.name for n, v in back.labels.items()} == {1: "organ", 2: "lesion"}
    assert (back.array[0, 0] == 2).all()
    assert (back.array[0, 1:] == 1).all()
    assert back.labels[2].color == (0, 1, 0)


def test_old_files_without_values_and_layers(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), np.uint8)
    array[0] = 1
    path = _slicer(tmp_path / "old.seg.nrrd", array, [{"ID": "A", "Name": "organ"}])
    assert read_labels(path).labels == {1: Label("organ")}
