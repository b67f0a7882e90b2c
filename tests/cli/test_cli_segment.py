"""Prompts in, a mask out; every bad prompt and file is one sentence and code 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from openmedlab.core import Point, Session
from openmedlab.core.errors import Cancelled
from openmedlab.evaluation.simulate import extreme_points
from openmedlab.io import read_labels, read_volume


@pytest.fixture
def liver(torso):
    """The phantom's liver as a mask, and its six extreme points as text."""
    _, labels = torso
    number = next(n for n, v in labels.labels.items() if v.name == "liver")
    mask = labels.array == number
    return mask, [",".join(f"{v:g}" for v in p) for p in extreme_points(mask).points]


def inside(mask: np.ndarray) -> tuple[int, ...]:
    """Return the liver's voxel nearest to its middle."""
    voxels = np.argwhere(mask)
    return tuple(voxels[((voxels - voxels.mean(0)) ** 2).sum(1).argmin()].tolist())


def test_extreme_points_write_mask_and_manifest(cli, torso_files, liver, tmp_path):
    mask, points = liver
    out = tmp_path / "new" / "liver.nii.gz"
    done = cli(
        "segment", torso_files[0], "--extreme", " ".join(points),
        "--name", "liver", "--label", 5, "-o", out, "--json",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    record = done.json
    written = read_labels(out)
    assert written.geometry.almost_equal(read_volume(torso_files[0]).geometry)
    assert set(np.unique(written.array)) == {0, 5}
    assert written.labels[5].name == "liver"
    assert record["voxels"] == (written.array == 5).sum()
    assert record["ml"] == pytest.approx(record["voxels"] * written.geometry.voxel_volume / 1e3)
    assert set(record["seconds"]) == {"queue", "prepare", "infer", "write", "total"}
    assert record["method"] == "builtin"
    both = (written.array == 5) & mask
    assert 2 * both.sum() / ((written.array == 5).sum() + mask.sum()) > 0.5
    manifest = json.loads(Path(record["manifest"]).read_text())
    assert manifest["prompts"]["liver"][0]["kind"] == "extreme points"
    assert manifest["method"]["name"] == "builtin"


def test_repeated_extreme_options_are_the_same_as_one(cli, torso_files, liver, tmp_path):
    _, points = liver
    one, six = tmp_path / "one.nii.gz", tmp_path / "six.nii.gz"
    assert cli("segment", torso_files[0], "--extreme", " ".join(points), "-o", one).code == 0
    options = [word for p in points for word in ("--extreme", p)]
    assert cli("segment", torso_files[0], *options, "-o", six).code == 0
    np.testing.assert_array_equal(read_labels(one).array, read_labels(six).array)


def test_world_and_index_coordinates_agree_on_an_oblique_volume(
    cli, torso_files, torso, liver, tmp_path
):
    geometry = torso[0].geometry
    assert geometry.is_oblique
    index = np.array([[float(v) for v in p.split(",")] for p in liver[1]])
    world = [",".join(f"{v:.9g}" for v in p) for p in geometry.index_to_world(index)]
    a, b = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"
    assert cli("segment", torso_files[0], "--extreme", " ".join(liver[1]), "-o", a).code == 0
    done = cli("segment", torso_files[0], "--extreme", " ".join(world), "--world", "-o", b)
    assert done.code == 0
    np.testing.assert_array_equal(read_labels(a).array, read_labels(b).array)


def test_negative_point_stays_outside_and_positive_inside(cli, torso_files, liver, tmp_path):
    yes = inside(liver[0])
    no = (yes[0], yes[1], 2)
    out = tmp_path / "m.nii.gz"
    done = cli(
        "segment", torso_files[0], "-o", out,
        "--point", ",".join(map(str, yes)), "--point", ",".join(map(str, no)) + ":-",
    )  # fmt: skip
    assert done.code == 0
    array = read_labels(out).array
    assert array[yes] == 1
    assert array[no] == 0


def test_scribble_lasso_mask_and_saved_prompts(cli, torso_files, liver, tmp_path):
    mask, _ = liver
    z, y, x = inside(mask)
    stroke = tmp_path / "stroke.json"
    stroke.write_text(json.dumps([[z, y, x - 3], [z, y, x + 3]]))
    first = tmp_path / "first.nii.gz"
    done = cli(
        "segment", torso_files[0], "-o", first, "--scribble", stroke,
        "--scribble", f"{z},{y},1 {z},{y},3:-",
        "--lasso", f"{z},{y - 2},{x - 2} {z},{y - 2},{x + 2} {z},{y + 2},{x}",
    )  # fmt: skip
    assert done.code == 0, done.err
    again = tmp_path / "again.nii.gz"
    assert cli("segment", torso_files[0], "-o", again, "--prompts",
               f"{first}.manifest.json").code == 0  # fmt: skip
    np.testing.assert_array_equal(read_labels(first).array, read_labels(again).array)
    refined = tmp_path / "refined.nii.gz"
    done = cli("segment", torso_files[0], "-o", refined, "--mask", first, "--point", f"{z},{y},{x}")
    assert done.code == 0
    assert read_labels(refined).array[z, y, x] == 1


def test_into_protects_the_labels_that_are_there(cli, torso_files, torso, liver, tmp_path):
    before = read_labels(torso_files[1])
    out = tmp_path / "all.nii.gz"
    number = max(before.labels) + 1
    done = cli(
        "segment", torso_files[0], "--into", torso_files[1], "-o", out, "--label", number,
        "--name", "liver again", "--extreme", " ".join(liver[1]),
    )  # fmt: skip
    assert done.code == 0, done.err
    after = read_labels(out)
    there = before.array > 0
    np.testing.assert_array_equal(after.array[there], before.array[there])
    assert after.labels[number].name == "liver again"
    assert after.labels[1].name == before.labels[1].name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "No prompt"),
        (("--point", "1,2"), "2 numbers"),
        (("--point", "a,b,c"), "commas"),
        (("--point", "900,2,2"), "outside"),
        (("--point", "nan,2,2"), "not a number"),
        (("--point", "3,3,3:-"), "negative"),
        (("--box", "1,2,3"), "3 numbers"),
        (("--box", "5,5,5,5,5,9"), "thinner"),
        (("--extreme", "1,2,3 4,5,6"), "sixes"),
        (("--scribble", " "), "empty"),
        (("--lasso", "1,1,1 2,5,5 3,9,1"), "one slice"),
        (("--scribble", "missing.json"), "missing.json"),
        (("--prompts", "missing.json"), "missing.json"),
        (("--mask", "missing.nii.gz"), "missing.nii.gz"),
        (("--point", "9,30,30", "--method", "magic"), "magic"),
        (("--point", "9,30,30", "--label", "0"), "0"),
    ],
)
def test_bad_prompts_are_one_sentence(cli, torso_files, tmp_path, options, words):
    out = tmp_path / "m.nii.gz"
    done = cli("segment", torso_files[0], "-o", out, *options)
    assert done.code == 2
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert done.out == ""
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [(None, "none.nii.gz"), (b"", "empty.nii.gz"), (b"hello", "text.nii.gz"), (b"x", "what.txt")],
)
def test_bad_files_are_one_sentence(cli, tmp_path, content, name):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for command in (
        ("info", path),
        ("segment", path, "--point", "1,1,1", "-o", tmp_path / "o.nrrd"),
    ):
        done = cli(*command)
        assert done.code == 2
        assert name in done.err
        assert len(done.err.strip().splitlines()) == 1


