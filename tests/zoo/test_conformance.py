"""Recipes give the fixed numbers; every layout of reference cases is read and judged."""

from __future__ import annotations

import json
import re
import sys
from types import ModuleType

import numpy as np
import pytest

from openmedlab.core import InputError
from openmedlab.zoo.conformance import run
from openmedlab.zoo.recipes import make_input


def test_noise_recipes_give_the_fixed_numbers():
    normal = make_input({"kind": "normal", "seed": 3001, "shape": [4]})
    np.testing.assert_allclose(normal, [0.540807, -1.936166, 0.557871, 1.976239], atol=1e-6)
    scaled = make_input({"kind": "normal", "seed": 3001, "shape": [4], "scale": 2, "shift": 1})
    np.testing.assert_allclose(scaled, 2 * normal + 1, rtol=1e-6)
    assert make_input({"kind": "values", "data": [[1, 2]], "dtype": "int64"}).dtype == np.int64


def test_pictures_give_the_fixed_numbers():
    picture = make_input({"kind": "image2d", "seed": 5, "h": 20, "w": 30})
    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8
    assert int(picture.astype(int).sum()) == 110048


def test_phantoms_give_the_fixed_numbers():
    recipe = {"kind": "volume3d", "seed": 7, "shape_zyx": [12, 14, 16], "labels": 2}
    image = make_input({**recipe, "part": "image"})
    label = make_input({**recipe, "part": "label"})
    assert image.dtype == np.int16
    assert label.dtype == np.uint8
    assert (int(image.sum()), np.bincount(label.ravel()).tolist()) == (-334562, [2559, 59, 70])


def test_a_blob_is_its_amplitude_in_the_centre_and_zero_on_its_surface():
    blob = make_input(
        {"kind": "blob", "shape": [9, 9], "centre": [4, 4], "radius": [2, 3], "amp": 6.0}
        | {"reshape": [1, 1, 9, 9]}
    )
    assert blob.shape == (1, 1, 9, 9)
    assert blob[0, 0, 4, 4] == 6
    assert blob[0, 0, 6, 4] == blob[0, 0, 4, 7] == 0
    assert blob.min() == -6


def test_an_unknown_recipe_is_an_error():
    with pytest.raises(InputError, match="no input recipe"):
        make_input({"kind": "tea"})


