"""NIfTI headers: conflicts, units, scaling, what other programs wrote."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from io_helpers import geometries, volume_on

from openmedlab.core import Geometry, InputError
from openmedlab.io import GeometryConflict, GeometryWarning, info, read_volume, write_volume


def _nifti(path: Path, sform: np.ndarray, qform: np.ndarray, codes=(1, 1)) -> Path:
    image = nib.Nifti1Image(np.zeros((50, 40, 30), np.int16), None)
    image.header.set_sform(sform, codes[0])
    image.header.set_qform(qform, codes[1], strip_shears=True)
    nib.save(image, path)
    return path


def test_disagreeing_forms_are_reported_not_guessed(tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[0, 3] = 0.01
    path = _nifti(tmp_path / "v.nii", np.eye(4), moved)
    with pytest.raises(GeometryConflict, match=r"0\.01 mm apart; choose one with prefer='sform'"):
        read_volume(path)
    assert read_volume(path, prefer="sform").geometry.origin == (0, 0, 0)
    assert read_volume(path, prefer="qform").geometry.origin[0] == pytest.approx(-0.01)
    assert "mm apart" in info(path)["warnings"][0]


def test_small_differences_pass(tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[0, 3] = 5e-4
    geometry = read_volume(_nifti(tmp_path / "v.nii", np.eye(4), moved)).geometry
    np.testing.assert_allclose(geometry.ijk_to_ras, np.eye(4), atol=1e-3)


def test_a_sheared_sform_beside_its_nearest_qform_is_a_conflict(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    with pytest.raises(GeometryConflict):
        read_volume(_nifti(tmp_path / "v.nii", sheared, sheared))
    geometry = read_volume(_nifti(tmp_path / "v.nii", sheared, sheared, (1, 0))).geometry
    assert geometry.is_sheared
    np.testing.assert_allclose(geometry.ijk_to_ras, sheared, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(geometries(sheared=False))
def test_a_qform_that_lost_digits_is_no_conflict(tmp_path_factory, geometry: Geometry) -> None:
    folder = tmp_path_factory.mktemp("q")
    matrix = geometry.ijk_to_ras
    found = read_volume(_nifti(folder / "v.nii", matrix, matrix)).geometry
    assert np.allclose(found.ijk_to_ras, matrix, rtol=1e-4, atol=1e-2)


def test_sheared_grids_are_written_without_a_qform(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    write_volume(volume_on(Geometry((4, 5, 6), affine)), tmp_path / "v.nii.gz")
    header = nib.load(tmp_path / "v.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    write_volume(volume_on(Geometry.from_spacing((4, 5, 6))), tmp_path / "w.nii.gz")
    header = nib.load(tmp_path / "w.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (1, 1)


def test_an_edited_header_wins_over_our_note(tmp_path: Path) -> None:
    write_volume(volume_on(Geometry.from_spacing((4, 5, 6))), tmp_path / "v.nii")
    image = nib.load(tmp_path / "v.nii")
    moved = image.affine.copy()
    moved[2, 3] = 7
    image.set_sform(moved, 1)
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "w.nii")
    assert read_volume(tmp_path / "w.nii").geometry.origin[2] == 7


def test_units_and_missing_orientation(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.diag([2.0, 2, 3, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "um.nii")
    assert read_volume(tmp_path / "um.nii").geometry.unit == "micrometer"
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "m.nii")
    assert read_volume(tmp_path / "m.nii").geometry.spacing == (3000, 2000, 2000)
    bare = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), None)
    bare.header.set_zooms((2, 2, 3))
    bare.header["sform_code"] = bare.header["qform_code"] = 0
    nib.save(bare, tmp_path / "bare.nii")
    with pytest.warns(GeometryWarning, match="states no orientation"):
        assert read_volume(tmp_path / "bare.nii").geometry.spacing == (3, 2, 2)


@pytest.mark.parametrize(
    ("slope", "inter", "dtype"), [(1, -1024, "int16"), (2, 0, "int16"), (0.5, 1, "float32")]
)
def test_stored_scaling(tmp_path: Path, slope: float, inter: float, dtype: str) -> None:
    stored = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(slope, inter)
    nib.save(image, tmp_path / "v.nii.gz")
    raw = nib.load(tmp_path / "v.nii.gz")
    back = read_volume(tmp_path / "v.nii.gz")
    np.testing.assert_allclose(back.read(), np.asarray(raw.dataobj).T)
    assert back.dtype == dtype


def test_time_points(tmp_path: Path) -> None:
    array = np.stack([np.full((3, 4, 5), k, np.int16) for k in range(3)], axis=-1)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "t.nii")
    with pytest.raises(InputError, match=r"holds 3 times; choose one with time=0 to time=2"):
        read_volume(tmp_path / "t.nii")
    assert (read_volume(tmp_path / "t.nii", time=2).read() == 2).all()
    nib.save(nib.Nifti1Image(array[..., :1], np.eye(4)), tmp_path / "one.nii")
    assert read_volume(tmp_path / "one.nii").shape == (5, 4, 3)
