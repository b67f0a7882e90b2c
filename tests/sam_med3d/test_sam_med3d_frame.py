import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedlab.core import Geometry, InputError, MaskPrompt, Region, Volume
from openmedlab.sam_med3d.frame import SIZE, Frame, normalised, window


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q


def grid(shape=(30, 44, 37), spacing=(2.5, 0.8, 0.9), direction=None, origin=(5.0, -20.0, 40.0)):
    return Geometry.from_spacing(shape, spacing, origin, direction)


def resampled_whole(array, geometry):
    """The published way: the whole volume through SimpleITK's resampler, in native axes."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction[:, ::-1].ravel().tolist())
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    new = np.maximum(np.floor(size * spacing / 1.5 * (1 + 1e-12)), 1).astype(int)
    last = image.TransformIndexToPhysicalPoint((size - 1).tolist())
    centre = (np.array(last) + image.GetOrigin()) / 2
    direction = np.reshape(image.GetDirection(), (3, 3))
    origin = centre - direction @ ((new - 1) / 2 * 1.5)
    out = SimpleITK.Resample(
        image,
        new.tolist(),
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        origin.tolist(),
        [1.5] * 3,
        image.GetDirection(),
        0.0,
    )
    return SimpleITK.GetArrayFromImage(out)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("spacing", [(2.5, 0.75, 0.75), (0.7, 3.0, 1.1)])
def test_window_equals_the_resampled_whole_volume(dtype, seed, spacing):
    array = np.random.default_rng(0).uniform(-90, 120, (30, 44, 37)).astype(dtype)
    geometry = grid(spacing=spacing, direction=None if seed is None else rotation(seed))
    frame = Frame(geometry)
    canonical = geometry.reorientation("SAR").apply(resampled_whole(array, geometry))
    assert canonical.shape == frame.geometry.shape
    start = (-40, -51, -60)
    got = frame.sample(Volume(array, geometry), start)
    area = window(start)
    inside = area.clipped(canonical.shape)
    want = np.zeros((SIZE,) * 3)
    want[inside.relative_to(area).slices] = canonical[inside.slices]
    if dtype is np.float32:
        np.testing.assert_allclose(got, want, atol=1e-4)
    else:
        # rounding may send a whole number to either side of the truncation
        assert np.abs(got - want).max() <= 1
        assert np.mean(got != want) < 1e-3


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spacing=st.tuples(*[st.floats(0.4, 5)] * 3),
    shape=st.tuples(*[st.integers(1, 60)] * 3),
    coarse=st.sampled_from([1.5, 3.0, 6.0]),
)
def test_indices_go_both_ways_and_keep_their_place(seed, spacing, shape, coarse):
    frame = Frame(grid(shape, spacing, rotation(seed)), coarse)
    points = np.random.default_rng(seed).uniform(-10, 70, (5, 3))
    there = frame.from_native(points)
    np.testing.assert_allclose(frame.to_native(there), points, atol=1e-8)
    np.testing.assert_allclose(
        frame.geometry.index_to_world(there), frame.native.index_to_world(points), atol=1e-6
    )


def test_sheared_grid_is_sampled_where_it_stands():
    affine = grid().affine.copy()
    affine[0, 1] = 0.3
    geometry = Geometry((30, 44, 37), affine)
    array = np.fromfunction(lambda z, y, x: 3 * z + 5 * y - 2 * x + 400, (30, 44, 37))
    frame = Frame(geometry)
    got = frame.sample(Volume(array, geometry), (0, 0, 0))
    inside = frame.geometry.region.clipped((SIZE,) * 3)
    points = np.argwhere(np.ones(inside.shape, bool)).reshape(*inside.shape, 3)
    native = np.clip(frame.to_native(points), 0, np.array(geometry.shape) - 1)
    want = native @ np.array([3, 5, -2]) + 400
    np.testing.assert_allclose(got[inside.slices], want, rtol=1e-5)


def test_only_the_voxels_below_the_window_are_read():
    class Spy:
        shape, dtype, asked = (4000, 3000, 5000), np.dtype(np.int16), []

        def __getitem__(self, key):
            self.asked.append(key)
            return np.ones(tuple(k.stop - k.start for k in key), np.int16)

    spy = Spy()
    volume = Volume(spy, Geometry.from_spacing(spy.shape, (1.0, 1.0, 1.0)))
    frame = Frame(volume.geometry)
    start = frame.window_start(Region((900, 900, 900), (901, 901, 901)))
    assert (frame.sample(volume, start) == 1).all()
    assert max(k.stop - k.start for key in spy.asked for k in key) <= 1.5 * SIZE + 2


@pytest.mark.parametrize("seed", range(4))
def test_mask_goes_to_the_window_and_back(seed):
    geometry = grid(spacing=(1.5, 1.5, 1.5), direction=rotation(seed))
    mask = np.zeros(geometry.shape, bool)
    mask[5:20, 10:30, 8:25] = np.random.default_rng(seed).random((15, 20, 17)) > 0.5
    frame = Frame(geometry)
    start = frame.window_start(frame.geometry.region)
    seen = frame.sample_mask(MaskPrompt.from_array(mask), start)
    assert seen.sum() == mask.sum()
    region, back = frame.paste(seen, start, window(start))
    assert region == geometry.region
    np.testing.assert_array_equal(back, mask)


def test_normalisation_needs_contrast_above_zero():
    with pytest.raises(InputError, match="above 0"):
        normalised(np.zeros((SIZE,) * 3))
    with pytest.raises(InputError, match="above 0"):
        normalised(np.full((4, 4, 4), 7.0))
