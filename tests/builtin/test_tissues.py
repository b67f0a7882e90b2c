"""The training-free tissue labels on the phantom, in every orientation, and on real scans."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from openmedlab.builtin.tissues import TISSUES, TissueLabeler
from openmedlab.core import (
    Cancelled,
    CancelToken,
    Geometry,
    InputError,
    Labeler,
    LabelVolume,
    Progress,
    Region,
    Volume,
)
from openmedlab.evaluation.metrics import dice
from openmedlab.io import phantom, sample

NUMBER = {label.name: n for n, label in TISSUES.items()}


def run(volume: Volume, classes: list[str] | None = None) -> LabelVolume:
    return TissueLabeler().label(volume, classes, Progress(), CancelToken())


def mask(labels: LabelVolume, name: str) -> np.ndarray:
    return labels.array == NUMBER[name]


@pytest.fixture(scope="module")
def torso() -> tuple[Volume, LabelVolume]:
    return phantom((50, 130, 160))


@pytest.fixture(scope="module")
def tissues(torso: tuple[Volume, LabelVolume]) -> LabelVolume:
    return run(torso[0])


def reference(labels: LabelVolume, *names: str) -> np.ndarray:
    numbers = [n for n, v in labels.labels.items() if v.name.startswith(names)]
    return np.isin(labels.array, numbers)


def test_it_is_a_labeler_with_stable_words_and_codes(tissues: LabelVolume) -> None:
    assert isinstance(TissueLabeler(), Labeler)
    assert TissueLabeler().name == tissues.method == "builtin-tissues"
    assert TissueLabeler().version != TissueLabeler(fast=True).version
    assert list(TissueLabeler().classes.values()) == [
        "body", "lung_left", "lung_right", "airways", "bone", "fat", "soft_tissue",
    ]  # fmt: skip
    assert all(v.code and v.color for v in tissues.labels.values())


def test_lungs_bone_and_airways_of_the_phantom(
    torso: tuple[Volume, LabelVolume], tissues: LabelVolume
) -> None:
    truth = torso[1]
    assert dice(mask(tissues, "lung_left"), reference(truth, "lung_left")) > 0.9
    assert dice(mask(tissues, "lung_right"), reference(truth, "lung_right")) > 0.9
    assert (mask(tissues, "bone") & reference(truth, "vertebrae", "ribs")).sum() > 0.85 * (
        reference(truth, "vertebrae", "ribs").sum()
    )
    for vessel_or_organ in ("aorta", "heart", "kidney", "liver", "spleen"):
        wrong = mask(tissues, "bone") & reference(truth, vessel_or_organ)
        assert wrong.sum() < 0.02 * reference(truth, vessel_or_organ).sum(), vessel_or_organ


def test_fat_and_soft_tissue_follow_density(
    torso: tuple[Volume, LabelVolume], tissues: LabelVolume
) -> None:
    image = torso[0].read()
    assert -130 < image[mask(tissues, "fat")].mean() < -60
    assert 0 < image[mask(tissues, "soft_tissue")].mean() < 130
    assert image[tissues.array == 0].mean() < -950


@pytest.mark.parametrize("codes", ["SAR", "IPR", "RIP"])
def test_flips_and_permutations_change_nothing(
    torso: tuple[Volume, LabelVolume], codes: str
) -> None:
    volume = phantom((30, 80, 100))[0]
    turn = volume.geometry.reorientation(codes)
    turned = replace(
        volume, array=np.ascontiguousarray(turn.apply(volume.read())), geometry=turn.geometry
    )
    assert np.array_equal(turn.undo(run(turned).array), run(volume).array)


def test_left_is_the_patients_left_whatever_the_array_does(tissues: LabelVolume) -> None:
    left = np.argwhere(mask(tissues, "lung_left")).mean(0)
    right = np.argwhere(mask(tissues, "lung_right")).mean(0)
    x_left, x_right = tissues.geometry.index_to_world([left, right])[:, 0]
    assert x_left > x_right


def test_the_table_is_left_out() -> None:
    volume, _ = phantom((30, 80, 100))
    image = volume.read().copy()
    empty = image < -900
    bottom = np.flatnonzero(~empty.all(axis=(0, 2)))[-1] + 2
    image[:, bottom : bottom + 1, 5:95] = 150
    labels = run(replace(volume, array=image))
    assert not labels.array[:, bottom : bottom + 1, 5:95].any()


def test_a_class_subset_is_the_same_voxels(tissues: LabelVolume, torso: tuple) -> None:
    some = run(torso[0], ["bone", "lung_left"])
    assert {v.name for v in some.labels.values()} == {"bone", "lung_left"}
    for name in ("bone", "lung_left"):
        assert np.array_equal(mask(some, name), mask(tissues, name))
    whole = run(torso[0], ["body"])
    assert np.array_equal(whole.array > 0, tissues.array > 0)


@pytest.mark.parametrize("part", ["abdomen", "half"])
def test_parts_of_the_body_work(torso: tuple[Volume, LabelVolume], part: str) -> None:
    volume, truth = torso
    region = {
        "abdomen": Region((0, 0, 0), (16, 130, 160)),
        "half": Region((16, 0, 80), (50, 130, 160)),
    }[part]
    labels = run(volume.cropped(region))
    wanted = reference(truth, "lung_left")[region.slices]
    found = mask(labels, "lung_left")
    assert dice(found, wanted) > 0.9 if wanted.any() else not found.any()
    assert not (mask(labels, "lung_right") & wanted).any()


def test_mr_and_other_units_are_refused_in_a_sentence() -> None:
    geometry = Geometry.from_spacing((8, 8, 8))
    array = np.arange(512, dtype=np.int16).reshape(8, 8, 8)
    with pytest.raises(InputError, match="need a CT"):
        run(Volume(array - 1000, geometry, "MR"))
    for modality in ("CT", "unknown"):
        with pytest.raises(InputError, match="Hounsfield"):
            run(Volume(array, geometry, modality))
    with pytest.raises(InputError, match="liver"):
        run(Volume(array - 1000, geometry, "CT"), ["liver"])


def test_noisy_air_around_a_cropped_limb_is_no_lung() -> None:
    z, y, x = np.ogrid[:20, :60, :60]
    limb = (y - 5) ** 2 + (x - 55) ** 2 < 40**2
    bone = (y - 10) ** 2 + (x - 45) ** 2 < 7**2
    marrow = (y - 10) ** 2 + (x - 45) ** 2 < 4**2
    hu = np.where(bone, 900.0, np.where(limb, 40.0, -955.0)) + 0 * z
    hu[np.broadcast_to(marrow, hu.shape)] = -80
    hu = hu + np.random.default_rng(0).normal(0, 30, hu.shape)
    volume = Volume(hu.astype(np.int16), Geometry.from_spacing(hu.shape, (3, 2, 2)), "CT")
    labels = run(volume)
    assert not (mask(labels, "lung_left") | mask(labels, "lung_right")).any()
    assert dice(mask(labels, "bone"), np.broadcast_to(bone, hu.shape)) > 0.9
    assert dice(labels.array > 0, np.broadcast_to(limb | bone, hu.shape)) > 0.95


def test_an_empty_ct_gives_empty_labels() -> None:
    air = np.full((6, 10, 10), -1000, np.int16)
    labels = run(Volume(air, Geometry.from_spacing(air.shape, (5, 2, 2)), "CT"))
    assert not labels.array.any()


def test_it_reports_and_stops_between_steps() -> None:
    volume, _ = phantom((20, 50, 60))
    cancel, said = CancelToken(), []

    def report(done: int, total: int, text: str) -> None:
        said.append(text)
        if text == "Bone":
            cancel.cancel()

    with pytest.raises(Cancelled):
        TissueLabeler().label(volume, None, Progress(report), cancel)
    assert said == ["Reading", "Body", "Lungs and airways", "Bone"]


@pytest.mark.slow
@pytest.mark.skipif("OPENMEDLAB_SAMPLES" not in os.environ, reason="needs OPENMEDLAB_SAMPLES")
@pytest.mark.parametrize(
    ("name", "lungs", "bone"),
    [("ct_abdpelvis_ts", 0.94, 0.88), ("ct_headneck_tsd_s0003", 0.95, 0.81)],
)
def test_real_scans(name: str, lungs: float, bone: float) -> None:
    """Lower bounds that catch a change for the worse; benchmarks/tissues.md has the figures."""
    volume, truth = sample(name)
    labels = run(volume)
    bones = ("rib_", "vertebrae", "hip_", "sacrum", "scapula", "skull", "femur", "clavic", "humer")
    found = mask(labels, "lung_left") | mask(labels, "lung_right")
    assert dice(found, reference(truth, "lung_")) > lungs
    assert dice(mask(labels, "bone"), reference(truth, *bones)) > bone


@pytest.mark.parametrize("codes", ["SPL", "RIP"])
def test_slabs_are_handed_out_when_done_and_stay_after_a_cancel(codes: str) -> None:
    volume = phantom((40, 60, 80))[0]
    turn = volume.geometry.reorientation(codes)
    volume = replace(
        volume, array=np.ascontiguousarray(turn.apply(volume.read())), geometry=turn.geometry
    )
    expected = run(volume).array
    covered = np.zeros(volume.shape, np.uint8)

    def cover(region: Region) -> None:
        covered[region.slices] += 1

    labels = np.zeros(volume.shape, np.uint8)
    TissueLabeler().label_into(labels, volume, None, Progress(), CancelToken(), cover)
    assert np.array_equal(labels, expected)
    assert (covered == 1).all()

    cancel, finished = CancelToken(), []

    def stop(region: Region) -> None:
        finished.append(region)
        cancel.cancel()

    labels[...] = 0
    with pytest.raises(Cancelled):
        TissueLabeler().label_into(labels, volume, None, Progress(), cancel, stop)
    (region,) = finished
    assert np.array_equal(labels[region.slices], expected[region.slices])
    labels[region.slices] = 0
    assert not labels.any()
