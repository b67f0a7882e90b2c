import json

import numpy as np
import pytest

from openmedlab.core import Geometry, MemoryGuardError, Point, Timings, Volume
from openmedlab.engine import home, journal_path, manifest, write_manifest
from openmedlab.engine.memory import require_memory


def test_work_that_cannot_fit_is_refused_before_it_starts():
    require_memory(1, "One byte")
    with pytest.raises(MemoryGuardError, match=r"The brain needs 1000000\.0 GB but"):
        require_memory(10**15, "The brain")


def test_the_manifest_says_what_made_a_mask(tmp_path):
    volume = Volume(np.zeros((2, 3, 4), np.int16), Geometry.from_spacing((2, 3, 4)), "CT", "scan")
    record = manifest(
        volume,
        method="builtin",
        method_version="1",
        prompts={"liver": [Point((1, 1, 1))]},
        timings=Timings(infer=0.25),
        parameters={"policy": "replace own"},
    )
    path = write_manifest(record, tmp_path / "mask.nii.gz")
    read = json.loads(path.read_text())
    assert path.name == "mask.nii.gz.manifest.json"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert read["method"] == {"name": "builtin", "version": "1"}
    assert read["prompts"]["liver"][0]["position"] == [1, 1, 1]
    assert read["seconds"]["infer"] == 0.25
    assert read["versions"]["numpy"] == np.__version__
    assert Geometry.from_json(read["image"]["geometry"]) == volume.geometry


def test_the_data_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path))
    assert home() == tmp_path
    assert journal_path("abc") == tmp_path / "journals" / "abc.jsonl"
