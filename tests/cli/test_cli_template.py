"""``openmedlab template`` as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.core import LabelVolume, Region, Volume
from openmedlab.io import write_volume
from openmedlab.localization.templates import TemplateLibrary

Cli = Callable[..., Any]
SIX = "5,30,40 9,30,40 7,20,40 7,44,40 7,30,33 7,30,60"


def test_from_a_labelmap(
    cli: Cli, torso_files: tuple[Path, Path], torso: tuple[Volume, LabelVolume], tmp_path: Path
) -> None:
    image, labels = torso_files
    library = tmp_path / "library"
    run = cli("template", "add", library, image, "--labels", labels, "--organ", "liver", "--json")
    assert run.code == 0
    assert [t["organ"] for t in run.json] == ["liver"]
    (template,) = TemplateLibrary(library).templates
    number = next(n for n, m in torso[1].labels.items() if m.name == "liver")
    assert template.extreme_points.box.region == Region.of_mask(torso[1].array == number)
    assert template.code == "10200004"
    everything = cli("template", "add", tmp_path / "all", image, "--labels", labels)
    assert everything.code == 0
    assert {"liver", "spleen", "aorta"} <= set(TemplateLibrary(tmp_path / "all").organs)
    assert "border" in everything.err


def test_from_six_points_listed_checked_and_removed(
    cli: Cli, torso_files: tuple[Path, Path], tmp_path: Path
) -> None:
    image, library = torso_files[0], tmp_path / "library"
    run = cli(
        "template", "add", library, image, "--organ", "kidney_left", "--extreme", SIX,
        "--annotator", "A. B.", "--copy",
    )  # fmt: skip
    assert run.code == 0
    (template,) = TemplateLibrary(library).templates
    assert template.extreme_points.box.region == Region((5, 20, 33), (10, 45, 61))
    assert template.code
    assert template.volume.path.parts[0] == "volumes"
    listed = cli("template", "list", library)
    assert template.name in listed.out
    assert "A. B." in listed.out
    assert cli("template", "check", library).code == 0
    assert cli("template", "remove", library, template.name).code == 0
    assert "no templates" in cli("template", "list", library).out


def test_world_points(
    cli: Cli, torso_files: tuple[Path, Path], torso: tuple[Volume, LabelVolume], tmp_path: Path
) -> None:
    index = np.array([[float(v) for v in p.split(",")] for p in SIX.split()])
    world = torso[0].geometry.index_to_world(index)
    text = " ".join(",".join(f"{v:.4f}" for v in p) for p in world)
    arguments = ("--organ", "spleen", "--extreme", text, "--world")
    assert cli("template", "add", tmp_path / "l", torso_files[0], *arguments).code == 0
    (template,) = TemplateLibrary(tmp_path / "l").templates
    assert np.allclose(sorted(template.points.tolist()), sorted(world.tolist()), atol=1e-3)


def test_a_lost_scan_is_a_finding(cli: Cli, torso: tuple[Volume, LabelVolume], tmp_path: Path):
    image, library = write_volume(torso[0], tmp_path / "x.nii.gz"), tmp_path / "library"
    cli("template", "add", library, image, "--organ", "liver", "--extreme", SIX)
    image.unlink()
    run = cli("template", "check", library)
    assert run.code == 1
    assert "is gone" in run.out


def test_bad_use_is_a_sentence_and_exit_code_2(
    cli: Cli, torso_files: tuple[Path, Path], tmp_path: Path
) -> None:
    image, labels = torso_files
    add = ("template", "add", tmp_path / "library", image)
    for extra, said in (
        (("--organ", "liver"), "--extreme"),
        (("--extreme", SIX), "--organ"),
        (("--organ", "liver", "--extreme", "1,2,3"), "sixes"),
        (("--labels", labels, "--organ", "wings"), "wings"),
        (("--organ", "liver", "--extreme", SIX.replace("60", "600")), "outside"),
    ):
        run = cli(*add, *extra)
        assert run.code == 2
        assert said in run.err
    assert not (tmp_path / "library").exists()
    assert cli("template", "list", tmp_path / "none").code == 2
    assert cli(*add, "--organ", "liver", "--extreme", SIX).code == 0
    twice = cli(*add, "--organ", "liver", "--extreme", SIX)
    assert "already marked" in twice.err
    assert cli(*add, "--organ", "liver", "--extreme", SIX, "--replace").code == 0
