"""Bad files: one clear sentence each, and nothing on the console."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from io_helpers import volume_on

from openmedlab.core import Geometry, InputError, LabelVolume
from openmedlab.io import read_labels, read_volume, write_labels, write_volume

GRID = Geometry.from_spacing((20, 30, 40))


def _sentence(path: Path, read=read_volume) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    assert len(text) < 400
    return text


def test_missing_and_empty(tmp_path: Path) -> None:
    assert "no such file" in _sentence(tmp_path / "gone.nii")
    (tmp_path / "empty.nii.gz").touch()
    assert "is empty" in _sentence(tmp_path / "empty.nii.gz")
    (tmp_path / "folder").mkdir()
    assert "is empty" in _sentence(tmp_path / "folder")
    (tmp_path / "folder" / "notes.txt").write_text("hello")
    assert "no DICOM" in _sentence(tmp_path / "folder")


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha", "seg.nrrd", "dcm"])
def test_text_in_disguise(tmp_path: Path, ending: str, capfd) -> None:
    path = tmp_path / f"v.{ending}"
    path.write_text("this is not an image at all" * 40)
    assert "damaged" in _sentence(path)
    assert capfd.readouterr() == ("", "")


def test_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n" + bytes(500))
    assert "give a file ending in .nii" in _sentence(tmp_path / "a.png")


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("share", [0.002, 0.3, 0.9])
def test_truncated(tmp_path: Path, ending: str, share: float, capfd) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, GRID.shape).astype(np.int16)
    volume = volume_on(GRID)
    object.__setattr__(volume, "array", noise)
    path = write_volume(volume, tmp_path / f"v.{ending}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "damaged" in _sentence(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan(tmp_path: Path, ending: str, bad: float) -> None:
    array = np.zeros((4, 5, 6), np.float32)
    array[0, 0, :3] = bad
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"v.{ending}"))
    assert "3 voxels that are NaN" in _sentence(tmp_path / f"v.{ending}")
    assert "3 voxels that are NaN" in _sentence(tmp_path / f"v.{ending}", read_labels)


def test_colour_and_four_dimensions(tmp_path: Path) -> None:
    rgb = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    for ending in ("nrrd", "mha"):
        sitk.WriteImage(rgb, str(tmp_path / f"c.{ending}"))
        assert "3 values per voxel" in _sentence(tmp_path / f"c.{ending}")
    colour = np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.save(nib.Nifti1Image(colour, np.eye(4)), tmp_path / "c.nii")
    assert "colour" in _sentence(tmp_path / "c.nii")
    vectors = nib.Nifti1Image(np.zeros((4, 5, 6, 1, 3), np.float32), np.eye(4))
    nib.save(vectors, tmp_path / "w.nii")
    assert "vector or tensor" in _sentence(tmp_path / "w.nii")
    four = sitk.Image([4, 5, 6, 2], sitk.sitkInt16)
    sitk.WriteImage(four, str(tmp_path / "f.nrrd"))
    assert "4-D (4x5x6x2)" in _sentence(tmp_path / "f.nrrd")


def test_singular_affine(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    flat = np.diag([1.0, 1, 0, 1])
    image.header.set_sform(flat, 1)
    image.header["qform_code"] = 0
    nib.save(image, tmp_path / "s.nii")
    assert "singular" in _sentence(tmp_path / "s.nii")


def test_values_that_are_no_labels(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), np.float32)
    array[0] = 0.5
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "p.nii")
    assert "fractions" in _sentence(tmp_path / "p.nii", read_labels)
    nib.save(nib.Nifti1Image((array * -2).astype(np.int16), np.eye(4)), tmp_path / "n.nii")
    assert "negative" in _sentence(tmp_path / "n.nii", read_labels)
    labels = LabelVolume(np.full((2, 2, 2), -1), Geometry.from_spacing((2, 2, 2)))
    with pytest.raises(InputError, match="negative"):
        write_labels(labels, tmp_path / "m.nii")
