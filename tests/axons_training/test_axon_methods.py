from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from openmedlab.axons.methods import (
    BUNDLED,
    METHODS,
    components,
    default_method,
    method,
    segment_array,
)
from openmedlab.axons.small_net import REACH, AxonSmall, SmallSegmenter, load
from openmedlab.axons.statistics import PERCENTS, VolumeStatistics, measure, measure_blocks
from openmedlab.core.errors import Cancelled, InputError
from openmedlab.core.progress import CancelToken
from openmedlab.zoo.checkpoint import write_safetensors
from openmedlab.zoo.errors import WeightsError


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


LINE = [(30, 20 + x // 3, x) for x in range(5, 120)]


@pytest.fixture(scope="module")
def volume():
    """A slanting line: one straight along x would be a stripe of the light sheet."""
    random = np.random.default_rng(0)
    light = np.zeros((70, 80, 150))
    light[tuple(np.array(LINE).T)] = 1
    light = gaussian_filter(light, (1.6, 0.8, 0.8))
    image = random.normal(4000, 50, light.shape) + 12000 * light / light.max()
    image[:, :, 128:] = 0
    return image.astype(np.uint16)


def share_found(mask, offset=(0, 0, 0)):
    """Return which share of the line inside the mask's box was found."""
    at = np.array(LINE) - offset
    at = at[np.all((at >= 0) & (at < mask.shape), 1)]
    return mask[tuple(at.T)].mean()


def in_blocks(volume, segmenter, sides):
    out = np.zeros(volume.shape, np.float32)
    padded = np.pad(volume, [(h, h) for h in segmenter.halo], mode="edge")
    for corner in product(*(range(0, n, s) for n, s in zip(volume.shape, sides, strict=True))):
        spans = [(c, min(c + s, n)) for c, s, n in zip(corner, sides, volume.shape, strict=True)]
        wide = tuple(slice(a, b + 2 * h) for (a, b), h in zip(spans, segmenter.halo, strict=True))
        block = segmenter.segment_block(padded[wide], segmenter.halo)
        out[tuple(slice(a, b) for a, b in spans)] = block
    return out


def found_by(name, volume):
    choice = method(name)
    segmenter = choice.make(choice.measure(volume, None, None), None)
    return segmenter, segment_array(volume, segmenter)


def test_the_network_gives_the_same_for_every_block_size(volume):
    segmenter, whole = found_by("axon-small", volume)
    for sides in ((64, 64, 64), (128, 64, 128)):
        assert np.array_equal(in_blocks(volume, segmenter, sides), whole)
    assert share_found(components(whole, METHODS["axon-small"])) > 0.8
    assert (whole[:, 65:] > 0.5).mean() < 0.005
    check_empty(segmenter, volume, whole)


def test_the_ridge_filter_gives_the_same_for_every_block_size(volume):
    part = volume[20:50, 30:65, 90:150]
    segmenter, whole = found_by("ridge", part)
    assert np.array_equal(in_blocks(part, segmenter, (17, 35, 33)), whole)
    assert share_found(components(whole, METHODS["ridge"]), (20, 30, 90)) > 0.8
    check_empty(segmenter, part, whole)


def check_empty(segmenter, volume, whole):
    dark = volume.shape[2] - 22
    assert not whole[:, :, dark:].any()
    assert segmenter.is_empty(volume[:, :, dark:])
    assert not segmenter.is_empty(volume)


def test_the_bundled_network_is_small():
    network = load(BUNDLED)
    assert sum(p.numel() for p in network.parameters()) < 3e6
    assert BUNDLED.stat().st_size < 10e6


def test_folding_the_normalisation_changes_nothing():
    plain = load(BUNDLED).eval()
    folded = METHODS["axon-small"].make(measure(np.ones((9, 9, 9), np.uint8)), None).network("cpu")
    x = torch.randn(1, 1, 48, 44, 52, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), plain(x), rtol=1e-3, atol=1e-3)


def test_new_weights_in_an_old_place_are_used(tmp_path, volume):
    path, block = tmp_path / "weights.safetensors", volume[:48, :48, :48]
    kinds = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        write_safetensors(AxonSmall().state_dict(), path, {})
        kinds.append(segment_array(block, METHODS["axon-small"].make(measure(block), path)))
    assert not np.array_equal(*kinds)


def test_an_answer_depends_on_its_neighbourhood_alone():
    torch.manual_seed(1)
    network = AxonSmall().eval()
    x = torch.randn(1, 1, 64, 64, 64, requires_grad=True)
    network(x)[0, 0, 12, 12, 12].backward()
    touched = torch.nonzero(x.grad[0, 0]) - (12 + REACH)
    assert touched.min() >= -REACH
    assert touched.max() < REACH + 4


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    write_safetensors({"a": torch.zeros(3)}, path, {})
    with pytest.raises(WeightsError, match="does not fit Axon-Small"):
        METHODS["axon-small"].make(measure(np.ones((9, 9, 9), np.uint8)), path)
    with pytest.raises(InputError, match="takes no weights"):
        METHODS["ridge"].make(measure(np.ones((9, 9, 9), np.uint8)), path)


def test_brightness_and_offset_of_a_brain_do_not_matter(volume):
    lit = volume[:, :, :128].astype(np.float64)
    masks = []
    for image in (lit, lit * 3 - 500):
        stored = np.clip(image, 0, 65535).astype(np.uint16)
        segmenter = SmallSegmenter.of(measure(stored))
        masks.append(segment_array(stored, segmenter) > 0.5)
    dice = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    assert dice > 0.9


def test_unknown_methods_are_named_with_the_known_ones():
    with pytest.raises(InputError, match="axon-small, ridge, axon-seg"):
        method("magic")
    assert default_method() == "axon-small"


def test_components_need_a_seed_and_a_size():
    probability = np.zeros((10, 10, 30), np.float32)
    probability[2, 2, :20] = 0.6
    probability[2, 2, 5] = 0.9
    probability[5, 5, :20] = 0.6
    probability[8, 8, :3] = 0.95
    choice = METHODS["ridge"].__class__("x", "X", "", 0.5, 0.8, make=None, smallest=10)
    found = components(probability, choice)
    assert found[2, 2, :20].all()
    assert not found[5].any()
    assert not found[8].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_statistics_are_those_of_all_voxels(dtype):
    array = np.random.default_rng(3).gamma(4, 12, (40, 50, 60)).astype(dtype)
    found = measure(array)
    assert found.mean == pytest.approx(float(array.mean(dtype=np.float64)), rel=1e-3)
    assert found.std == pytest.approx(float(array.std(dtype=np.float64)), rel=1e-3)
    for percent, value in zip(PERCENTS, found.percentiles, strict=True):
        wanted = np.percentile(array, percent, method="inverted_cdf")
        assert value == pytest.approx(wanted, rel=1e-3)
    assert VolumeStatistics.from_json(found.to_json()) == found


def test_statistics_do_not_depend_on_the_cut():
    array = np.random.default_rng(4).integers(0, 3000, (30, 40, 50)).astype(np.uint16)
    parts = [array[:13], array[13:, 7:], array[13:, :7]]
    assert measure_blocks(parts) == measure_blocks(reversed(parts)) == measure(array)


def test_a_large_volume_is_sampled_evenly_and_can_be_cancelled():
    array = np.broadcast_to(np.arange(600, dtype=np.uint16)[:, None, None], (600, 200, 200))
    found = measure(array, whole=6_000_000)
    assert found.count < array.size / 2
    assert found.mean == pytest.approx(array.mean(), rel=0.25)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        measure(array, cancel=cancel)


@pytest.mark.parametrize("shape", [(5, 5), (0, 4, 4)])
def test_what_is_no_volume_is_refused(shape):
    with pytest.raises(InputError, match=r"\(z, y, x\) is needed"):
        measure(np.zeros(shape, np.uint8))
