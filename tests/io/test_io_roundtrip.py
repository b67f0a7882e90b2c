"""What is written comes back: voxels, geometry to 1e-6 mm, names."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from io_helpers import LABELS, geometries, labels_on, volume_on

from openmedlab.core import Geometry, InputError
from openmedlab.io import read_labels, read_volume, write_labels, write_volume

FILES = ["v.nii", "v.nii.gz", "v.nrrd", "v.mha"]


@pytest.mark.parametrize(("name", "count"), [*((f, 25) for f in FILES), ("v.ome.zarr", 4)])
def test_volume_survives(name: str, count: int) -> None:
    @settings(max_examples=count, deadline=None)
    @given(geometries(), st.sampled_from(["int16", "uint8", "float32", "uint16"]))
    def check(geometry: Geometry, dtype: str) -> None:
        volume = volume_on(geometry, dtype)
        with tempfile.TemporaryDirectory() as folder:
            back = read_volume(write_volume(volume, Path(folder) / name))
            assert back.geometry.almost_equal(geometry, 1e-6)
            np.testing.assert_array_equal(back.read(), volume.array)
        assert back.dtype == volume.dtype
        assert (back.modality, back.name) == ("CT", "v")

    check()


@pytest.mark.parametrize(
    ("name", "count"), [*((f, 15) for f in FILES), ("v.seg.nrrd", 15), ("v.zarr", 3)]
)
def test_labels_survive(name: str, count: int) -> None:
    @settings(max_examples=count, deadline=None)
    @given(geometries())
    def check(geometry: Geometry) -> None:
        labels = labels_on(geometry)
        with tempfile.TemporaryDirectory() as folder:
            back = read_labels(write_labels(labels, Path(folder) / name))
        assert back.geometry.almost_equal(geometry, 1e-6)
        np.testing.assert_array_equal(back.array, labels.array)
        assert back.array.dtype == np.uint16
        assert back.method == "builtin"
        assert {n: (v.name, v.code) for n, v in back.labels.items()} == {
            n: (v.name, v.code) for n, v in LABELS.items()
        }
        assert back.labels[1].color == pytest.approx((0.8, 0.4, 0.2))

    check()


@settings(max_examples=30, deadline=None)
@given(geometries(sheared=False))
def test_simpleitk_and_nibabel_see_the_same_grid(geometry: Geometry) -> None:
    volume = volume_on(Geometry(geometry.shape, geometry.affine))
    with tempfile.TemporaryDirectory() as folder:
        path = write_volume(volume, Path(folder) / "v.nii")
        affine = nib.load(path).affine
        image = sitk.ReadImage(str(path))
    np.testing.assert_allclose(affine, geometry.ijk_to_ras, rtol=1e-6, atol=1e-4)
    corner = [n - 1 for n in geometry.shape[::-1]]
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint(corner),
        geometry.index_to_world(corner[::-1]),
        atol=0.05,
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.array)


@settings(max_examples=15, deadline=None)
@given(geometries(sheared=False), st.sampled_from(["nrrd", "mha"]))
def test_files_of_simpleitk_are_read_as_it_reads_them(geometry: Geometry, ending: str) -> None:
    image = sitk.GetImageFromArray(volume_on(geometry).array)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction[:, ::-1].ravel())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"v.{ending}"
        sitk.WriteImage(image, str(path))
        back = read_volume(path)
    np.testing.assert_array_equal(back.read(), sitk.GetArrayFromImage(image))
    assert back.geometry.almost_equal(Geometry(geometry.shape, geometry.affine), 1e-6)


def test_two_dimensional_files_are_one_slice(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5), np.uint8)), str(tmp_path / "a.mha"))
    assert read_volume(tmp_path / "a.mha").shape == (1, 4, 5)
    nib.save(nib.Nifti1Image(np.ones((5, 4), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").shape == (1, 4, 5)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    labels = labels_on(Geometry.from_spacing((3, 4, 5)))
    path = write_labels(labels, tmp_path / "m.nii.gz")
    before = path.read_bytes()
    monkeypatch.setattr(nib, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match=r"cannot be written: No space left"):
        write_labels(labels, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.nii.gz"]


@pytest.mark.parametrize("name", ["m.txt", "m.nhdr", "m"])
def test_unknown_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"end the name in \.nii"):
        write_labels(labels_on(Geometry.from_spacing((3, 4, 5))), tmp_path / name)


def test_meta_json_names_labels_and_modality(tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[0] = 2
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "labels.nii.gz")
    (tmp_path / "meta.json").write_text('{"modality": "MR", "labels": {"2": "spleen"}}')
    assert read_labels(tmp_path / "labels.nii.gz").labels[2].name == "spleen"
    assert read_labels(tmp_path / "labels.nii.gz").array.dtype == np.uint8
    assert read_volume(tmp_path / "labels.nii.gz").modality == "MR"
