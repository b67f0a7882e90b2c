from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from openmedlab.core import InputError
from openmedlab.evaluation import Protocol, Report, evaluate_folder, run_case


def test_an_oracle_ends_at_one(block, oracle):
    volume, truth = block
    case = run_case(oracle, volume, truth, "block", Protocol("box", 3))
    assert case.dice[0] == pytest.approx(2 / 3)
    assert case.dice[1:] == (1, 1, 1)
    assert case.nsd[-1] == 1
    assert case.dice_auc == pytest.approx(((2 / 3 + 1) / 2 + 2) / 3)
    assert len(case.seconds) == 2
    assert oracle.encoded == 1


@pytest.mark.parametrize("first", ["box", "click", "extreme"])
def test_every_first_prompt_is_played(block, oracle, first):
    volume, truth = block
    case = run_case(oracle, volume, truth, "block", Protocol(first, 1, jitter=1.0))
    assert case.dice[-1] == 1


def test_jitter_is_repeatable(block, oracle):
    volume, truth = block
    protocol = Protocol("click", 1, jitter=2.0)
    cases = [run_case(oracle, volume, truth, "block", protocol) for _ in range(2)]
    assert cases[0].dice == cases[1].dice


@pytest.mark.parametrize("bad", [{"first": "lasso"}, {"clicks": -1}, {"jitter": -1.0}])
def test_a_senseless_protocol_is_refused(bad):
    with pytest.raises(InputError):
        Protocol(**bad)


def test_a_folder_is_evaluated_and_small_organs_skipped(data_folder, oracle):
    seen = []
    report = evaluate_folder(data_folder, oracle, clicks=1, on_case=seen.append)
    assert [(c.volume, c.organ, c.modality) for c in report.cases] == [
        ("a", "block", "CT"),
        ("b", "block", "MR"),
    ]
    assert list(report.cases) == seen
    assert report.summary["dice_final"] == 1
    assert report.summary["organs"] == 2
    assert report.summary["method"] == "oracle"


def test_the_report_as_json_csv_and_table(data_folder, oracle, tmp_path):
    report = evaluate_folder(data_folder, oracle, clicks=2, first="click")
    data = json.loads(json.dumps(report.to_json()))
    wanted = {"dice_first", "dice_final", "dice_auc", "nsd_first", "nsd_final", "nsd_auc"}
    wanted |= {"seconds_per_click", "organs", "method", "first", "clicks"}
    assert wanted <= set(data["summary"])
    assert len(data["cases"][0]["dice"]) == 3
    report.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["volume"] for r in rows] == ["a", "b"]
    assert float(rows[0]["dice_2"]) == 1
    assert not list(tmp_path.glob("*.part"))
    for by in ("volume", "organ", "modality"):
        lines = report.table(by).splitlines()
        assert lines[0].startswith(by)
        assert lines[-1].startswith("all")


def test_processes_give_the_same_cases(data_folder, oracle):
    alone = evaluate_folder(data_folder, oracle, clicks=1)
    shared = evaluate_folder(data_folder, oracle, clicks=1, jobs=2)
    assert [c.dice for c in alone.cases] == [c.dice for c in shared.cases]


def test_an_empty_report_has_no_numbers():
    report = Report("nobody", Protocol(), ())
    assert report.summary["dice_final"] is None
    assert "all" in report.table()


def test_unusable_folders_are_named(tmp_path, data_folder, oracle):
    with pytest.raises(InputError, match="not a folder"):
        evaluate_folder(tmp_path / "nowhere", oracle)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate_folder(empty, oracle)
    (data_folder / "a" / "meta.json").write_text("{")
    with pytest.raises(InputError, match=r"meta\.json"):
        evaluate_folder(data_folder, oracle)


def test_masks_outside_of_the_patch_are_absent(block, oracle):
    volume, truth = block
    assert np.count_nonzero(truth) == run_case(oracle, volume, truth, "x", Protocol()).voxels
