"""Promises of the built-in method: no prompt contradicted, local, repeatable, cancellable."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_scenes import make_scene, segment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openmedlab.builtin import ClickSegmenter
from openmedlab.core import (
    Box,
    Cancelled,
    CancelToken,
    ExtremePoints,
    Geometry,
    Lasso,
    MaskPrompt,
    Point,
    Progress,
    Promptable,
    PromptError,
    Scribble,
    Volume,
)
from openmedlab.core.constraints import hard_voxels
from openmedlab.core.prompts import KINDS
from openmedlab.evaluation import extreme_points

SHAPE = (9, 14, 17)
voxel = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
sign = st.booleans()


@pytest.fixture
def scene():
    return make_scene()


@st.composite
def lassos(draw):
    axis = draw(st.integers(0, 2))
    corners = np.array(draw(st.lists(voxel, min_size=3, max_size=5)), float)
    corners[:, axis] = corners[0, axis]
    return Lasso(tuple(map(tuple, corners)), draw(sign))


@st.composite
def boxes(draw):
    a, b = np.array(draw(voxel)), np.array(draw(voxel))
    b = np.where((np.abs(a - b) < 1) & (np.arange(3) > 0), (a + 3) % SHAPE, b)
    return Box(tuple(a), tuple(b))


prompt = st.one_of(
    st.builds(Point, voxel, sign),
    st.builds(Point, st.tuples(*(st.floats(-0.4, n - 0.6) for n in SHAPE)), sign),
    st.builds(lambda p, s: Scribble.from_path(p, s), st.lists(voxel, min_size=1, max_size=4), sign),
    lassos(),
    boxes(),
)


def small_volume(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, SHAPE) + 3 * (np.indices(SHAPE)[2] > 8)
    return Volume(image, Geometry.from_spacing(SHAPE, (3.0, 1.0, 1.0)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(prompt, min_size=1, max_size=5), st.integers(0, 3))
def test_no_prompt_is_ever_contradicted(prompts, seed):
    volume = small_volume(seed)
    if not any(p.positive for p in prompts):
        with pytest.raises(PromptError):
            segment(volume, prompts)
        return
    mask, _ = segment(volume, prompts)
    inside, outside = hard_voxels(prompts)
    assert mask[tuple(inside.T)].all()
    assert not mask[tuple(outside.T)].any()


def test_it_is_a_promptable_and_takes_all_but_class_names():
    method = ClickSegmenter()
    assert isinstance(method, Promptable)
    assert method.name == "builtin"
    assert method.capabilities.prompts == set(KINDS) - {"class name"}


def test_the_answer_depends_on_the_prompts_alone(scene):
    volume, _ = scene
    prompts = [
        Point((16, 24, 28)),
        Point((16, 24, 50), False),
        Scribble.from_path([(12, 20, 24), (12, 28, 30)]),
    ]
    at_once, _ = segment(volume, prompts)
    again, _ = segment(volume, prompts)
    patch = None
    for count in range(1, 4):
        stepwise, patch = segment(volume, prompts[:count], previous=patch)
    assert np.array_equal(at_once, again)
    assert np.array_equal(at_once, stepwise)


def test_taking_a_prompt_back_gives_the_earlier_mask(scene):
    volume, _ = scene
    prompts = [Point((16, 24, 28)), Point((16, 24, 33), False)]
    first, _ = segment(volume, prompts[:1])
    _, patch = segment(volume, prompts)
    back, _ = segment(volume, prompts[:1], previous=patch)
    assert np.array_equal(first, back)


def test_the_newest_of_contradicting_clicks_wins(scene):
    volume, _ = scene
    place = (16, 24, 28)
    mask, _ = segment(volume, [Point(place), Point(place, False)])
    assert not mask[place]
    mask, _ = segment(volume, [Point(place), Point(place, False), Point(place)])
    assert mask[place]


def test_the_region_does_not_grow_with_the_volume():
    small = Geometry.from_spacing((400, 400, 400))
    large = Geometry.from_spacing((900, 2000, 2000))
    method = ClickSegmenter()
    for prompts in (
        [Point((200, 200, 200))],
        [Box((180, 170, 160), (220, 230, 240))],
        [Point((200, 200, 200)), Point((205, 210, 150), False)],
    ):
        assert method.region(small, prompts).shape == method.region(large, prompts).shape


def test_further_clicks_in_the_neighbourhood_keep_the_region():
    geometry = Geometry.from_spacing((400, 400, 400))
    method = ClickSegmenter()
    first = [Point((200, 200, 200))]
    region = method.region(geometry, first)
    assert method.region(geometry, [*first, Point((230, 180, 210), False)]) == region
    assert method.region(geometry, [*first, Point((390, 10, 10))]).contains(region)


def test_prompts_without_a_positive_one_are_refused(scene):
    volume, _ = scene
    for lone in ([], [Point((1, 1, 1), False)], [Box((1, 1, 1), (5, 5, 5), False)]):
        with pytest.raises(PromptError):
            ClickSegmenter().region(volume.geometry, lone)


def test_a_click_outside_of_the_volume_is_refused(scene):
    volume, _ = scene
    with pytest.raises(PromptError, match="outside"):
        ClickSegmenter().region(volume.geometry, [Point((100, 0, 0))])


def test_cancelling_stops_it(scene):
    volume, organ = scene
    method = ClickSegmenter()
    prompts = [extreme_points(organ)]
    region = method.region(volume.geometry, prompts)
    encoding = method.encode(volume, region, Progress(), CancelToken())
    cancelled = CancelToken()
    cancelled.cancel()
    for work in (
        lambda: method.encode(volume, region, Progress(), cancelled),
        lambda: method.predict(encoding, prompts, None, Progress(), cancelled),
    ):
        with pytest.raises(Cancelled):
            work()


def test_cancelling_between_prompts_stops_it(scene):
    volume, _ = scene
    method = ClickSegmenter()
    prompts = [Point((16, 24, 28)), Point((16, 24, 33), False)]
    region = method.region(volume.geometry, prompts)
    encoding = method.encode(volume, region, Progress(), CancelToken())
    cancel = CancelToken()
    progress = Progress(lambda done, total, text: cancel.cancel() if done == 1 else None)
    with pytest.raises(Cancelled):
        method.predict(encoding, prompts, None, progress, cancel)


def test_progress_is_reported(scene):
    volume, _ = scene
    seen = []
    progress = Progress(lambda *report: seen.append(report))
    method = ClickSegmenter()
    region = method.region(volume.geometry, [Point((16, 24, 28))])
    encoding = method.encode(volume, region, progress, CancelToken())
    method.predict(encoding, [Point((16, 24, 28))], None, progress, CancelToken())
    assert seen[-1][0] == seen[-1][1]


def test_images_with_no_contrast_or_with_nan_still_get_an_answer():
    for image in (np.zeros((8, 20, 20), np.int16), np.full((8, 20, 20), np.nan)):
        volume = Volume(image, Geometry.from_spacing(image.shape))
        for prompts in ([Point((4, 10, 10))], [Box((2, 5, 5), (6, 15, 15))]):
            mask, _ = segment(volume, [*prompts, Point((4, 10, 11))])
            assert mask[4, 10, 11]


def test_the_volume_is_not_copied(scene):
    volume, _ = scene
    method = ClickSegmenter()
    region = method.region(volume.geometry, [Point((16, 24, 28))])
    encoding = method.encode(volume, region, Progress(), CancelToken())
    assert np.shares_memory(encoding.data.image, volume.array)
    assert encoding.nbytes == 0


def test_a_mask_to_start_from_is_kept_and_refined(scene):
    volume, organ = scene
    half = organ.copy()
    half[:, :, 28:] = False
    start = MaskPrompt.from_array(half)
    kept, _ = segment(volume, [start])
    assert np.array_equal(kept, half)
    refined, _ = segment(volume, [start, Point((16, 24, 32))])
    assert refined[16, 24, 32]
    gained = (refined & organ).sum() - half.sum()
    assert gained > 0.3 * (organ.sum() - half.sum())


def test_brush_strokes_far_from_a_click_survive_it():
    volume, organ = make_scene((32, 48, 96))
    painted = organ.copy()
    painted[3:5, 3:5, 3:5] = True
    mask, _ = segment(volume, [MaskPrompt.from_array(painted), Point((16, 24, 80), False)])
    assert mask[3:5, 3:5, 3:5].all()


def test_a_mask_drops_the_marks_it_contradicts(scene):
    volume, organ = scene
    start = MaskPrompt.from_array(organ)
    mask, _ = segment(volume, [Point((2, 2, 2)), start])
    assert np.array_equal(mask, organ)


def test_a_click_on_what_is_already_right_changes_nothing(scene):
    volume, organ = scene
    prompts = [MaskPrompt.from_array(organ)]
    before, _ = segment(volume, prompts)
    after, _ = segment(volume, [*prompts, Point((16, 24, 28)), Point((1, 1, 1), False)])
    assert np.array_equal(before, after)


def test_extreme_points_and_boxes_stay_close_to_their_box(scene):
    volume, organ = scene
    for first in (extreme_points(organ), Box((10, 12, 14), (22, 36, 42))):
        mask, _ = segment(volume, [first])
        area = (first.box if isinstance(first, ExtremePoints) else first).region.padded(2)
        outside = mask.copy()
        outside[area.clipped(volume.shape).slices] = False
        assert not outside.any()
