import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from openmedlab.core import (
    Box,
    Cancelled,
    CancelToken,
    ClassName,
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
from openmedlab.sam_med3d.predictor import SamMed3D


class Threshold(nn.Module):
    """Stands in for the network: bright is object; counts its calls."""

    def __init__(self):
        super().__init__()
        self.encoded, self.decoded = 0, []

    def image_encoder(self, x):
        self.encoded += 1
        return functional.avg_pool3d(x - (x.max() + x.min()) / 2, 4)

    def decode(self, embedding, points, labels, previous):
        self.decoded.append((points[0].numpy(), labels[0].numpy(), previous))
        return embedding


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q


def ball(shape, spacing, radius, direction=None, centre=None):
    """A bright ball (world radius) on dark ground, and its mask."""
    geometry = Geometry.from_spacing(shape, spacing, (3.0, 4.0, 5.0), direction)
    centre = (np.array(shape) - 1) / 2 if centre is None else np.asarray(centre)
    offsets = [(np.arange(n) - c) * s for n, c, s in zip(shape, centre, spacing, strict=True)]
    z, y, x = np.ix_(*offsets)
    mask = z * z + y * y + x * x < radius * radius
    noise = np.random.default_rng(0).integers(0, 9, shape)
    return Volume((np.where(mask, 1000, 10) + noise).astype(np.int16), geometry), mask, centre


def segment(model, volume, prompts, previous=None, encoding=None, cancel=None):
    progress, cancel = Progress(), cancel or CancelToken()
    if encoding is None:
        region = model.region(volume.geometry, prompts)
        encoding = model.encode(volume, region, progress, cancel)
    patch = model.predict(encoding, prompts, previous, progress, cancel)
    whole = np.zeros(volume.shape, bool)
    assert volume.geometry.region.contains(patch.region)
    whole[patch.region.slices] = patch.mask
    return patch, whole, encoding


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def model():
    return SamMed3D(Threshold(), "cpu", "test")


def test_it_is_a_promptable(model):
    assert isinstance(model, Promptable)


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (5.0, 0.8, 0.8), (0.9, 2.2, 1.0)])
@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_mask_lands_on_the_clicked_ball_whatever_the_grid(model, spacing, seed):
    shape = tuple(int(120 / s) for s in spacing)
    centre = np.array(shape) * (0.35, 0.6, 0.55)
    direction = None if seed is None else rotation(seed)
    volume, mask, _ = ball(shape, spacing, 30, direction, centre)
    _, got, _ = segment(model, volume, [Point(tuple(centre))])
    assert dice(got, mask) > 0.9


def test_click_reaches_the_network_as_the_middle_voxel_in_xyz_of_ras(model):
    volume, _, centre = ball((61, 71, 81), (1.5, 1.5, 1.5), 20)
    second = tuple(centre + np.array([4, -6, 8]))
    segment(model, volume, [Point(tuple(centre)), Point(second)])
    points, labels, _ = model._run.network.decoded[-1]
    np.testing.assert_array_equal(labels, [1, 1])
    # LPS (z, y, x) grows S, P, L: x and y run backwards in RAS
    np.testing.assert_array_equal(points[1] - points[0], [-8, 6, 4])
    np.testing.assert_array_equal(points[0], [64, 64, 64])


def test_each_round_passes_all_clicks_and_the_last_logits(model):
    volume, _, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    prompts = [Point(tuple(centre + k)) for k in range(3)]
    segment(model, volume, prompts)
    decoded = model._run.network.decoded
    assert [len(d[1]) for d in decoded] == [1, 2, 3]
    assert not decoded[0][2].any()
    assert decoded[1][2].any()