def test_unwritable_ending_is_said_before_any_work(cli, torso_files, tmp_path):
    done = cli("segment", torso_files[0], "--point", "9,30,30", "-o", tmp_path / "mask.jpg")
    assert done.code == 2
    assert ".nii.gz" in done.err


def test_mask_of_another_grid_is_refused(cli, torso_files, torso, tmp_path):
    from openmedlab.io import write_volume

    small = torso[0].cropped(torso[0].geometry.region.padded(-3))
    other = write_volume(small, tmp_path / "other.nii.gz")
    done = cli("segment", other, "--mask", torso_files[1], "-o", tmp_path / "m.nii.gz")
    assert done.code == 2
    assert "another grid" in done.err


def test_cancelled_run_is_code_3_and_writes_nothing(cli, torso_files, tmp_path, monkeypatch):
    def give_up(*_arguments, **_options):
        raise Cancelled

    monkeypatch.setattr("openmedlab.engine.answer_prompts", give_up)
    out = tmp_path / "m.nii.gz"
    done = cli("segment", torso_files[0], "--point", "9,30,30", "-o", out)
    assert done.code == 3
    assert not out.exists()


def test_keyboard_interrupt_is_code_3(cli, torso_files, tmp_path, monkeypatch):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("openmedlab.io.read_volume", interrupt)
    done = cli("segment", torso_files[0], "--point", "9,30,30", "-o", tmp_path / "m.nii.gz")
    assert done.code == 3


def test_replay_gives_the_same_labelmap(cli, torso_files, liver, tmp_path):
    from openmedlab.core import Journal
    from openmedlab.engine import answer_prompts
    from openmedlab.zoo import promptable

    volume = read_volume(torso_files[0])
    path = tmp_path / "session.jsonl"
    session = Session(volume, journal=Journal(path))
    session.add_object("liver")
    session.set_prompts(1, [Point(inside(liver[0]))])
    session.commit(1, answer_prompts(promptable("builtin"), volume, session.model_prompts(1)))
    session.close()
    out = tmp_path / "replayed.seg.nrrd"
    done = cli("replay", path, torso_files[0], "-o", out, "--json")
    assert done.code == 0, done.err
    assert done.json["voxels"] == {"liver": int((session.labelmap == 1).sum())}
    np.testing.assert_array_equal(read_labels(out).array, session.labelmap)


def test_replay_on_another_image_is_refused(cli, torso_files, tmp_path):
    path = tmp_path / "session.jsonl"
    path.write_text("not a record\n")
    done = cli("replay", path, torso_files[0], "-o", tmp_path / "m.nii.gz")
    assert done.code == 2
    assert "session.jsonl" in done.err
