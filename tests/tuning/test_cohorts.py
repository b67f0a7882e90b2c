import json
import shutil

import numpy as np
import pytest
from conftest import scan, write_scan

from openmedlab.core import Cancelled, CancelToken, Geometry, InputError, Label, LabelVolume, Volume
from openmedlab.io import write_labels, write_volume
from openmedlab.tuning.data import Split, read_cohort


def test_pairs_by_the_ending_of_their_names(cohort):
    assert cohort.names == ("scan0", "scan1", "scan2", "scan3")
    assert cohort.labels == {1: "organ", 3: "vessel"}
    assert {pair.numbers for pair in cohort.pairs} == {(1, 3)}
    assert cohort.pairs[0].spacing == pytest.approx((2.0, 1.6, 1.6))


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("{}/image.nrrd", "{}/labels.mha"),
        ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
        ("{}_image.mha", "{}_labels.nrrd"),
        ("{}_image.ome.zarr", "{}_label.nii.gz"),
    ],
)
def test_other_conventions_and_formats(tmp_path, image, label):
    for seed in (0, 1):
        write_scan(tmp_path, seed, image, label)
    found = read_cohort(tmp_path)
    assert found.names == ("scan0", "scan1")
    assert list(found.labels) == [1, 3]
    volume, labels = found.pairs[1].read()
    np.testing.assert_array_equal(volume.read(), scan(1)[0].read())
    np.testing.assert_array_equal(labels.array, scan(1)[1].array)


def test_pairs_given_one_by_one_get_names_of_their_own(tmp_path):
    files = [write_scan(tmp_path / str(k), 0, label="mask.nii.gz") for k in (1, 2)]
    assert read_cohort(files).names == ("1_scan0", "2_scan0")


@pytest.mark.parametrize(
    "names", [{"background": 0, "lung": 1, "vein": 3}, {"1": "lung", "3": "vein"}]
)
def test_nnunets_dataset_names_the_labels(tmp_path, names):
    for seed in (0, 1):
        write_scan(tmp_path, seed, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": names}))
    assert read_cohort(tmp_path).labels == {1: "lung", 3: "vein"}


def test_labels_without_names_are_called_by_their_number(tmp_path):
    for seed in (0, 1):
        volume, labels = scan(seed)
        write_volume(volume, tmp_path / f"s{seed}_image.nii.gz")
        bare = LabelVolume(labels.array, labels.geometry)
        write_labels(bare, tmp_path / f"s{seed}_label.nii.gz")
    assert read_cohort(tmp_path).labels == {1: "label_1", 3: "label_3"}


def overwrite(folder, volume=None, labels=None):
    """Replace the second of two volumes or its labels."""
    for seed in (0, 1):
        write_scan(folder, seed)
    if volume is not None:
        write_volume(volume, folder / "scan1_image.nii.gz")
    if labels is not None:
        write_labels(labels, folder / "scan1_label.nii.gz")


def test_labels_on_another_grid_are_refused(tmp_path):
    labels = scan(1)[1]
    other = LabelVolume(labels.array, Geometry.from_spacing(labels.array.shape, (2, 2, 2)))
    overwrite(tmp_path, labels=other)
    with pytest.raises(
        InputError, match=r"scan1_label.nii.gz lies on another grid than scan1_image"
    ):
        read_cohort(tmp_path)


def test_labels_without_a_label_are_refused(tmp_path):
    labels = scan(1)[1]
    overwrite(tmp_path, labels=LabelVolume(labels.array * 0, labels.geometry))
    with pytest.raises(InputError, match=r"scan1_label.nii.gz holds no label"):
        read_cohort(tmp_path)


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path):
    overwrite(tmp_path)
    volume = scan(1)[0]
    broken = Volume(np.full(volume.shape, 0.5, np.float32), volume.geometry)
    write_volume(broken, tmp_path / "scan1_label.nii.gz")
    with pytest.raises(InputError, match=r"scan1_label.nii.gz holds fractions"):
        read_cohort(tmp_path)


def test_one_number_with_two_meanings_is_refused(tmp_path):
    labels = scan(1)[1]
    other = LabelVolume(labels.array, labels.geometry, {1: Label("spleen"), 3: Label("vessel")})
    overwrite(tmp_path, labels=other)
    with pytest.raises(InputError, match=r"Label 1 is called 'spleen' in scan1_label.nii.gz"):
        read_cohort(tmp_path)


def test_images_without_labels_and_too_few_volumes_are_refused(tmp_path):
    write_scan(tmp_path, 0)
    with pytest.raises(InputError, match="scan0 is too little"):
        read_cohort(tmp_path)
    shutil.copy(tmp_path / "scan0_image.nii.gz", tmp_path / "lonely_image.nii.gz")
    with pytest.raises(InputError, match=r"lonely_image.nii.gz has no labels: .* lonely_label"):
        read_cohort(tmp_path)


def test_folders_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no labelled volumes; name them NAME_image"):
        read_cohort(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        read_cohort(tmp_path / "absent")


def test_several_channels_are_refused(tmp_path):
    write_scan(tmp_path, 0, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz")
    write_scan(tmp_path, 0, "imagesTr/{}_0001.nii.gz", "labelsTr/{}.nii.gz")
    with pytest.raises(InputError, match="several channels of scan0"):
        read_cohort(tmp_path)


def test_a_damaged_dataset_json_is_named(tmp_path):
    write_scan(tmp_path, 0, "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz")
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset.json is no readable"):
        read_cohort(tmp_path)


def test_checking_can_be_cancelled(folder):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        read_cohort(folder, cancel=cancel)


def test_labels_are_chosen_by_name_or_number(cohort):
    assert cohort.chosen() == {1: "organ", 3: "vessel"}
    assert cohort.chosen(["vessel"]) == cohort.chosen(["3"]) == {3: "vessel"}
    with pytest.raises(InputError, match="No volume has a label 'heart'; there are organ, vessel"):
        cohort.chosen(["heart"])


def test_a_quarter_is_kept_by_chance_that_can_be_repeated():
    names = [f"v{k}" for k in range(8)]
    split = Split.of(names, 3)
    assert split == Split.of(names, 3)
    assert len(split.validation) == 2
    assert sorted(split.training + split.validation) == names
    assert any(Split.of(names, seed) != split for seed in range(5))
    assert len(Split.of(names[:2]).validation) == 1


def test_validation_volumes_can_be_named():
    assert Split.of(["a", "b", "c"], validation=["b"]) == Split(("a", "c"), ("b",))
    with pytest.raises(InputError, match="no volume 'x' to validate on; there are a, b"):
        Split.of(["a", "b"], validation=["x"])
    with pytest.raises(InputError, match="none is left to learn from"):
        Split.of(["a", "b"], validation=["a", "b"])
