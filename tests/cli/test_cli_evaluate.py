"""evaluate: the table, the JSON a script reads, and what a Ctrl-C leaves."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from openmedlab.core import Geometry, Label, LabelVolume, Volume
from openmedlab.io import write_labels, write_volume

SUMMARY = {"dice_first", "dice_final", "dice_auc", "nsd_final", "nsd_auc", "seconds_per_click"}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with one small scan of two bright balls."""
    grid = Geometry.from_spacing((16, 40, 40), (2.0, 1.0, 1.0))
    z, y, x = np.indices(grid.shape)
    labels = np.zeros(grid.shape, np.uint8)
    for number, middle in ((1, 12), (2, 28)):
        inside = ((z - 8) * 2) ** 2 + (y - 20) ** 2 + (x - middle) ** 2 < 49
        labels[inside] = number
    noise = np.random.default_rng(0).normal(0, 8, grid.shape)
    image = (noise + 100 * (labels > 0)).astype(np.int16)
    folder = tmp_path / "scans" / "balls"
    write_volume(Volume(image, grid, "CT", "balls"), folder / "image.nii.gz")
    names = {1: Label("left"), 2: Label("right")}
    write_labels(LabelVolume(labels, grid, names), folder / "labels.nii.gz")
    meta = {"name": "balls", "modality": "CT", "labels": {"1": "left", "2": "right"}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder.parent


def test_evaluate_gives_json_and_csv(cli, scans, tmp_path):
    table = tmp_path / "table.csv"
    done = cli("evaluate", scans, "--clicks", 1, "--first", "extreme", "--csv", table, "--json")
    assert done.code == 0, done.err
    assert set(done.json["summary"]) >= SUMMARY
    assert len(done.json["cases"]) == 2
    assert done.json["summary"]["dice_final"] > 0.7
    with table.open() as file:
        assert [row["organ"] for row in csv.DictReader(file)] == ["left", "right"]


def test_evaluate_prints_a_table_for_people(cli, scans):
    done = cli("evaluate", scans, "--clicks", 0)
    assert done.code == 0
    assert "dice final" in done.out


def test_ctrl_c_keeps_what_is_finished(cli, scans, monkeypatch):
    from openmedlab.evaluation import folder

    def pressed(*arguments):
        case = played(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        return case

    played = folder.run_case
    monkeypatch.setattr(folder, "run_case", pressed)
    done = cli("evaluate", scans, "--clicks", 0, "--json")
    assert done.code == 3
    assert len(done.json["cases"]) == 1
    assert "1 organs were finished" in done.err


def test_a_folder_without_scans_is_one_sentence(cli, tmp_path):
    done = cli("evaluate", tmp_path)
    assert done.code == 2
    assert str(tmp_path) in done.err
