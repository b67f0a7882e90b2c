from dataclasses import replace

import numpy as np
import pytest
import torch

from openmedlab.core import (
    Cancelled,
    CancelToken,
    Geometry,
    InputError,
    Labeler,
    Progress,
    Region,
    Volume,
)
from openmedlab.nn.fill import fill_by_name
from openmedlab.stunet.labeler import StuNet
from openmedlab.stunet.network import Size, StuNetwork
from openmedlab.stunet.plan import released_plan
from openmedlab.stunet.predict import Predictor

PLAN = replace(released_plan(), patch=(32, 32, 32))


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    network = StuNetwork(Size(1, (4, 4, 4, 4, 4, 4)))
    fill_by_name(network)
    return network


@pytest.fixture(scope="module")
def volume():
    random = np.random.default_rng(5)
    array = np.full((40, 60, 56), -1000, np.int16)
    array[4:36, 8:50, 10:46] = random.normal(40, 60, (32, 42, 36))
    spacing, origin = (2.0, 1.2, 1.1), (-30.0, -20.0, 5.0)
    direction = np.eye(3)[:, ::-1] * (1, -1, -1)
    return Volume(array, Geometry.from_spacing(array.shape, spacing, origin, direction), "CT", "ct")


def label(labeler, volume, classes=None, cancel=None):
    return labeler.label(volume, classes, Progress(), cancel or CancelToken())


def test_labels_come_with_names_codes_and_the_volumes_grid(network, volume):
    labeler = StuNet(network, plan=PLAN)
    assert isinstance(labeler, Labeler)
    found = label(labeler, volume)
    assert found.geometry == volume.geometry
    assert found.labels[40].name == "liver"
    assert found.labels[40].code == "10200004"
    assert found.array.max() > 0
    np.testing.assert_array_equal(found.array, label(labeler, volume).array)


def test_a_network_of_other_classes_does_not_borrow_names(volume):
    other = StuNetwork(Size(1, (4, 4, 4, 4, 4, 4)), outputs=10)
    labeler = StuNet(other, plan=PLAN)
    assert labeler.classes[9] == "class_9"
    assert labeler.named(np.zeros(volume.shape, np.uint8), volume).labels[1].code == ""


def test_orientation_of_the_file_does_not_matter(network, volume):
    labeler = StuNet(network, plan=PLAN)
    turned = volume.geometry.reorientation("LIA")
    other = replace(volume, array=turned.apply(volume.array), geometry=turned.geometry)
    expected = turned.apply(label(labeler, volume).array)
    np.testing.assert_array_equal(label(labeler, other).array, expected)


def test_air_is_left_out_unless_the_whole_is_wanted(network, volume):
    trimmed = label(StuNet(network, plan=PLAN), volume).array
    whole = label(StuNet(network, plan=PLAN, whole=True), volume).array
    assert whole[0].any()
    body = np.s_[4:36, 8:50, 10:46]
    assert (trimmed[body] == whole[body]).mean() > 0.3


def test_a_subset_holds_only_what_was_asked_for(network, volume):
    everything = label(StuNet(network, plan=PLAN), volume).array
    numbers, counts = np.unique(everything[everything > 0], return_counts=True)
    common = int(numbers[counts.argmax()])
    name = StuNet(network).classes[common]
    found = label(StuNet(network, plan=PLAN), volume, [name]).array
    assert set(np.unique(found)) <= {0, common}
    assert (found == common).any()


def test_cancel_keeps_what_is_finished(network, volume):
    labeler = StuNet(network, plan=PLAN, whole=True)
    expected = label(labeler, volume).array
    cancel, done, labels = CancelToken(), [], np.zeros(volume.shape, np.uint8)

    def finished(region):
        done.append(region)
        if len(done) == 2:
            cancel.cancel()

    with pytest.raises(Cancelled):
        labeler.label_into(labels, volume, None, Progress(), cancel, finished)
    assert len(done) == 2
    for region in done:
        assert Region.whole(volume.shape).contains(region)
        np.testing.assert_array_equal(labels[region.slices], expected[region.slices])
        labels[region.slices] = 0
    assert not labels.any()


def test_progress_counts_the_tiles(network, volume):
    reports = []
    progress = Progress(lambda done, total, text: reports.append((done, total)))
    StuNet(network, plan=PLAN).label(volume, None, progress, CancelToken())
    assert reports[0][0] == 0
    assert reports[-1][0] == reports[-1][1] > 1
    assert progress.timings.infer > 0


def test_openvino_gives_the_same_labels(network, volume):
    pytest.importorskip("openvino")
    ours, theirs = (
        label(StuNet(network, plan=PLAN, openvino=on), volume).array for on in (False, True)
    )
    assert (ours == theirs).mean() > 0.999


def test_the_version_tells_what_changes_answers(network):
    made = [StuNet(network, openvino=on, mirror=m) for on in (False, True) for m in (False, True)]
    assert len({labeler.version for labeler in made}) == 4


def test_fast_works_at_three_millimetres(network, volume):
    labeler = StuNet(network, plan=PLAN, fast=True)
    assert labeler.plan.spacing == (3.0, 3.0, 3.0)
    assert labeler.version != StuNet(network, plan=PLAN).version
    assert label(labeler, volume).array.shape == volume.shape


def test_what_cannot_be_labelled_is_said(network, volume):
    with pytest.raises(InputError, match="near names"):
        label(StuNet(network), volume, ["liver!"])
    specimen = replace(volume, geometry=replace(volume.geometry, unit="micrometer"))
    with pytest.raises(InputError, match="millimetres"):
        label(StuNet(network), specimen)


def test_when_memory_runs_out_fewer_tiles_are_tried_and_the_user_is_told(
    network, volume, monkeypatch
):
    expected = label(StuNet(network, plan=PLAN), volume).array
    labeler = StuNet(network, plan=PLAN)
    labeler._predictor.batch = 2
    features = Predictor.features

    def scarce(self, tiles):
        if len(tiles) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return features(self, tiles)

    monkeypatch.setattr(Predictor, "features", scarce)
    told = []
    found = labeler.label(
        volume, None, Progress(lambda _d, _t, text: told.append(text)), CancelToken()
    )
    np.testing.assert_array_equal(found.array, expected)
    assert "Out of memory on cpu, 2 tiles at once; trying on cpu, one tile at once." in told


def test_plans_of_another_network_are_refused(network):
    plan = replace(released_plan(), strides=((1, 2, 2),) * 5)
    with pytest.raises(InputError, match="other strides"):
        StuNet(network, plan=plan)
