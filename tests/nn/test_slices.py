import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

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
from openmedlab.engine import EncodingCache, answer_prompts
from openmedlab.nn.slice_plan import Turn, choose_axis, plan_of
from openmedlab.nn.slices import SlicePromptable, grey_window


class Identity(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def image_encoder(self, x):
        self.seen += 1
        return x


class Bright(SlicePromptable):
    """Answers with the bright part under the points, or filling most of the box."""

    name = "bright"
    embedding_bytes = 1000
    input_side = 16

    def __init__(self, **options):
        super().__init__(Identity(), "cpu", "test", **options)
        self.turns = []

    def _input(self, picture):
        return torch.from_numpy(picture[..., 0].astype(np.float32))

    def _decode(self, embedding, shape, turn, low):
        assert tuple(embedding.shape) == shape
        self.turns.append((turn, low))
        parts, _ = ndimage.label(embedding.numpy() > 128)
        wanted = {
            parts[round(y), round(x)]
            for (x, y), s in zip(turn.points, turn.labels, strict=True)
            if s
        }
        if turn.box is not None and not turn.points:
            x0, y0, x1, y1 = (round(v) for v in turn.box)
            wanted = set(np.unique(parts[y0 : y1 + 1, x0 : x1 + 1]))
        mask = np.isin(parts, sorted(wanted - {0}))
        logits = torch.from_numpy(np.where(mask, 3.0, -3.0).astype(np.float32))
        return logits, 0.9, logits

    def _low_of_mask(self, plane):
        return torch.from_numpy(np.where(plane, 8.0, -8.0).astype(np.float32))


SHAPE = (30, 40, 50)


def ellipsoid(centre=(15, 20, 25), radii=(9, 12, 14)):
    grid = np.indices(SHAPE).astype(float)
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1


def volume_of(mask, spacing=(3.0, 1.0, 1.0)):
    noise = np.random.default_rng(0).integers(0, 20, SHAPE)
    return Volume((mask * 400 + noise).astype(np.int16), Geometry.from_spacing(SHAPE, spacing))


def segment(model, volume, prompts, previous=None, encoding=None, cancel=None):
    progress, cancel = Progress(), cancel or CancelToken()
    if encoding is None:
        region = model.region(volume.geometry, prompts)
        encoding = model.encode(volume, region, progress, cancel)
    patch = model.predict(encoding, prompts, previous, progress, cancel)
    whole = np.zeros(volume.shape, bool)
    whole[patch.region.slices] = patch.mask
    return patch, whole, encoding


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def model():
    return Bright()


def test_it_is_a_promptable(model):
    assert isinstance(model, Promptable)
    assert model.capabilities.dimensions == 2


@pytest.mark.parametrize(
    ("prompt", "axis"),
    [
        (Lasso(((5, 5, 9), (5, 9, 9), (9, 5, 9))), 2),
        (Box((3, 7, 3), (9, 7, 9)), 1),
        (Scribble.from_path([(4, 3, 3), (4, 8, 9)]), 0),
        (Scribble.from_path([(4, 3, 3), (4, 8, 3)]), None),
        (Point((1, 2, 3)), None),
        (Box((3, 4, 3), (9, 7, 9)), None),
    ],
)
def test_plane_is_that_of_a_flat_prompt(prompt, axis):
    coarse_y = Geometry.from_spacing(SHAPE, (1.0, 4.0, 1.0))
    assert choose_axis([prompt], coarse_y) == (1 if axis is None else axis)


def test_plane_is_axial_when_all_are_equally_fine():
    direction = np.eye(3)[:, [0, 2, 1]]  # index axes run along x, z, y of the world
    geometry = Geometry.from_spacing(SHAPE, (1.0, 1.0, 1.0), direction=direction)
    assert choose_axis([Point((1, 2, 3))], geometry) == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_click_finds_the_whole_object_in_any_plane(model, axis):
    mask = ellipsoid()
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 3.0
    volume = volume_of(mask, spacing)
    patch, got, _ = segment(model, volume, [Point((15, 20, 25))])
    assert dice(got, mask) > 0.95
    assert patch.given[-1].endswith(f"across {'zyx'[axis]}")
    assert patch.logits.dtype == np.float32


def test_every_kind_of_prompt_finds_the_object(model):
    mask = ellipsoid()
    volume = volume_of(mask)
    extreme = [(7, 20, 25), (23, 20, 25), (15, 9, 25), (15, 31, 25), (15, 20, 12), (15, 20, 38)]
    for prompt in [
        Point((15, 20, 25)),
        Box((6, 8, 11), (24, 32, 39)),
        Box((15, 8, 11), (15, 32, 39)),
        Scribble.from_path([(15, 18, 20), (15, 24, 30)]),
        Lasso(((15, 15, 20), (15, 15, 30), (15, 25, 25))),
        ExtremePoints(tuple(map(tuple, extreme))),
        MaskPrompt.from_array(mask),
    ]:
        patch, got, _ = segment(model, volume, [prompt])
        assert dice(got, mask) > 0.9, prompt.kind
        assert patch.given[0].startswith(prompt.kind)


def test_extreme_points_bound_the_search(model):
    tube = np.zeros(SHAPE, bool)
    tube[:, 15:25, 20:30] = True
    extreme = [(8, 20, 25), (20, 20, 25), (14, 15, 25), (14, 24, 25), (14, 20, 20), (14, 20, 29)]
    patch, _, _ = segment(model, volume_of(tube), [ExtremePoints(tuple(map(tuple, extreme)))])
    assert (patch.region.start[0], patch.region.stop[0]) == (8, 21)


def test_following_stops_where_the_object_ends_and_where_it_jumps(model):
    two = np.zeros(SHAPE, bool)
    two[5:12, 10:20, 10:20] = True
    two[12:25, 5:38, 5:45] = True
    patch, _, _ = segment(model, volume_of(two), [Point((8, 15, 15))])
    assert (patch.region.start[0], patch.region.stop[0]) == (5, 12)


def test_two_marked_slices_meet_halfway(model):
    mask = ellipsoid()
    marks = [Point((11, 20, 25)), Point((19, 20, 25))]
    _, got, _ = segment(model, volume_of(mask), marks)
    assert dice(got, mask) > 0.95
    plan = plan_of(marks, volume_of(mask).geometry)
    assert plan.reach(11, 30) == (0, 15)
    assert plan.reach(19, 30) == (16, 29)


def test_neighbours_are_given_box_point_and_logits_of_the_last_mask(model):
    mask = ellipsoid()
    segment(model, volume_of(mask), [Point((15, 20, 25))])
    turn, low = model.turns[1]
    assert turn.box == (12, 9, 38, 31)
    assert turn.labels == (1,)
    assert low is not None


def test_negative_point_on_a_followed_slice_is_given_along(model):
    mask = ellipsoid()
    prompts = [Point((15, 20, 25)), Point((18, 3, 3), False)]
    _, got, _ = segment(model, volume_of(mask), prompts)
    assert any(t.labels == (0, 1) for t, _ in model.turns)
    assert dice(got, mask) > 0.9


def test_without_propagation_only_the_marked_slice_is_answered():
    model = Bright(propagate=False)
    patch, got, _ = segment(model, volume_of(ellipsoid()), [Point((15, 20, 25))])
    assert patch.region.shape[0] == 1
    np.testing.assert_array_equal(got[15], ellipsoid()[15])


def test_further_clicks_encode_no_slice_again_and_play_one_round():
    model = Bright(propagate=False)
    volume = volume_of(ellipsoid())
    prompts = [Point((15, 20, 25)), Point((15, 2, 2), False), Point((15, 22, 25))]
    patch, _, encoding = segment(model, volume, prompts[:1])
    for k in (2, 3):
        patch, resumed, _ = segment(model, volume, prompts[:k], patch, encoding)
    assert model._run.network.seen == 1
    assert [len(t.labels) for t, _ in model.turns] == [1, 2, 3]
    assert model.turns[-1][1] is not None
    _, replayed, _ = segment(model, volume, prompts)
    np.testing.assert_array_equal(resumed, replayed)


def test_mask_prompt_starts_from_its_own_slices_and_keeps_agreeing_clicks(model):
    mask = ellipsoid()
    prompts = [Point((15, 20, 25)), Point((15, 2, 2)), MaskPrompt.from_array(mask)]
    plan = plan_of(prompts, volume_of(mask).geometry)
    assert set(plan.turns) == set(range(7, 24))
    assert plan.turns[15][0].labels == (1,)
    assert plan.turns[15][0].points == ((25.0, 20.0),)
    segment(model, volume_of(mask), prompts)
    assert all(low is not None for _, low in model.turns)


def test_clicked_voxels_come_out_as_clicked(model):
    prompts = [Point((15, 20, 25)), Point((15, 21, 25), False), Point((2, 2, 2))]
    _, got, _ = segment(model, volume_of(ellipsoid()), prompts)
    assert not got[15, 21, 25]
    assert got[2, 2, 2]


def test_nothing_found_is_an_empty_answer_around_the_click(model):
    patch, got, _ = segment(model, volume_of(ellipsoid()), [Point((1, 1, 1))])
    assert got.sum() == 1
    assert got[1, 1, 1]
    assert patch.region.shape[0] <= 2


def test_cancelled_between_slices(model):
    cancel = CancelToken()
    volume = volume_of(ellipsoid())
    _, _, encoding = segment(model, volume, [Point((15, 20, 25))])
    cancel.cancel()
    with pytest.raises(Cancelled):
        segment(model, volume, [Point((15, 20, 25))], None, encoding, cancel)


def test_only_negative_prompts_are_refused(model):
    with pytest.raises(PromptError, match="negative"):
        segment(model, volume_of(ellipsoid()), [Point((15, 20, 25), False)])


def test_prefetch_encodes_the_slices_beyond_the_answer_nearest_first(model):
    volume = volume_of(ellipsoid())
    patch, _, encoding = segment(model, volume, [Point((15, 20, 25))])
    first, last = patch.region.start[0], patch.region.stop[0] - 1
    seen = set(encoding.data.embeddings)
    model.prefetch(encoding, patch, CancelToken())
    new = [place for place in encoding.data.embeddings if place not in seen]
    assert new
    assert all(axis == 0 and not first <= index <= last for axis, index in new)
    distance = [max(first - index, index - last) for _, index in new]
    assert distance == sorted(distance)


def test_slices_encoded_once_survive_on_disk(model, tmp_path):
    volume = volume_of(ellipsoid())
    region = volume.geometry.region
    prompts = [Point((15, 20, 25))]
    patches = []
    for _ in range(2):
        cache = EncodingCache(folder=tmp_path)
        patches.append(answer_prompts(model, volume, prompts, cache=cache))
        cache.tend(model, volume, region, patches[-1], CancelToken())
    fresh = EncodingCache(folder=tmp_path).encode(model, volume, region, Progress(), CancelToken())
    used = {(0, k) for k in range(patches[0].region.start[0], patches[0].region.stop[0])}
    assert used <= set(fresh.data.embeddings)
    np.testing.assert_array_equal(patches[0].logits, patches[1].logits)


def test_grey_levels(model):
    volume = volume_of(ellipsoid())
    low, high = grey_window(volume)
    assert low < 20
    assert 400 < high < 425
    ct = Volume(volume.array, volume.geometry, "CT")
    assert grey_window(ct) == (-160, 240)
    empty = Volume(np.zeros(SHAPE), volume.geometry)
    scene = model.encode(empty, empty.geometry.region, Progress(), CancelToken()).data
    assert scene.picture(1, 3).shape == (30, 50, 3)


def test_turns_accumulate():
    turn = Turn().adding([((1.0, 2.0), 1)], (0, 0, 3, 3)).adding([((4.0, 5.0), 0)], None)
    assert turn == Turn(((1.0, 2.0), (4.0, 5.0)), (1, 0), (0, 0, 3, 3))
