import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedlab.clicknet.inputs import channels
from openmedlab.clicknet.network import SIDE, ClickNet
from openmedlab.clicknet.window import Window
from openmedlab.core import Region

SHAPE = (20, 30, 40)
NONE = torch.zeros(0, 3)


def ramps(shape=SHAPE):
    return np.indices(shape, dtype=np.float32)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.floats(4, 15), st.floats(4, 25), st.floats(4, 35)),
    st.tuples(*[st.floats(0.12, 1.2)] * 3),
)
def test_samples_lie_where_the_window_says(centre, step):
    window = Window(centre, step)
    region = window.region.clipped(SHAPE)
    for axis, ramp in enumerate(ramps()):
        seen = window.sample(torch.from_numpy(ramp[region.slices]), region).numpy()
        at = centre[axis] + (np.arange(SIDE) - (SIDE - 1) / 2) * step[axis]
        inside = (at >= region.start[axis]) & (at <= region.stop[axis] - 1)
        line = np.moveaxis(seen, axis, 0)[:, 32, 32]
        np.testing.assert_allclose(line[inside], at[inside], atol=2e-3)
        points = np.full((1, 3), 7.0)
        np.testing.assert_allclose(
            window.to_window(points)[0, axis], (7.0 - centre[axis]) / step[axis] + 31.5
        )


def test_coarse_windows_take_means_of_the_voxels_they_skip():
    _, _, x = ramps((96, 96, 96))
    noise = np.random.default_rng(0).normal(0, 1, x.shape).astype(np.float32)
    window = Window((47.5, 47.5, 47.5), (1.4, 1.4, 3.0))
    region = window.region.clipped(x.shape)
    seen = window.sample(torch.from_numpy((x + 20 * noise)[region.slices]), region).numpy()
    at = 47.5 + (np.arange(SIDE) - 31.5) * 3.0
    inside = (at >= 2) & (at <= 93)
    means = seen[10:-10, 10:-10].mean((0, 1))
    np.testing.assert_allclose(means[inside], at[inside], atol=1.5)
    assert seen[10:-10, 10:-10, 31].std() < 20 * 0.75


def test_a_mask_goes_into_the_window_and_back():
    z, y, x = ramps((40, 50, 60))
    ball = ((z - 20) / 6) ** 2 + ((y - 24) / 9) ** 2 + ((x - 33) / 12) ** 2 < 1
    window = Window((20.0, 24.0, 33.0), (0.35, 0.5, 0.7))
    region = window.region.clipped(ball.shape)
    seen = window.sample(torch.from_numpy(ball[region.slices].astype(np.float32)), region)
    again = window.back(seen, region).numpy() > 0.5
    truth = ball[region.slices]
    assert 2 * (again & truth).sum() / (again.sum() + truth.sum()) > 0.97


def test_beyond_the_volume_masks_are_empty_and_images_go_on():
    array = torch.ones(10, 10, 10) * 5
    region = Region((0, 0, 0), (10, 10, 10))
    window = Window((0.0, 5.0, 5.0), (0.5, 0.5, 0.5))
    assert (window.sample(array, region) == 5).all()
    mask = window.sample(array, region, outside=0.0)
    assert (mask[:30] == 0).all()
    assert (mask[33:41, 25:38, 25:38] == 5).all()


def test_channels_do_not_care_for_units_of_the_image():
    image = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (SIDE,) * 3).astype(np.float32))
    clicks = torch.tensor([[30.0, 31.0, 32.0]])
    one = channels(image, clicks, NONE, None, None)
    other = channels(image * 300 - 1000, clicks, NONE, None, None)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_channels_show_prompts_where_they_are():
    image = torch.zeros((SIDE,) * 3)
    box = torch.tensor([[10.0, 20.0, 30.0], [19.0, 29.0, 39.0]])
    proposal = torch.zeros((SIDE,) * 3, dtype=torch.bool)
    proposal[40:] = True
    seen = channels(
        image, torch.tensor([[5.0, 6.0, 7.0]]), torch.tensor([[50.0, 51.0, 52.0]]), box, proposal
    )
    assert seen.shape == (6, SIDE, SIDE, SIDE)
    assert np.unravel_index(int(seen[3].argmax()), seen[3].shape) == (5, 6, 7)
    assert np.unravel_index(int(seen[4].argmax()), seen[4].shape) == (50, 51, 52)
    assert seen[5].sum() == 1000
    assert seen[5][10:20, 20:30, 30:40].all()
    assert (seen[2][40:] == 1).all()
    assert (seen[2][:40] == -1).all()


def test_a_flat_image_gives_finite_channels():
    seen = channels(torch.zeros((SIDE,) * 3), torch.tensor([[1.0, 2.0, 3.0]]), NONE, None, None)
    assert torch.isfinite(seen).all()


@pytest.mark.parametrize("side", [16, 32])
def test_the_network_keeps_shape_and_is_small(side):
    network = ClickNet().eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 6, side, side, side)).shape == (2, 1, side, side, side)
    assert sum(p.numel() for p in network.parameters()) < 5_000_000
