"""``openmedlab localize`` and ``medlsam`` as a user types them, with a localizer for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openmedlab.core import LabelVolume, Localization, Volume
from openmedlab.io import read_labels, write_volume
from openmedlab.localization import run as localization_run
from openmedlab.localization.methods import LOCALIZERS
from openmedlab.localization.points import to_grid

Cli = Callable[..., Any]


class InPlace:
    """Finds every template where it was marked."""

    name, version = "in-place", "1"

    def localize(self, templates: Any, volume: Any, progress: Any, cancel: Any) -> Any:
        return {
            t.organ: Localization(to_grid(t.points, volume.geometry), 0.4)
            for t in templates.templates
        }


@pytest.fixture(autouse=True)
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOCALIZERS, "builtin", lambda choice: InPlace())
    localization_run.tools.cache_clear()


@pytest.fixture
def library(cli: Cli, torso_files: tuple[Path, Path], tmp_path: Path) -> Path:
    image, labels = torso_files
    add = ("template", "add", tmp_path / "library", image, "--labels", labels)
    assert cli(*add, "--organ", "liver", "--organ", "spleen").code == 0
    return tmp_path / "library"


@pytest.fixture
def scans(torso: tuple[Volume, LabelVolume], tmp_path: Path) -> Path:
    write_volume(torso[0], tmp_path / "scans" / "a.nii.gz")
    (tmp_path / "scans" / "b.nii.gz").write_bytes(b"nothing")
    return tmp_path / "scans"


def test_boxes_of_a_folder(cli: Cli, library: Path, scans: Path, tmp_path: Path) -> None:
    command = ("localize", scans, "--templates", library, "-o", tmp_path / "boxes", "--json")
    run = cli(*command)
    assert run.code == 1
    assert [Path(f["image"]).name for f in run.json["failed"]] == ["b.nii.gz"]
    assert set(run.json["done"][0]["organs"]) == {"liver", "spleen"}
    assert run.json["done"][0]["organs"]["liver"]["status"] == "low"
    assert "look at liver, spleen" in run.err
    assert Path(run.json["table"]).read_text().startswith("scan,organ,code,status,confidence,z0")
    assert "b.nii.gz" in Path(run.json["page"]).read_text()
    assert (tmp_path / "boxes" / "a_boxes.json").is_file()
    assert cli(*command).json["done"][0]["kept"]


def test_masks_of_one_scan(cli: Cli, library: Path, scans: Path, tmp_path: Path) -> None:
    run = cli(
        "medlsam", scans / "a.nii.gz", "--templates", library, "-o", tmp_path / "out",
        "--organs", "liver", "--ending", ".seg.nrrd",
    )  # fmt: skip
    assert run.code == 0
    assert "1 scans done, 0 failed" in run.out
    labels = read_labels(tmp_path / "out" / "a_labels.seg.nrrd")
    assert [label.name for label in labels.labels.values()] == ["liver"]
    assert labels.array.any()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (("--localizer", "nonsense"), "no localizer 'nonsense'"),
        (("--organs", "wings"), "no template of wings"),
        (("--localizer-weights", "w.pth"), "no weights"),
        (("--sub-patches",), "sub-patches"),
        (("--scheduler", "nonsense://x"), "No Dask scheduler"),
    ],
)
def test_bad_use_is_a_sentence_and_exit_code_2(
    cli: Cli, library: Path, scans: Path, tmp_path: Path, extra: tuple[str, ...], said: str
) -> None:
    run = cli("localize", scans, "--templates", library, "-o", tmp_path / "o", *extra)
    assert run.code == 2
    assert said in run.err
    assert not (tmp_path / "o").exists()


def test_no_library_is_a_sentence(cli: Cli, scans: Path, tmp_path: Path) -> None:
    run = cli("medlsam", scans, "--templates", tmp_path / "none", "-o", tmp_path / "o")
    assert run.code == 2
    assert "no template library" in run.err
