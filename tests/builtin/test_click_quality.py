"""How well the built-in method does where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_scenes import ellipsoid, make_scene, segment

from openmedlab.builtin import ClickSegmenter
from openmedlab.core import Box, Geometry, Lasso, Point, Scribble, Volume
from openmedlab.evaluation import Protocol, centre_click, dice, extreme_points, run_case, tight_box
from openmedlab.io.phantom import phantom


@pytest.fixture
def scene():
    return make_scene()


@pytest.mark.parametrize("kind", ["extreme", "box", "click"])
def test_a_clear_organ_is_found_from_any_first_prompt(scene, kind):
    volume, organ = scene
    first = {
        "extreme": extreme_points(organ),
        "box": tight_box(organ),
        "click": centre_click(organ, volume.geometry.spacing),
    }[kind]
    mask, _ = segment(volume, [first])
    assert dice(organ, mask) > 0.85


@pytest.mark.parametrize("levels", [(110.0, 40.0), (900.0, 400.0), (0.1, 0.9), (-1000.0, 40.0)])
def test_contrast_and_scale_do_not_matter(levels):
    volume, organ = make_scene(levels=levels, noise=abs(levels[1] - levels[0]) / 12)
    mask, _ = segment(volume, [extreme_points(organ)])
    assert dice(organ, mask) > 0.85


def test_a_drifting_mr_like_field_is_tolerated(scene):
    volume, organ = scene
    drift = 1 + 0.4 * np.linspace(-1, 1, volume.shape[2])
    drifted = Volume(np.asarray(volume.array) * drift, volume.geometry, "MR")
    mask, _ = segment(drifted, [extreme_points(organ)])
    assert dice(organ, mask) > 0.8


def test_oblique_and_anisotropic_grids_are_ordinary():
    angle = np.deg2rad(25)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1]]
    )
    volume, organ = make_scene((14, 60, 70), (6.0, 0.8, 1.0), direction=turn[:, ::-1])
    mask, _ = segment(volume, [centre_click(organ, volume.geometry.spacing)])
    assert dice(organ, mask) > 0.8


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_a_volume_too(axis):
    volume, organ = make_scene((1, 60, 60), (1.0, 1.0, 1.0))
    order = np.roll([0, 1, 2], axis)
    organ = np.transpose(organ, order)
    image = np.transpose(np.asarray(volume.array), order)
    flat = Volume(image, Geometry.from_spacing(image.shape))
    for first in (tight_box(organ), centre_click(organ, (1, 1, 1))):
        mask, _ = segment(flat, [first])
        assert dice(organ, mask) > 0.85


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flat_box_reaches_beyond_its_slice(scene, axis):
    volume, organ = scene
    box = tight_box(organ)
    middle = volume.shape[axis] // 2
    lower, upper = list(box.lower), list(box.upper)
    lower[axis] = upper[axis] = middle
    mask, _ = segment(volume, [Box(tuple(lower), tuple(upper))])
    others = tuple(k for k in range(3) if k != axis)
    assert mask.any(axis=others).sum() > 0.6 * organ.any(axis=others).sum()
    assert dice(organ, mask) > 0.75
    on_slice = np.take(mask, middle, axis)
    assert dice(np.take(organ, middle, axis), on_slice) > 0.85


def test_a_scribble_or_lasso_can_open(scene):
    volume, organ = scene
    stroke = Scribble.from_path([(16, 20, 24), (16, 28, 32)])
    lasso = Lasso(((16, 19, 22), (16, 19, 34), (16, 29, 34), (16, 29, 22)))
    for first in (stroke, lasso):
        mask, _ = segment(volume, [first])
        assert dice(organ, mask) > 0.75


def test_a_negative_click_takes_a_neighbour_away():
    shape = (32, 48, 64)
    left = ellipsoid(shape, (16, 24, 20), (9, 12, 11))
    right = ellipsoid(shape, (16, 24, 44), (9, 12, 11))
    bridge = ellipsoid(shape, (16, 24, 32), (3, 4, 8))
    image = np.where(left | right | bridge, 100.0, 0.0)
    image += np.random.default_rng(1).normal(0, 8, shape)
    volume = Volume(image, Geometry.from_spacing(shape, (1.5, 1.0, 1.0)))
    both = left | right | bridge
    before = Box((7, 12, 9), (25, 36, 55))
    mask, _ = segment(volume, [before])
    cut, _ = segment(volume, [before, Point((16, 24, 44), False)])
    assert dice(both, mask) > 0.8
    assert dice(left, cut) > dice(left, mask) + 0.1


def test_corrective_clicks_help_on_the_phantom():
    volume, labels = phantom((40, 100, 120))
    firsts, lasts = [], []
    for number, label in labels.labels.items():
        organ = labels.array == number
        if organ.sum() < 200 or "vertebrae" in label.name:
            continue
        case = run_case(ClickSegmenter(), volume, organ, label.name, Protocol("extreme", 2))
        firsts.append(case.dice[0])
        lasts.append(case.dice[-1])
    assert len(firsts) > 5
    assert np.mean(firsts) > 0.6
    assert np.mean(lasts) > np.mean(firsts)
