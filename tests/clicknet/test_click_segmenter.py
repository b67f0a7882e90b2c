import numpy as np
import pytest
import torch

from openmedlab.builtin import ClickSegmenter
from openmedlab.clicknet.predictor import ClickNetSegmenter
from openmedlab.core import (
    Box,
    CancelToken,
    ExtremePoints,
    Geometry,
    MaskPrompt,
    Point,
    Progress,
    PromptError,
    Scribble,
    Volume,
)

SHAPE, SPACING = (40, 56, 64), (3.0, 1.0, 0.8)
CENTRE = (18, 30, 28)


@pytest.fixture(scope="module")
def volume():
    z, y, x = np.indices(SHAPE)
    ball = ((z - CENTRE[0]) * 3.0 / 18) ** 2 + ((y - CENTRE[1]) / 16) ** 2 + (
        (x - CENTRE[2]) * 0.8 / 14
    ) ** 2 < 1
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    image = (100 * ball + noise).astype(np.int16)
    affine = Geometry.from_spacing(SHAPE, SPACING).affine.copy()
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (5, -7, 11)
    return Volume(image, Geometry(SHAPE, affine)), ball


def ask(model, volume, prompts, previous=None):
    region = model.region(volume.geometry, prompts)
    encoding = model.encode(volume, region, Progress(), CancelToken())
    return model.predict(encoding, prompts, previous, Progress(), CancelToken())


def whole(patch):
    mask = np.zeros(SHAPE, bool)
    mask[patch.region.slices] = patch.mask
    return mask


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def seeing(channel, sign=1.0):
    """A stand-in for the network that answers with one of its channels."""
    return ClickNetSegmenter(lambda x: sign * 4 * x[:, channel : channel + 1], f"sees {channel}")


OPENINGS = [
    Point(CENTRE),
    Scribble.from_path([[18, 22, 28], [18, 38, 28]]),
    Box((12, 14, 11), (24, 46, 45)),
    ExtremePoints(
        ((12, 30, 28), (24, 30, 28), (18, 14, 28), (18, 46, 28), (18, 30, 11), (18, 30, 45))
    ),
]


@pytest.mark.parametrize("prompt", OPENINGS, ids=lambda p: p.kind)
def test_a_network_that_agrees_gives_the_proposal_back(volume, prompt):
    image, ball = volume
    base = whole(ask(ClickSegmenter(), image, [prompt]))
    mask = whole(ask(seeing(2), image, [prompt]))
    assert dice(mask, base) > 0.93
    assert dice(mask, ball) > 0.85


def test_the_box_lands_on_the_voxels_it_was_drawn_on(volume):
    image, _ = volume
    box = OPENINGS[2]
    wanted = np.zeros(SHAPE, bool)
    wanted[box.region.slices] = True
    model = ClickNetSegmenter(lambda x: 8 * x[:, 5:6] - 4, "sees the box")
    assert dice(whole(ask(model, image, [box])), wanted) > 0.95


def test_what_is_clicked_comes_out_as_clicked(volume):
    image, _ = volume
    outside = Point((18, 30, 28), positive=False)
    model = ClickNetSegmenter(lambda x: torch.full_like(x[:, :1], 4.0), "all")
    mask = whole(ask(model, image, [Point((17, 31, 29)), outside]))
    assert mask[17, 31, 29]
    assert not mask[18, 30, 28]


def test_a_given_mask_is_changed_near_the_click_only(volume):
    image, ball = volume
    given = MaskPrompt.from_array(ball)
    nothing = ClickNetSegmenter(lambda x: torch.full_like(x[:, :1], -4.0), "nothing")
    kept = whole(ask(nothing, image, [given]))
    assert dice(kept, ball) > 0.97


def test_the_answer_depends_on_the_prompts_alone(volume):
    image, _ = volume
    first, second = Point(CENTRE), Point((18, 10, 10), positive=False)
    model = seeing(2)
    fresh = ask(model, image, [first, second])
    on_the_way = ask(model, image, [first])
    again = ask(model, image, [first, second], previous=on_the_way)
    np.testing.assert_array_equal(whole(fresh), whole(again))
    assert fresh.method == "openmedlab-click"


def test_only_negative_prompts_are_refused(volume):
    with pytest.raises(PromptError, match="negative"):
        ask(seeing(2), volume[0], [Point(CENTRE, positive=False)])


def test_the_bundled_weights_segment_a_kidney_of_the_phantom(tmp_path, monkeypatch):
    from openmedlab.evaluation.simulate import centre_click
    from openmedlab.io.phantom import phantom
    from openmedlab.zoo.methods import promptable

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    model = promptable("openmedlab-click", device="cpu")
    scan, labels = phantom((30, 80, 100))
    number = next(n for n, label in labels.labels.items() if label.name == "kidney_left")
    truth = labels.array == number
    click = centre_click(truth, scan.geometry.spacing)
    patch = ask(model, scan, [click])
    mask = np.zeros(scan.shape, bool)
    mask[patch.region.slices] = patch.mask
    assert dice(mask, truth) > 0.7
    assert patch.method == "openmedlab-click"
    assert "openvino" not in model.version
