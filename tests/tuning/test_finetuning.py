import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import scan
from tiny_tuning import NAME, build, write_base

from openmedlab.core import Cancelled, CancelToken, InputError, Progress
from openmedlab.core.errors import MemoryGuardError
from openmedlab.labeling.methods import LabelerChoice, offered_labelers
from openmedlab.server.models import Models, UnknownModelError
from openmedlab.tuning import memory
from openmedlab.tuning.finetune import finetune, started
from openmedlab.tuning.plan import Request, plan, tunable
from openmedlab.zoo import WeightsError, WeightsStore, cards, read_checkpoint
from openmedlab.zoo.tuned import class_names, tuned


@pytest.fixture
def request_(tiny, cohort, tmp_path):
    """Four updates from the tiny network's weights."""
    return Request(NAME, cohort, tmp_path / "out", weights=tiny, steps=4, batch=2, rate=5e-3)


def stop_after(updates):
    cancel = CancelToken()

    def report(done, total, text):
        if text.startswith("loss") and done >= updates:
            cancel.cancel()

    return Progress(report), cancel


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_plan_says_what_it_takes_before_it_starts(request_):
    planned = plan(request_)
    assert planned.labels == {1: "organ", 3: "vessel"}
    assert len(planned.split.training) == 3
    assert planned.parameters == sum(p.numel() for p in build().parameters())
    assert planned.learned == planned.parameters
    assert planned.schedule.steps == 4
    assert planned.memory > memory.RUNTIME
    for words in ("organ, vessel", "Tiny STU-Net from base.safetensors", "GB on cpu"):
        assert words in planned.text
    few = plan(replace(request_, few_shot=True))
    assert few.learned < planned.learned
    assert few.memory < planned.memory
    assert plan(replace(request_, steps=None, epochs=3)).schedule.steps == 18
    assert not request_.out.exists()


