"""Scans of a cohort: found below folders, each under a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from openmedlab.core import InputError
from openmedlab.io.scans import named_scans


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_and_folders_get_names_of_their_own(tmp_path: Path) -> None:
    _touch(tmp_path / "p1" / "image.nii.gz", tmp_path / "p2" / "image.nii.gz")
    _touch(tmp_path / "more" / "deep" / "a.nrrd", tmp_path / "more" / "b.nii.gz")
    scans = named_scans(
        [tmp_path / "p1" / "image.nii.gz", tmp_path / "p2" / "image.nii.gz", tmp_path / "more"]
    )
    assert [str(s.name) for s in scans] == [
        str(Path("p1/image")),
        str(Path("p2/image")),
        "b",
        str(Path("deep/a")),
    ]


def test_a_scan_given_twice_is_one_and_outputs_are_none(tmp_path: Path) -> None:
    _touch(tmp_path / "a.nii.gz", tmp_path / "out" / "b.nii.gz")
    scans = named_scans([tmp_path, tmp_path / "a.nii.gz"], tmp_path / "out")
    assert [s.image.name for s in scans] == ["a.nii.gz"]


def test_no_scans_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        named_scans([tmp_path / "nothing"])
