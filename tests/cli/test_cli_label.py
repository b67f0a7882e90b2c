"""``openmedlab label`` as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openmedlab.io import phantom, read_labels, write_volume


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_volume(phantom((24, 60, 80))[0], tmp_path / "scans" / "a.nii.gz")


def test_one_scan(cli: Callable[..., Any], scan: Path, tmp_path: Path) -> None:
    out, csv = tmp_path / "l.nii.gz", tmp_path / "s.csv"
    run = cli("label", scan, "-o", out, "--fast", "--stats", csv, "--json")
    assert run.code == 0
    assert set(run.json["structures"]) >= {"bone", "lung_left", "fat"}
    assert read_labels(out).array.any()
    assert csv.read_text().startswith("image,label,name,code,voxels,ml,mean_hu")
    assert Path(run.json["manifest"]).is_file()


def test_classes(cli: Callable[..., Any], scan: Path, tmp_path: Path) -> None:
    run = cli("label", scan, "-o", tmp_path / "l.nii.gz", "--classes", "bone, fat", "--fast")
    assert run.code == 0
    assert "bone" in run.out
    assert "lung_left" not in run.out


def test_a_folder_resumes_and_lists_what_failed(
    cli: Callable[..., Any], scan: Path, tmp_path: Path
) -> None:
    (scan.parent / "b.nii.gz").write_bytes(b"nothing")
    arguments = ("label", scan.parent, "-o", tmp_path / "o", "--classes", "bone", "--json")
    run = cli(*arguments)
    assert run.code == 1
    assert [Path(f["image"]).name for f in run.json["failed"]] == ["b.nii.gz"]
    assert "failed" in run.err
    again = cli(*arguments)
    assert again.json["done"][0]["kept"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--model", "nonsense"), "nonsense"),
        (("--classes", "nonsense"), "nonsense"),
        (("--weights", "w.pth"), "no weights"),
        (("--scheduler", "tcp://x:1"), "folder of scans"),
        (("--model", "stu-net-s"), "stu-net-s"),
    ],
)
def test_bad_use_is_a_sentence_and_exit_code_2(
    cli: Callable[..., Any], scan: Path, tmp_path: Path, extra: tuple[str, ...], said: str
) -> None:
    run = cli("label", scan, "-o", tmp_path / "l.nii.gz", *extra)
    assert run.code == 2
    assert said in run.err
    assert not (tmp_path / "l.nii.gz").exists()


def test_a_missing_image_is_a_sentence(cli: Callable[..., Any], tmp_path: Path) -> None:
    run = cli("label", tmp_path / "no.nii.gz", "-o", tmp_path / "l.nii.gz")
    assert run.code == 2
    assert "no such file" in run.err