def room(**targets):
    module = ModuleType("targets")
    module.targets = lambda build: {k: v for k, v in targets.items() if build.get("has", k) == k}
    return module


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Make a system folder with cases, and the room that answers them."""

    def make(cases, arrays, targets, files="x.npz"):
        folder = tmp_path / "fake_system"
        folder.mkdir(exist_ok=True)
        np.savez(folder / files, **arrays)
        (folder / "cases.json").write_text(json.dumps({"cases": cases}))
        package = ModuleType("openmedlab.fake_system")
        package.__path__ = []
        monkeypatch.setitem(sys.modules, "openmedlab.fake_system", package)
        monkeypatch.setitem(sys.modules, "openmedlab.fake_system.conformance", room(**targets))
        return tmp_path

    return make


RAMP = np.arange(100.0).reshape(10, 10)
OUT = {"shape": [10, 10], "dtype": "float64", "file": "x.npz", "rtol": 0.0, "atol": 0.01}
SAMPLED = {**OUT, "key": "sampled", "store": "sample", "offset": 3, "stride": 7}
CASE = {"id": "ramp", "target": "ramp", "inputs": {}, "outputs": {"y": SAMPLED}}
ARRAYS = {"sampled": RAMP.ravel()[3::7], "full": RAMP, "bits": np.packbits(RAMP > 50)}


def judge(folder, **kwargs):
    return {r.case: (r.status, r.detail) for r in run(folder, **kwargs)}


def test_an_answer_within_the_tolerance_passes(system):
    folder = system([CASE], ARRAYS, {"ramp": lambda: {"y": RAMP + 0.005}})
    status, detail = judge(folder)["ramp"]
    assert status == "passed"
    assert "50% of what is allowed" in detail


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (RAMP + 0.02, "y: largest difference 0.02, 200% .* 14 of 14 lie outside"),
        (RAMP[:5], r"y: shape \[5, 10\], expected \[10, 10\]"),
        (np.full((10, 10), np.nan), "outside"),
    ],
)
def test_a_wrong_answer_fails_with_its_error(system, answer, told):
    results = run(system([CASE], ARRAYS, {"ramp": lambda: {"y": answer}}))
    assert [r.status for r in results] == ["failed"]
    assert re.search(told, results[0].detail)


def test_what_was_not_sampled_is_guarded_by_its_norm(system):
    case = {**CASE, "outputs": {"y": {**SAMPLED, "l2": float(np.linalg.norm(RAMP))}}}
    wrong = RAMP.copy()
    wrong[0, 0] = 1e4
    folder = system([case], ARRAYS, {"ramp": lambda: {"y": wrong}})
    assert judge(folder)["ramp"][0] == "failed"


def test_errors_and_gaps_are_results_not_crashes(system):
    def broken():
        raise ValueError("bad weather")

    cases = [
        {**CASE, "id": "broken", "target": "broken"},
        {**CASE, "id": "absent", "target": "absent"},
        {**CASE, "id": "silent", "target": "silent"},
    ]
    folder = system(cases, ARRAYS, {"broken": broken, "silent": dict})
    assert judge(folder) == {
        "broken": ("failed", "ValueError: bad weather"),
        "absent": ("no such target", "absent"),
        "silent": ("failed", "no such output: y"),
    }


def test_a_system_without_a_room_has_no_targets(system, monkeypatch):
    folder = system([CASE], ARRAYS, {})
    monkeypatch.delitem(sys.modules, "openmedlab.fake_system.conformance")
    monkeypatch.delitem(sys.modules, "openmedlab.fake_system")
    assert judge(folder)["ramp"][0] == "no such target"


def test_masks_may_flip_as_often_as_allowed(system):
    spec = {"shape": [10, 10], "dtype": "bool", "file": "x.npz", "key": "bits", "store": "bits"}
    cases = [{**CASE, "id": str(n), "outputs": {"y": {**spec, "max_flips": n}}} for n in (1, 2)]
    mask = RAMP > 52
    results = judge(system(cases, ARRAYS, {"ramp": lambda: {"y": mask}}))
    assert results["1"] == ("failed", "y: 2 of 100 differ, 1 may")
    assert results["2"][0] == "passed"


def test_inputs_come_from_recipes_other_cases_and_parameters(system):
    full = {**OUT, "key": "full", "store": "full"}
    cases = [
        {"id": "stored", "target": "data", "inputs": {}, "outputs": {"y": full}},
        {
            "id": "uses",
            "target": "scale",
            "build": {"has": "scale"},
            "inputs": {
                "x": {"kind": "from_case", "case": "stored", "output": "y", "slice": [[0, 5]]},
                "z": {"kind": "from_case", "case": "stored", "output": "y", "sigmoid": True},
            },
            "params": {"factor": 2},
            "outputs": {"y": {**full, "shape": [5, 10], "key": "double"}},
        },
    ]
    seen = {}

    def scale(x, z, factor):
        seen.update(z=z)
        return {"y": x * factor}

    folder = system(cases, {**ARRAYS, "double": 2 * RAMP[:5]}, {"scale": scale})
    assert judge(folder)["uses"][0] == "passed"
    assert list(judge(folder)) == ["uses"]
    assert seen["z"].dtype == np.float32
    assert seen["z"].max() <= 1


def test_label_maps_are_compared_by_count(system):
    spec = {**OUT, "key": "labels", "store": "flat", "stride": 1, "atol": 255}
    spec |= {"max_flips_fraction": 0.02, "l2": 1.0}
    labels = RAMP.astype(np.uint8)
    for flips, status in ((2, "passed"), (3, "failed")):
        answer = labels.copy()
        answer.ravel()[:flips] += 100
        folder = system(
            [{**CASE, "outputs": {"y": spec}}],
            {"labels": labels.ravel()},
            {"ramp": lambda answer=answer: {"y": answer}},
        )
        assert judge(folder)["ramp"][0] == status


def test_rows_are_compared_as_a_set_where_a_case_says_so(system):
    full = {**OUT, "key": "full", "store": "full"}
    notes = {"ordered": "", "free": "order of the calls; compare as a set"}
    cases = [
        {**CASE, "id": name, "outputs": {"y": {**full, "note": note}}}
        for name, note in notes.items()
    ]
    results = judge(system(cases, ARRAYS, {"ramp": lambda: {"y": RAMP[::-1]}}))
    assert results["ordered"][0] == "failed"
    assert results["free"][0] == "passed"


def test_the_layout_with_one_file_per_case_is_read(system):
    stats = {"l2": float(np.linalg.norm(RAMP)), "stride": 7, "shape": [10, 10]}
    case = {
        "name": "own",
        "npz": "own.npz",
        "inputs": [
            {"name": "x", "recipe": "uniform", "seed": 1, "shape": [3]},
            {"name": "in_mask", "recipe": "stored in npz"},
        ],
        "outputs": {"y": {**stats, "dtype": "float32"}, "n": {**stats, "dtype": "uint8"}},
        "config": {"kind": "score", "values": {"dice": 0.5}, "has": "score"},
    }
    arrays = {"y": RAMP.ravel()[::7], "n": RAMP.ravel()[::7], "in_mask": np.ones(4)}

    def score(x, in_mask):
        assert x.dtype == np.float32
        return {"y": RAMP + 5e-4, "n": RAMP.astype(np.uint8), "dice": in_mask.mean() / 2}

    assert judge(system([case], arrays, {"score": score}, "own.npz"))["own"][0] == "passed"


def test_only_chosen_cases_run_and_unknown_names_are_errors(system):
    cases = [{**CASE, "id": "one"}, {**CASE, "id": "two"}]
    folder = system(cases, ARRAYS, {"ramp": lambda: {"y": RAMP}})
    assert list(judge(folder, only=["two"])) == ["two"]
    assert list(judge(folder / "fake_system", only=["fake_system/one"])) == ["one"]
    assert list(judge(folder, only=["fake_system"])) == ["one", "two"]
    with pytest.raises(InputError, match="called three"):
        run(folder, only=["three"])


def test_a_folder_without_cases_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no reference cases"):
        run(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "cases.json").write_text("[]")
    with pytest.raises(InputError, match="no readable list"):
        run(tmp_path)