def test_later_clicks_encode_nothing_and_play_one_round(model):
    volume, _, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    prompts = [Point(tuple(centre)), Point((3.0, 3.0, 3.0), False), Point(tuple(centre + 2))]
    patch, _, encoding = segment(model, volume, prompts[:1])
    model._run.network.decoded.clear()
    for k in (2, 3):
        patch, resumed, _ = segment(model, volume, prompts[:k], patch, encoding)
    assert len(model._run.network.decoded) == 2
    assert model._run.network.encoded == 1
    _, replayed, _ = segment(model, volume, prompts)
    np.testing.assert_array_equal(resumed, replayed)


def test_rounds_of_other_weights_are_not_taken_over(model):
    volume, _, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    prompts = [Point(tuple(centre)), Point(tuple(centre + 1))]
    patch, _, _ = segment(model, volume, prompts[:1])
    other = SamMed3D(Threshold(), "cpu", "other weights")
    segment(other, volume, prompts, patch)
    assert len(other._run.network.decoded) == 2


def test_undone_and_changed_prompts_are_played_anew(model):
    volume, _, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    prompts = [Point(tuple(centre)), Point(tuple(centre + 1))]
    patch, _, encoding = segment(model, volume, prompts)
    model._run.network.decoded.clear()
    segment(model, volume, prompts[:1], patch, encoding)
    assert [len(d[1]) for d in model._run.network.decoded] == [1]


def test_every_kind_of_prompt_gives_the_ball(model):
    volume, mask, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    z, y, x = centre
    r = 20 / 1.5
    low, high = centre - r, centre + r
    extreme = np.repeat(centre[None], 6, 0)
    extreme[[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2]] += np.tile([1 - r, r - 1], 3)
    prompts = [
        Point(tuple(centre)),
        Box(tuple(low), tuple(high)),
        Box((z, *low[1:]), (z, *high[1:])),
        Scribble.from_path([centre - 4, centre + 4]),
        Lasso(((z, y - 5, x - 5), (z, y - 5, x + 5), (z, y + 5, x))),
        ExtremePoints(tuple(map(tuple, extreme))),
        MaskPrompt.from_array(mask),
    ]
    for prompt in prompts:
        patch, got, _ = segment(model, volume, [prompt])
        assert dice(got, mask) > 0.9, prompt.kind
        assert patch.given[0].startswith(prompt.kind)


def test_mask_prompt_becomes_the_previous_logits_and_keeps_the_clicks_it_agrees_with(model):
    volume, mask, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    dark = (2.0, 2.0, 2.0)
    prompts = [Point(tuple(centre)), Point(dark), MaskPrompt.from_array(mask), Point(dark, False)]
    _, got, _ = segment(model, volume, prompts)
    _, labels, previous = model._run.network.decoded[-1]
    assert labels.tolist() == [1, 0]
    share = functional.avg_pool3d((previous > 0).float(), 32).item()
    assert share == pytest.approx(mask.sum() / 128**3, rel=0.1)
    assert previous.max() == 8
    assert not got[2, 2, 2]


def test_clicked_voxels_come_out_as_clicked(model):
    volume, _, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    inside, outside = tuple(centre.round()), (2.0, 3.0, 50.0)
    prompts = [Point(tuple(centre + 4)), Point(inside, False), Point(outside)]
    _, got, _ = segment(model, volume, prompts)
    assert not got[tuple(int(v) for v in inside)]
    assert got[2, 3, 50]


def test_object_larger_than_the_window_has_no_cut_edges(model):
    volume, mask, centre = ball((40, 130, 125), (3.0, 3.0, 3.0), 150)
    patch, got, _ = segment(model, volume, [Point(tuple(centre))])
    assert dice(got, mask) > 0.97
    assert "refined in" in patch.given[-1]
    assert min(patch.region.shape[1:]) * 3 > 290


