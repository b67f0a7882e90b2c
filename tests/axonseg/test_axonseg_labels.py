import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from openmedlab.axonseg.annotate import clean, cut_mix, fine_label, match_histogram, rough_label
from openmedlab.axonseg.wholebrain import WholeBrain
from openmedlab.core.errors import InputError

PUBLIC = Path(os.environ.get("OPENMEDLAB_SAMPLES", "absent")) / "axon" / "public"
needs_data = pytest.mark.skipif(not PUBLIC.is_dir(), reason="OPENMEDLAB_SAMPLES has no axons")


@needs_data
def test_the_published_fine_label_follows_from_the_rough_one_to_the_voxel():
    rough = tifffile.imread(PUBLIC / "cube1002_rough_full150.tif")
    fine = tifffile.imread(PUBLIC / "cube1002_fine_full150.tif") > 0
    assert fine.any()
    assert np.array_equal(fine_label(rough), fine)


@needs_data
def test_the_automatic_rough_label_is_like_the_published_one():
    image = tifffile.imread(PUBLIC / "cube1001_image.tif")
    published = tifffile.imread(PUBLIC / "cube1001_rough.tif") > 0
    made = rough_label(image)
    dice = 2 * (made & published).sum() / (made.sum() + published.sum())
    assert dice > 0.6


def test_rough_label_finds_lines_and_nothing_in_noise():
    random = np.random.default_rng(1)
    noise = random.normal(1000, 20, (40, 40, 40))
    line = noise.copy()
    line[20, 20] += 800
    found = clean(rough_label(line.astype(np.uint16)))
    assert found[20, 20].mean() > 0.9
    assert clean(rough_label(noise.astype(np.uint16))).mean() < 0.001


def test_fine_label_drops_specks_and_thins():
    rough = np.zeros((20, 20, 40), bool)
    rough[8:11, 8:11, 5:35] = True
    rough[2, 2, 2:6] = True
    fine = fine_label(rough)
    assert not fine[:5].any()
    assert 0 < fine.sum() < rough.sum() * 0.7


def test_cut_mix_puts_an_unlabelled_corner_in():
    axons = np.full((10, 12, 14), 5), np.ones((10, 12, 14), np.uint8)
    artefacts = np.full((8, 20, 14), 9)
    for seed in range(5):
        image, label = cut_mix(np.random.default_rng(seed), axons, artefacts)
        assert np.array_equal(image == 9, label == 0)
        assert label[0, 0, 0] == 0
        assert not label[: (image[:, 0, 0] == 9).sum(), 0, 0].any()
    assert axons[0].max() == 5


def test_matched_grey_values_are_those_of_the_source():
    random = np.random.default_rng(2)
    image = random.integers(0, 100, (20, 20, 20)).astype(np.uint16)
    source = random.integers(1000, 5000, (20, 20, 20)).astype(np.uint16)
    matched = match_histogram(image, source)
    assert matched.dtype == np.uint16
    for percent in (5, 50, 95):
        wanted = np.percentile(source, percent)
        assert np.percentile(matched, percent) == pytest.approx(wanted, rel=0.05)
    assert np.corrcoef(image.ravel(), matched.ravel())[0, 1] > 0.95


def test_a_part_thinner_than_a_window_is_refused():
    with pytest.raises(InputError, match="at least 88"):
        WholeBrain((0, 0, 0), (200, 200, 50)).chunks()