def test_requests_that_make_no_sense_are_refused(request_, tmp_path):
    with pytest.raises(InputError, match="'medsam' cannot be fine-tuned; choose from openmedlab-c"):
        plan(replace(request_, model="medsam"))
    with pytest.raises(InputError, match="Nothing is learned in no time"):
        plan(replace(request_, steps=None, epochs=0))
    with pytest.raises(InputError, match="No volume has a label 'heart'"):
        plan(replace(request_, labels=("heart",)))
    with pytest.raises(InputError, match="too large to learn from nothing"):
        plan(replace(request_, model="sam-med3d", scratch=True))
    with pytest.raises(WeightsError, match="get them with: openmedlab models fetch stu-net-s"):
        plan(replace(request_, model="stu-net-s", weights=None))
    torch.save({"other.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="to start from do not fit tiny"):
        finetune(plan(replace(request_, weights=tmp_path / "other.pt")))


def test_all_four_kinds_of_models_are_offered():
    assert {"openmedlab-click", "sam-med3d", "stu-net-s", "stu-net-h", "pct-net-volf"} <= set(
        tunable()
    )


def test_it_is_refused_where_memory_lacks(request_, monkeypatch):
    planned = plan(request_)
    monkeypatch.setattr(memory, "free_bytes", lambda device: planned.memory // 2)
    with pytest.raises(MemoryGuardError, match=r"Fine-tuning tiny needs .* are free; keep the enc"):
        finetune(planned)
    assert not request_.out.exists()


def test_fine_tuned_weights_label_a_volume_and_become_a_model(request_):
    points, said = [], []
    progress = Progress(lambda done, total, text: said.append(text.split()[0]))
    result = finetune(plan(request_), progress, on_curve=points.append)
    assert [*dict.fromkeys(said)] == ["preparing", "judging", "loss"]
    assert said[-1] == "judging"
    assert tuple(points) == result.curve
    assert [p.step for p in points] == [0, 1, 2, 3, 4]
    assert result.best.validation == min(p.validation for p in points)
    assert class_names(result.weights) == ("organ", "vessel")
    check_card(result, request_)
    volume = scan(0)[0]
    labeler = LabelerChoice(NAME, result.weights, "cpu").make()
    found = labeler.label(volume, None, Progress(), CancelToken())
    assert {n: label.name for n, label in found.labels.items()} == {1: "organ", 2: "vessel"}
    assert found.geometry == volume.geometry
    check_import(result, volume, found)


def check_card(result, request):
    record = json.loads(result.card.with_suffix(".json").read_text())
    planned = plan(request)
    assert record["base"] == {
        "model": NAME,
        "title": "Tiny STU-Net",
        "weights": "base.safetensors",
        "sha256": planned.start.sha256,
        "citation": "Nobody",
    }
    assert record["licence"] == "CC-BY-4.0"
    assert record["labels"] == {"1": "organ", "3": "vessel"}
    assert tuple(record["split"]["validation"]) == planned.split.validation
    assert (record["seed"], record["batch"], record["processes"]) == (0, 2, 1)
    assert len(record["curve"]) == 5
    assert record["dice"]["vessel"]["after"] == pytest.approx(result.after["vessel"], abs=1e-5)
    page = result.card.read_text()
    for words in ("base.safetensors, sha256", "CC-BY-4.0", "| vessel |", "Not a medical device"):
        assert words in page


def check_import(result, volume, found):
    """The weights become a model of their own, and go again."""
    store = WeightsStore()
    info = store.import_checkpoint(result.weights, "my-vessels")
    assert info.card.name == "my-vessels"
    assert info.card.classes == ("organ", "vessel")
    assert info.card.licence == "CC-BY-4.0"
    store.verify("my-vessels")
    offered = offered_labelers()["my-vessels"]
    assert offered.state == "ready"
    assert [label.name for label in offered.labels] == ["organ", "vessel"]
    again = LabelerChoice("my-vessels", device="cpu").make()
    kept = again.label(volume, None, Progress(), CancelToken())
    np.testing.assert_array_equal(kept.array, found.array)
    served = Models(dict)
    served.require_labeler(LabelerChoice("my-vessels"))
    rows = {row["name"]: row for row in served.describe()}
    assert rows["my-vessels"]["classes"] == {"1": "organ", "2": "vessel"}
    assert rows["my-vessels"]["state"] == "ready"
    loaded = served.labeler(LabelerChoice("my-vessels"))
    assert served.labeler(LabelerChoice("my-vessels")) is loaded
    store.import_checkpoint(result.weights, "my-vessels")
    assert served.labeler(LabelerChoice("my-vessels")) is not loaded
    with pytest.raises(InputError, match="'stu-net-s' is a published model"):
        store.import_checkpoint(result.weights, "stu-net-s")
    store.remove("my-vessels")
    assert "my-vessels" not in cards()
    with pytest.raises(UnknownModelError, match="no labelling model 'my-vessels'; this server has"):
        served.require_labeler(LabelerChoice("my-vessels"))


def test_a_cancelled_training_goes_on_to_the_same_curve(request_, tmp_path):
    whole = finetune(plan(replace(request_, out=tmp_path / "whole")))
    with pytest.raises(Cancelled):
        finetune(plan(request_), *stop_after(2))
    assert (request_.out / "checkpoint.pt").exists()
    assert not (request_.out / "weights.safetensors").exists()
    points = []
    resumed = finetune(plan(request_), on_curve=points.append)
    assert resumed.curve == whole.curve == tuple(points)
    assert same(read_checkpoint(resumed.weights), read_checkpoint(whole.weights))
    with pytest.raises(InputError, match="other settings"):
        finetune(plan(replace(request_, seed=5, validation=("scan0",))))


def test_few_shot_leaves_the_encoder_as_it_is(request_):
    result = finetune(plan(replace(request_, few_shot=True)))
    start, end = read_checkpoint(request_.weights), read_checkpoint(result.weights)
    encoder = {n for n in start if n.startswith("conv_blocks_context.")}
    assert encoder
    assert all(torch.equal(start[n], end[n]) for n in encoder)
    assert not any(torch.equal(start[n], end[n]) for n in start if n.startswith("seg_outputs."))


def test_outputs_keep_what_they_know_of_a_label(request_, tmp_path):
    first = finetune(plan(replace(request_, steps=1)))
    again = plan(replace(request_, out=tmp_path / "two", weights=first.weights, labels=("3",)))
    network = started(again, again.family)
    known = read_checkpoint(first.weights)["seg_outputs.4.weight"]
    assert torch.equal(network.seg_outputs[4].weight.detach(), known[[0, 2]])
    assert again.start.classes == ("organ", "vessel")
    result = finetune(again)
    assert class_names(result.weights) == ("vessel",)
    assert tuned(result.weights)["card"]["classes"] == ["vessel"]


def test_a_volume_without_the_wanted_label_is_named(request_, tmp_path, cohort):
    from openmedlab.core import LabelVolume
    from openmedlab.io import write_labels

    labels = scan(0)[1]
    poor = tmp_path / "poor_label.nii.gz"
    write_labels(LabelVolume((labels.array == 1).astype(np.uint8), labels.geometry), poor)
    pairs = (replace(cohort.pairs[0], label=poor), *cohort.pairs[1:])
    asked = replace(request_, cohort=replace(cohort, pairs=pairs), labels=("vessel",))
    with pytest.raises(InputError, match=r"poor_label.nii.gz holds none of vessel"):
        finetune(plan(asked))


@pytest.mark.slow
def test_fine_tuning_lowers_the_loss_and_raises_dice(request_):
    planned = plan(replace(request_, steps=60, rate=2e-2))
    planned = replace(planned, schedule=replace(planned.schedule, check=15))
    result = finetune(planned)
    first, last = result.curve[0], result.best
    assert last.validation < 0.75 * first.validation
    assert result.after["vessel"] > result.before["vessel"] + 0.3
    assert np.mean(list(result.after.values())) > np.mean(list(result.before.values())) + 0.2


def test_weights_of_more_classes_are_a_start_too(request_, tmp_path):
    wide = tmp_path / "wide"
    wide.mkdir()
    planned = plan(replace(request_, weights=write_base(wide, classes=9)))
    assert started(planned, planned.family).head.out_channels == 3
