import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedlab.core import Region
from openmedlab.stunet.export import NativeLabels
from openmedlab.stunet.resample import apply, operators
from openmedlab.stunet.window import Frontier, Tiling, importance_map, tile_starts

CPU = torch.device("cpu")
sides = st.tuples(*[st.integers(1, 24)] * 3)


@pytest.mark.parametrize(
    ("size", "patch", "step", "starts"),
    [
        (129, 128, 0.5, [0, 1]),
        (300, 128, 0.5, [0, 57, 115, 172]),
        (228, 128, 0.5, [0, 50, 100]),
        (110, 64, 0.25, [0, 15, 31, 46]),
        (128, 128, 0.5, [0]),
        (65, 128, 0.5, [-31]),
    ],
)
def test_tiles_start_where_nnunet_puts_them(size, patch, step, starts):
    assert tile_starts(size, patch, step) == starts


def test_shares_are_the_normalised_importance_map():
    tiling = Tiling.of((50, 40, 33), (32, 32, 32))
    weights = importance_map((32, 32, 32))
    total = np.zeros((50, 40, 33))
    for z, y in tiling.pencils():
        for x in range(len(tiling.axes[2].starts)):
            total[tiling.region((z, y, x)).slices] += weights
    tile = (1, 0, 1)
    z, y, x = (a.shares[k] for a, k in zip(tiling.axes, tile, strict=True))
    expected = weights / total[tiling.region(tile).slices]
    np.testing.assert_allclose(z[:, None, None] * y[:, None] * x, expected, rtol=1e-4)


def streamed(tiling, softmax):
    """Feed tiles that agree with each other; return the blocks and the largest memory held."""
    frontier = Frontier(tiling, len(softmax), CPU, torch.float32)
    blocks, most = [], 0
    for pencil in tiling.pencils():
        for k in range(len(tiling.axes[2].starts)):
            region = tiling.region((*pencil, k))
            for planes in frontier.chunks((*pencil, k)):
                values = softmax[:, planes, region.slices[1], region.slices[2]].clone()
                frontier.add((*pencil, k), planes, values)
        most = max(most, frontier.nbytes)
        blocks.append(frontier.take(pencil))
    assert frontier.nbytes == 0
    return blocks, most


def resized_argmax(softmax, native, separate):
    resized = []
    for samples in softmax:
        for axis, matrix in enumerate(operators(samples.shape, native, 1, separate)):
            samples = apply(matrix, samples, axis)
        resized.append(samples)
    return torch.stack(resized).argmax(0).numpy()


@settings(max_examples=60, deadline=None)
@given(
    sides, sides, st.tuples(*[st.integers(4, 16)] * 3), st.sampled_from([None, 0, 1, 2]), st.data()
)
def test_labels_are_those_of_the_full_resampling(shape, native, patch, separate, data):
    noise = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal((5, *shape))
    softmax = torch.from_numpy(4 * noise).float().softmax(0)
    out = np.zeros(native, np.uint8)
    keep = np.arange(5, dtype=np.uint8)
    regions = []
    labels = NativeLabels(out, shape, separate, Region.whole(shape), keep, regions.append)
    for block in streamed(Tiling.of(shape, patch), softmax)[0]:
        labels.put(block)
    np.testing.assert_array_equal(out, resized_argmax(softmax, native, separate))
    assert sum(r.size for r in regions) == out.size


def test_no_sums_are_kept_of_what_is_finished():
    softmax = torch.full((2, 160, 32, 32), 0.5)
    _, most = streamed(Tiling.of((160, 32, 32), (32, 32, 32)), softmax)
    assert most <= softmax[:, :33].nbytes


def test_a_skipped_tile_says_background():
    tiling = Tiling.of((16, 16, 24), (16, 16, 16))
    frontier = Frontier(tiling, 3, CPU, torch.float32)
    for k in range(2):
        frontier.skip((0, 0, k))
    block = frontier.take((0, 0))
    background, other = torch.empty(2, 16, 16, 24)
    block.copy_class(0, background)
    block.copy_class(1, other)
    torch.testing.assert_close(background, torch.ones(16, 16, 24))
    assert not other.any()
