import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import prompts, seeds

from openmedlab.core import (
    Box,
    ClassName,
    ExtremePoints,
    Geometry,
    Lasso,
    LogitsPatch,
    MaskPrompt,
    Point,
    PromptError,
    Region,
    Scribble,
    check_prompts,
    hard_voxels,
    pin,
    prompt_from_json,
)
from openmedlab.core.translate import lasso_voxels, spread, translate

SHAPE = (6, 8, 7)
GRID = Geometry.from_spacing(SHAPE, (3, 1, 1))


@given(prompts(SHAPE))
def test_a_prompt_survives_json(prompt):
    assert prompt_from_json(json.loads(json.dumps(prompt.to_json()))) == prompt


@given(seeds)
def test_a_mask_prompt_survives_json_and_placing(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((4, 5, 6)) > 0.7
    mask[tuple(rng.integers(0, mask.shape))] = True
    prompt = MaskPrompt.from_array(mask, (1, 2, 3))
    again = prompt_from_json(json.loads(json.dumps(prompt.to_json())))
    np.testing.assert_array_equal(again.array(Region((1, 2, 3), (5, 7, 9))), mask)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Point((1, 2)), "three coordinates"),
        (lambda: Point((1, 2, np.nan)), "not a number"),
        (lambda: Scribble(()), "empty"),
        (lambda: Scribble.from_path([(0, 0, np.inf)]), "not a number"),
        (lambda: ExtremePoints(((0, 0, 0),) * 5), "sixes.*5 were given"),
        (lambda: Lasso(((0, 0, 0), (0, 1, 1))), "three corners"),
        (lambda: Lasso(((0, 0, 0), (1, 1, 2), (2, 3, 4))), "one slice"),
        (lambda: Box((0, 0, 0), (0, 0, 5)), "thinner"),
        (lambda: MaskPrompt.from_array(np.zeros((2, 2, 2))), "empty"),
        (lambda: Point((9, 0, 0)).check(GRID), "outside the volume"),
        (lambda: check_prompts([Point((1, 1, 1), False)], GRID), "Only negative"),
        (lambda: check_prompts([], GRID), "Only negative|positive"),
        (lambda: prompt_from_json({"kind": "wish"}), "not a kind"),
        (lambda: prompt_from_json({"kind": "box", "lower": [0, 0, 0]}), "lacks a value"),
        (lambda: translate([ClassName("liver")], {"point"}), "does not take"),
    ],
)
def test_bad_prompts_get_one_clear_sentence(make, says):
    with pytest.raises(PromptError, match=says) as caught:
        make()
    assert str(caught.value).endswith(".")


def test_box_sides_may_come_in_any_order_and_flat_boxes_know_their_slice():
    box = Box((2, 5, 1), (2, 1, 6))
    assert (box.lower, box.upper) == ((2, 1, 1), (2, 5, 6))
    assert box.flat_axis == 0
    assert box.region == Region((2, 1, 1), (3, 6, 7))
    assert Box((0, 0, 0), (3, 3, 3)).flat_axis is None


def test_a_scribble_path_has_no_gaps():
    voxels = np.array(Scribble.from_path([(0, 0, 0), (5, 7, 3), (5, 0, 0)]).points)
    assert np.abs(np.diff(voxels, axis=0)).max() == 1


def test_lasso_inside_of_a_concave_outline():
    horseshoe = [(0, 0), (0, 6), (6, 6), (6, 4), (2, 4), (2, 2), (6, 2), (6, 0)]
    inside = {tuple(v) for v in lasso_voxels(Lasso(tuple((3, y, x) for y, x in horseshoe)))}
    assert (3, 1, 3) in inside
    assert (3, 5, 1) in inside
    assert (3, 5, 3) not in inside
    assert {v[0] for v in inside} == {3}


@given(st.permutations(range(3)))
def test_lasso_works_in_every_plane(order):
    corners = np.array([(2, 1, 1), (2, 1, 4), (2, 4, 4), (2, 4, 1)])[:, order]
    lasso = Lasso(tuple(map(tuple, corners)))
    assert lasso.axis == list(order).index(0)
    assert len(lasso_voxels(lasso)) >= 9


@given(st.lists(prompts(SHAPE), min_size=1, max_size=5), seeds)
def test_pinned_masks_never_contradict_a_prompt(given_prompts, seed):
    rng = np.random.default_rng(seed)
    region = Region((1, 1, 1), (5, 6, 6))
    patch = LogitsPatch(region, rng.normal(size=region.shape).astype(np.float32), "any")
    pinned = pin(patch, given_prompts)
    mask = np.zeros(SHAPE, bool)
    mask[pinned.region.clipped(SHAPE).slices] = pinned.mask
    inside, outside = hard_voxels(given_prompts)
    assert mask[tuple(inside.T)].all()
    assert not mask[tuple(outside.T)].any()


def test_an_answer_that_agrees_is_not_copied():
    region = Region((0, 0, 0), (3, 3, 3))
    patch = LogitsPatch(region, np.ones(region.shape, np.float32), "any")
    assert pin(patch, [Point((1, 1, 1)), Point((5, 5, 5), False)]) is patch
    assert pin(patch, [Point((1, 1, 1), False)]) is not patch
    assert pin(patch, [Point((4, 4, 4))]).region.contains(region)


def test_the_newest_of_two_contradicting_clicks_wins():
    inside, outside = hard_voxels([Point((1, 1, 1)), Point((1, 1, 1.2), False)])
    assert len(inside) == 0
    assert outside.tolist() == [[1, 1, 1]]


def test_a_brushed_mask_overrules_earlier_clicks_but_not_later_ones():
    mask = np.zeros((3, 3, 3), bool)
    mask[0] = True
    brushed = MaskPrompt.from_array(mask)
    clicks = [Point((0, 0, 0)), Point((2, 2, 2)), Point((0, 1, 1), False), Point((5, 5, 5), False)]
    inside, outside = hard_voxels([*clicks, brushed, Point((2, 0, 0))])
    assert inside.tolist() == [[0, 0, 0], [2, 0, 0]]
    assert outside.tolist() == [[5, 5, 5]]


def test_translation_says_what_was_given():
    six = ExtremePoints(((0, 3, 3), (5, 3, 3), (3, 0, 3), (3, 7, 3), (3, 3, 0), (3, 3, 6)))
    out, words = translate([six], {"box", "point"})
    assert [p.kind for p in out] == ["box"] + ["point"] * 6
    assert words == ("extreme points as 1 box + 6 point",)
    out, _ = translate([six], {"point"})
    assert {p.kind for p in out} == {"point"}


@given(st.lists(prompts(SHAPE), min_size=1, max_size=4), st.sampled_from(["point", "box"]))
def test_everything_becomes_points_or_boxes(given_prompts, also):
    out, words = translate(given_prompts, {"point", also})
    assert {p.kind for p in out} <= {"point", "box"}
    assert len(words) == len(given_prompts)
    for prompt in out:
        prompt.check(GRID)


def test_spread_points_are_far_apart():
    line = np.array([(0, 0, x) for x in range(100)], float)
    chosen = spread(line, 3)[:, 2]
    assert sorted(chosen)[0] < 5
    assert sorted(chosen)[-1] > 94
