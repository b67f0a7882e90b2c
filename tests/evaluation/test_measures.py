from __future__ import annotations

import numpy as np
import pytest

from openmedlab.core import InputError
from openmedlab.evaluation import (
    centre_click,
    corrective_click,
    dice,
    extreme_points,
    innermost,
    normalised_auc,
    shaken,
    surface_dice,
    tight_box,
)


def slab(first, last, shape=(12, 12, 12)):
    mask = np.zeros(shape, bool)
    mask[first : last + 1, 2:10, 2:10] = True
    return mask


def test_dice_by_hand():
    assert dice(slab(2, 5), slab(4, 7)) == pytest.approx(0.5)
    assert dice(slab(2, 5), slab(2, 5)) == 1
    assert dice(slab(2, 3), slab(8, 9)) == 0
    empty = np.zeros((12, 12, 12), bool)
    assert dice(empty, empty) == 1


def test_masks_of_different_shape_are_refused():
    with pytest.raises(InputError):
        dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))


def test_surface_dice_counts_shifts_up_to_the_tolerance_in_mm():
    a, b = slab(2, 5), slab(3, 6)
    assert surface_dice(a, a, (1, 1, 1)) == 1
    assert surface_dice(a, b, (1, 1, 1), tolerance=1) == 1
    assert surface_dice(a, b, (5, 1, 1), tolerance=2) < 1
    assert surface_dice(a, slab(3, 6), (2, 1, 1), tolerance=2) == 1


def test_surface_dice_by_hand():
    point, other = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    point[0, 0, 0] = True
    other[0, 0, 0] = other[4, 4, 4] = True
    assert surface_dice(point, other, (1, 1, 1)) == pytest.approx(2 / 3)
    assert surface_dice(point, np.zeros((5, 5, 5), bool), (1, 1, 1)) == 0


def test_the_normalised_area_is_between_the_values():
    assert normalised_auc([0.4]) == 0.4
    assert normalised_auc([0.0, 1.0]) == 0.5
    assert normalised_auc([0.5, 0.5, 0.5]) == 0.5
    assert normalised_auc([0.0, 1.0, 1.0]) == 0.75


def test_prompts_come_from_where_they_should():
    mask = slab(3, 7)
    points = extreme_points(mask)
    assert points.box == tight_box(mask)
    assert all(mask[tuple(p)] for p in points.positions().astype(int))
    assert centre_click(mask, (1, 1, 1)).position[0] == 5


def test_the_innermost_voxel_is_measured_in_mm():
    mask = np.zeros((5, 30, 30), bool)
    mask[1:4, 5:25, 5:25] = True
    mask[2, 5:25, 2:5] = True
    z, y, x = innermost(mask, (10.0, 1.0, 1.0))
    assert z in (1, 2, 3)
    assert 13 <= y <= 16
    assert 13 <= x <= 16


def test_the_border_of_the_volume_counts_as_outside():
    assert innermost(np.ones((7, 7, 7), bool), (1, 1, 1)) == (3, 3, 3)


def test_the_larger_error_is_clicked_with_its_sign():
    truth, mask = slab(2, 5), slab(2, 4)
    click = corrective_click(truth, mask, (1, 1, 1))
    assert click.positive
    assert click.position[0] == 5
    wrong = mask | slab(8, 11)
    click = corrective_click(truth, wrong, (1, 1, 1))
    assert not click.positive
    assert click.position[0] in (9, 10)
    assert corrective_click(truth, truth, (1, 1, 1)) is None


def test_diagonal_voxels_are_one_error_component():
    truth = np.zeros((8, 8, 8), bool)
    for k in range(5):
        truth[k, k, k] = True
    truth[7, 6:8, 0] = truth[7, 6, 1] = True
    click = corrective_click(truth, np.zeros_like(truth), (1, 1, 1))
    assert len(set(click.position)) == 1


def test_a_shaken_click_stays_in_the_structure():
    rng = np.random.default_rng(0)
    mask = slab(5, 5)
    moved = [shaken((5, 6, 6), 2.0, mask, rng) for _ in range(30)]
    assert all(mask[tuple(map(int, p))] for p in moved)
    assert len(set(moved)) > 5
