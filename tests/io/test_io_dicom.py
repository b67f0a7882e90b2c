"""DICOM series made with pydicom: geometry, tilt, gaps, mixed folders, multi-frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from openmedlab.core import InputError
from openmedlab.io import info, read_labels, read_volume

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
STUDY = generate_uid()
AXIAL = (1, 0, 0, 0, 1, 0)


def _image(sop_class: str, series: str, **values: object) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY, series
    ds.FrameOfReferenceUID = "1.2.3"
    ds.Modality = "CT"
    ds.Rows, ds.Columns = 4, 5
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def series(
    folder: Path,
    positions: Sequence[Sequence[float]],
    *,
    orientation: Sequence[float] = AXIAL,
    uid: str | None = None,
    description: str = "thorax",
    **values: object,
) -> str:
    """Write slices whose voxels are 1000 + 100 k + index; names do not follow the order."""
    folder.mkdir(exist_ok=True)
    uid = uid or generate_uid()
    order = np.random.default_rng(0).permutation(len(positions))
    for k, position in enumerate(positions):
        ds = _image(CT, uid, SeriesDescription=description, PixelSpacing=[0.7, 0.8])
        ds.ImagePositionPatient = [float(v) for v in position]
        ds.ImageOrientationPatient = list(orientation)
        ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = 2, 1, -1024
        ds.PixelData = (1000 + 100 * k + np.arange(20, dtype=np.uint16)).tobytes()
        for name, value in values.items():
            setattr(ds, name, value[k] if isinstance(value, tuple) else value)
        ds.save_as(folder / f"{description}{order[k]:03d}.dcm", enforce_file_format=True)
    return uid


def test_a_series_is_sorted_and_in_hounsfield_units(tmp_path: Path, capfd) -> None:
    series(tmp_path / "ct", [(10, 20, 30 - 2.5 * k) for k in range(6)])
    volume = read_volume(tmp_path / "ct")
    assert volume.shape == (6, 4, 5)
    assert volume.geometry.spacing == pytest.approx((2.5, 0.7, 0.8))
    assert volume.geometry.origin == pytest.approx((10, 20, 17.5))
    assert (volume.dtype, volume.modality, volume.name) == (np.int16, "CT", "thorax")
    assert volume.source == tmp_path / "ct"
    np.testing.assert_array_equal(volume.read()[:, 0, 0], 476 - 100 * np.arange(6))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.read())
    assert image.GetOrigin() == pytest.approx(volume.geometry.origin)
    assert capfd.readouterr() == ("", "")


def test_oblique_and_tilted_series_are_exact(tmp_path: Path) -> None:
    c, s = np.cos(0.3), np.sin(0.3)
    steps = np.arange(5)[:, None]
    series(tmp_path / "o", 3 * steps * [0, -s, c], orientation=(1, 0, 0, 0, c, s))
    geometry = read_volume(tmp_path / "o").geometry
    assert geometry.is_oblique
    assert not geometry.is_sheared
    series(tmp_path / "t", steps * [0, 0, 3.0], orientation=(1, 0, 0, 0, c, s))
    tilted = read_volume(tmp_path / "t").geometry
    assert tilted.is_sheared
    np.testing.assert_allclose(tilted.index_to_world((4, 0, 0)), (0, 0, 12), atol=1e-9)
    np.testing.assert_allclose(tilted.index_to_world((0, 1, 0)), (0, 0.7 * c, 0.7 * s), atol=1e-9)
    assert info(tmp_path / "t")["sheared"]


def test_gaps_doubles_and_sideways_slices_are_named(tmp_path: Path) -> None:
    series(tmp_path / "gap", [(0, 0, z) for z in (0, 2, 4, 8, 10)])
    with pytest.raises(InputError, match=r"2 mm apart, but 4 mm lie between .*dcm .*\(1 missing\)"):
        read_volume(tmp_path / "gap")
    series(tmp_path / "twice", [(0, 0, z) for z in (0, 2, 4, 4, 6)])
    with pytest.raises(InputError, match=r"share a position .* several acquisitions"):
        read_volume(tmp_path / "twice")
    series(tmp_path / "side", [(0, 9.0 * (k == 2), 2 * k) for k in range(5)])
    with pytest.raises(InputError, match="off the line of the others"):
        read_volume(tmp_path / "side")


def test_slices_that_do_not_fit_together(tmp_path: Path) -> None:
    line = [(0, 0, 2 * k) for k in range(3)]
    series(tmp_path / "a", line, PixelSpacing=([1, 1], [1, 1], [2, 2]))
    with pytest.raises(InputError, match="differ in size or pixel spacing"):
        read_volume(tmp_path / "a")
    turned = (list(AXIAL), list(AXIAL), [0, 1, 0, 0, 0, 1])
    series(tmp_path / "b", line, ImageOrientationPatient=turned)
    with pytest.raises(InputError, match="face different directions"):
        read_volume(tmp_path / "b")


def test_mixed_folders_list_their_series(tmp_path: Path) -> None:
    one = series(tmp_path / "m", [(0, 0, k) for k in range(3)])
    series(tmp_path / "m", [(0, 0, k) for k in range(5)], description="bone")
    with pytest.raises(InputError, match=r"several series: .*'bone' \(5 files, .*'thorax'"):
        read_volume(tmp_path / "m")
    assert read_volume(tmp_path / "m", series=one).shape[0] == 3
    chosen = read_volume(tmp_path / "m", series="Bone")
    assert chosen.shape[0] == 5
    assert chosen.source is not None
    assert read_volume(chosen.source).shape[0] == 5, "one file stands for its series"
    with pytest.raises(InputError, match="no series called 'lung'"):
        read_volume(tmp_path / "m", series="lung")


def test_fractional_and_changing_rescale(tmp_path: Path) -> None:
    line = [(0, 0, 2 * k) for k in range(3)]
    series(tmp_path / "f", line, RescaleSlope=0.5, RescaleIntercept=0)
    assert read_volume(tmp_path / "f").dtype == np.float32
    series(tmp_path / "p", line, RescaleSlope=(1, 2, 3), RescaleIntercept=0, Modality="PT")
    volume = read_volume(tmp_path / "p")
    assert volume.modality == "PT"
    np.testing.assert_allclose(volume.read()[:, 0, 0], [1000, 2200, 3600])


def _group(**values: object) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        inner = Dataset()
        for key, content in value.items():  # type: ignore[attr-defined]
            setattr(inner, key, content)
        setattr(item, name, [inner])
    return item


def enhanced(path: Path, depths: Sequence[float], **values: object) -> None:
    ds = _image(ENHANCED_CT, generate_uid(), NumberOfFrames=len(depths), **values)
    ds.SharedFunctionalGroupsSequence = [
        _group(
            PixelMeasuresSequence={"PixelSpacing": [0.7, 0.8], "SliceThickness": 2},
            PlaneOrientationSequence={"ImageOrientationPatient": list(AXIAL)},
            PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": -1024},
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        _group(PlanePositionSequence={"ImagePositionPatient": [1, 2, z]}) for z in depths
    ]
    ds.PixelData = np.arange(20 * len(depths), dtype=np.uint16).tobytes()
    ds.save_as(path, enforce_file_format=True)


def test_enhanced_multi_frame(tmp_path: Path) -> None:
    enhanced(tmp_path / "e.dcm", (6, 4, 2))
    volume = read_volume(tmp_path / "e.dcm")
    assert volume.geometry.spacing == pytest.approx((2, 0.7, 0.8))
    assert volume.geometry.origin == pytest.approx((1, 2, 2))
    np.testing.assert_array_equal(volume.read()[:, 0, 0], [40 - 1024, 20 - 1024, -1024])


def test_colour_films_and_damage(tmp_path: Path) -> None:
    film = _image(CT, generate_uid(), NumberOfFrames=3, PixelData=bytes(120))
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="film of 3 frames without positions"):
        read_volume(tmp_path / "film.dcm")
    colour = _image(CT, generate_uid(), SamplesPerPixel=3, PixelData=bytes(120))
    colour.save_as(tmp_path / "colour.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="colour"):
        read_volume(tmp_path / "colour.dcm")
    series(tmp_path / "cut", [(0, 0, k) for k in range(3)])
    file = sorted((tmp_path / "cut").iterdir())[1]
    file.write_bytes(file.read_bytes()[:-25])
    with pytest.raises(InputError, match=f"{file.name} is truncated or damaged"):
        read_volume(tmp_path / "cut")
    with pytest.raises(InputError, match="not a DICOM segmentation"):
        read_labels(tmp_path / "film.dcm")


def test_a_single_slice_is_a_volume(tmp_path: Path) -> None:
    series(tmp_path / "one", [(0, 0, 5)])
    assert read_volume(tmp_path / "one").geometry.spacing == pytest.approx((2, 0.7, 0.8))


def test_the_real_series() -> None:
    samples = os.environ.get("OPENMEDLAB_SAMPLES")
    if not samples:
        pytest.skip("OPENMEDLAB_SAMPLES names no folder with the real DICOM series")
    folder = Path(samples) / "ct" / "ct_upperabd_dicom_ts"
    volume, converted = read_volume(folder / "dicom"), read_volume(folder / "image.nii.gz")
    assert volume.geometry.almost_equal(converted.geometry, 1e-4)
    np.testing.assert_array_equal(volume.read(), converted.read())
    first = pydicom.dcmread(next((folder / "dicom").iterdir()), stop_before_pixels=True)
    assert volume.name == first.SeriesDescription
