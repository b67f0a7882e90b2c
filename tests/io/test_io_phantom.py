"""The procedural torso."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from openmedlab.io import phantom


def test_a_torso_on_an_oblique_anisotropic_grid() -> None:
    volume, labels = phantom()
    assert volume.shape == labels.array.shape == (60, 160, 200)
    assert (volume.dtype, labels.array.dtype, volume.modality) == (np.int16, np.uint8, "CT")
    assert volume.geometry == labels.geometry
    assert volume.geometry.is_oblique
    assert not volume.geometry.is_sheared
    assert max(volume.geometry.spacing) > 2 * min(volume.geometry.spacing)
    assert set(np.unique(labels.array)) == {0, *labels.labels}
    assert all(label.code.isdigit() and label.color for label in labels.labels.values())


def test_organs_are_whole_and_have_their_density() -> None:
    volume, labels = phantom()
    numbers = {label.name: n for n, label in labels.labels.items()}
    expected = {
        "lung_left": (-870, -780), "liver": (90, 120), "spleen": (95, 130), "aorta": (180, 230),
        "kidney_left": (150, 190), "vertebrae_L1": (230, 360), "trachea": (-1000, -850),
    }  # fmt: skip
    for name, (low, high) in expected.items():
        mask = labels.array == numbers[name]
        assert low < volume.read()[mask].mean() < high, name
        parts, _ = ndimage.label(mask)
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.97 * sizes.sum(), name
    air = volume.read()[0, 0, 0]
    assert air < -900


def test_left_is_left() -> None:
    volume, labels = phantom((30, 60, 70))
    numbers = {label.name: n for n, label in labels.labels.items()}

    def centre(name: str) -> np.ndarray:
        where = np.argwhere(labels.array == numbers[name])
        return volume.geometry.index_to_world(where).mean(0)

    assert centre("kidney_left")[0] > 30 > -30 > centre("kidney_right")[0]
    assert centre("liver")[0] < 0 < centre("spleen")[0]
    assert centre("heart")[2] > centre("liver")[2] > centre("kidney_left")[2]
    assert centre("vertebrae_T10")[1] > centre("aorta")[1] > centre("heart")[1]


def test_seeds_repeat_and_differ() -> None:
    one, again, other = (phantom((20, 40, 50), seed)[0].read() for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5