def test_click_outside_the_window_widens_the_view(model):
    volume, mask, _ = ball((150, 60, 60), (3.0, 3.0, 3.0), 25, centre=(20, 30, 30))
    far, far_mask, _ = ball((150, 60, 60), (3.0, 3.0, 3.0), 25, centre=(130, 30, 30))
    both = Volume(np.maximum(volume.array, far.array), volume.geometry)
    prompts = [Point((20.0, 30.0, 30.0)), Point((130.0, 30.0, 30.0))]
    _, near_only, encoding = segment(model, both, prompts[:1])
    assert dice(near_only, mask) > 0.9
    _, got, _ = segment(model, both, prompts, None, encoding)
    assert dice(got, mask | far_mask) > 0.9


def test_box_inside_the_window_stops_the_search_for_more(model):
    volume, _, centre = ball((30, 120, 120), (3.0,) * 3, 98)
    patch, _, _ = segment(model, volume, [Point(tuple(centre))])
    assert "object beyond" in patch.given[-1]
    patch, _, _ = segment(model, volume, [Box(tuple(centre - 10), tuple(centre + 10))])
    assert patch.given == ("box as 1 point",)


def test_disk_copy_of_an_encoding_answers_the_same(model):
    volume, _, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    prompts = [Point(tuple(centre))]
    _, fresh, encoding = segment(model, volume, prompts)
    copy = model.unpack(volume, encoding.region, model.pack(encoding))
    _, stored, _ = segment(model, volume, prompts, None, copy)
    np.testing.assert_array_equal(stored, fresh)
    assert model._run.network.encoded == 1


def test_bad_prompts_and_cancelling(model):
    volume, _, centre = ball((40, 40, 40), (1.5,) * 3, 20)
    with pytest.raises(PromptError, match="negative"):
        model.region(volume.geometry, [Point(tuple(centre), False)])
    with pytest.raises(PromptError, match="class name"):
        segment(model, volume, [Point(tuple(centre)), ClassName("liver")])
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        segment(model, volume, [Point(tuple(centre))], cancel=cancel)


def test_single_slice_and_tiny_volumes(model):
    for shape in [(1, 80, 80), (3, 4, 200), (2, 2, 5)]:
        array = np.full(shape, 5, np.float32)
        array[..., 0] = 50
        volume = Volume(array, Geometry.from_spacing(shape, (3.0, 1.0, 1.0)))
        patch, _, _ = segment(model, volume, [Point((0.0, 1.0, 1.0))])
        assert patch.mask.any()


@torch.inference_mode()
def test_answer_equals_the_published_rounds_on_the_cropped_window():
    from openmedlab.nn.fill import fill_by_name
    from openmedlab.sam_med3d.encoder import ImageEncoder
    from openmedlab.sam_med3d.frame import Frame, normalised
    from openmedlab.sam_med3d.network import SamMed3DNetwork, upsample

    network = SamMed3DNetwork(ImageEncoder(depth=1))
    fill_by_name(network)
    model = SamMed3D(network, "cpu", "test")
    volume, _, centre = ball((60, 60, 60), (1.5,) * 3, 20)
    prompts = [Point(tuple(centre.round())), Point((5.0, 5.0, 5.0), False)]
    _, got, _ = segment(model, volume, prompts)
    got[tuple(centre.round().astype(int))] = got[5, 5, 5] = False

    frame = Frame(volume.geometry)
    voxels = np.rint(frame.from_native([p.position for p in prompts])).astype(int)
    start = voxels[0] - 64
    x = torch.from_numpy(normalised(frame.sample(volume, tuple(start))).T.copy())[None, None]
    clicks = torch.from_numpy((voxels - start)[:, ::-1].astype(np.float32))[None]
    low = torch.zeros(1, 1, 32, 32, 32)
    embedding = network.image_encoder(x)
    for k in (1, 2):
        low = network.decode(embedding, clicks[:, :k], torch.tensor([[1, 0]])[:, :k], low)
    canvas = (upsample(low)[0, 0] > 0).numpy().T
    reoriented = volume.geometry.reorientation("SAR").apply(got)
    canvas[tuple((voxels - start).T)] = False
    z, y, x = (slice(-a, 60 - a) for a in start)
    np.testing.assert_array_equal(reoriented, canvas[z, y, x])
