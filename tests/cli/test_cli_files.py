"""info, samples and models speak to people and to scripts."""

from __future__ import annotations

import pytest

from openmedlab.io import read_labels, read_volume


def test_info_as_json(cli, torso_files, torso):
    done = cli("info", torso_files[0], "--json")
    assert done.code == 0
    assert done.json["shape"] == list(torso[0].shape)
    assert done.json["spacing"] == pytest.approx(torso[0].geometry.spacing)
    assert done.json["modality"] == "CT"


def test_info_for_people(cli, torso_files):
    done = cli("info", torso_files[0])
    assert "spacing" in done.out
    assert "30, 80, 100" in done.out


def test_samples_lists_and_writes(cli, tmp_path):
    assert "phantom" in cli("samples", "--json").json
    done = cli("samples", "phantom", "-o", tmp_path / "here", "--json")
    assert done.code == 0
    assert read_volume(done.json["image"]).shape == read_labels(done.json["labels"]).array.shape


def test_unknown_sample_is_one_sentence(cli, tmp_path):
    done = cli("samples", "martian", "-o", tmp_path)
    assert done.code == 2
    assert "martian" in done.err


def test_models_list_has_the_builtin_method_ready(cli):
    rows = {row["name"]: row for row in cli("models", "list", "--json").json}
    assert rows["builtin"]["state"] == "ready"
    assert "sam-med3d" in rows
    assert "builtin" in cli("models", "list").out


def test_model_info_names_licence_and_source(cli):
    record = cli("models", "info", "sam-med3d", "--json").json
    assert record["licence"]
    assert record["path"] is None
    assert record["licence"] in cli("models", "info", "sam-med3d").out


def test_fetch_without_the_licence_says_how_to_accept_it(cli):
    done = cli("models", "fetch", "sam-vit-b")
    assert done.code == 2
    assert "--accept-licence" in done.err


@pytest.mark.parametrize("command", ["info", "fetch", "verify", "remove"])
def test_unknown_model_is_one_sentence(cli, command):
    done = cli("models", command, "martian")
    assert done.code == 2
    assert "martian" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_import_of_something_else_is_one_sentence(cli, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"no checkpoint at all")
    done = cli("models", "import", path)
    assert done.code == 2
    assert "weights.pth" in done.err


def test_conformance_of_an_empty_folder_is_one_sentence(cli, tmp_path):
    done = cli("conformance", tmp_path)
    assert done.code == 2
    assert "cases.json" in done.err


@pytest.mark.parametrize(("status", "code"), [("passed", 0), ("failed", 1), ("no such target", 0)])
def test_conformance_prints_a_line_per_case_and_fails_with_one(
    cli, tmp_path, monkeypatch, status, code
):
    from openmedlab.zoo import conformance

    case = conformance.CaseResult("sam", "enc", status, "out: 3% of what is allowed", 0.1)

    def run(folder, only, report):
        assert only == ("sam", "stunet")
        report(case)
        return [case]

    monkeypatch.setattr(conformance, "run", run)
    arguments = ("conformance", tmp_path, "--only", "sam", "--only", "stunet")
    done = cli(*arguments)
    assert done.code == code
    assert done.out.splitlines() == [str(case), f"1 {status}"]
    done = cli(*arguments, "--json")
    assert done.code == code
    assert done.json["summary"] == {status: 1}
    assert done.json["cases"][0]["case"] == "enc"
