import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from strategies import geometries, seeds

from openmedlab.core import Geometry, InputError, Region


@given(geometries(), seeds)
def test_index_to_world_and_back(geometry, seed):
    points = np.random.default_rng(seed).uniform(-10, 300, (5, 3))
    back = geometry.world_to_index(geometry.index_to_world(points))
    np.testing.assert_allclose(back, points, atol=1e-7)


@given(geometries(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3), seeds)
def test_reorientation_is_bit_exact_and_keeps_every_voxel_in_place(geometry, axes, flips, seed):
    pairs = ("LR", "PA", "SI")
    codes = "".join(pairs[a][int(f)] for a, f in zip(axes, flips, strict=True))
    turn = geometry.reorientation(codes)
    array = np.random.default_rng(seed).integers(0, 9, geometry.shape)
    turned = turn.apply(array)
    np.testing.assert_array_equal(turn.undo(turned), array)
    assert turned.shape == turn.geometry.shape
    for index in np.ndindex(*turned.shape):
        world = turn.geometry.index_to_world(index)
        source = np.rint(geometry.world_to_index(world)).astype(int)
        assert turned[index] == array[tuple(source)]


@given(geometries())
def test_canonical_codes_are_reached(geometry):
    assert geometry.reorientation("SAR").geometry.codes == "SAR"


@given(geometries(), seeds)
def test_reoriented_region_cuts_the_same_voxels(geometry, seed):
    rng = np.random.default_rng(seed)
    start = [int(rng.integers(0, n)) for n in geometry.shape]
    stop = [int(rng.integers(a, n)) + 1 for a, n in zip(start, geometry.shape, strict=True)]
    region, turn = Region(tuple(start), tuple(stop)), geometry.reorientation()
    marked = np.zeros(geometry.shape, bool)
    marked[region.slices] = True
    assert Region.of_mask(turn.apply(marked)) == turn.region(region)


@given(geometries())
def test_json_is_exact(geometry):
    assert Geometry.from_json(geometry.to_json()) == geometry


@given(geometries(), seeds)
def test_crop_keeps_world_positions(geometry, seed):
    start = np.random.default_rng(seed).integers(-3, 5, 3)
    region = Region(tuple(start), tuple(start + 2))
    crop = geometry.crop(region)
    np.testing.assert_allclose(crop.origin, geometry.index_to_world(start), atol=1e-9)
    np.testing.assert_allclose(crop.spacing, geometry.spacing)


@given(geometries(), st.tuples(*[st.integers(1, 9)] * 3))
def test_resized_grid_covers_the_same_field_of_view(geometry, shape):
    new = geometry.resized(shape)
    for edge in (-0.5, None):
        old_edge = [-0.5] * 3 if edge else [n - 0.5 for n in geometry.shape]
        new_edge = [-0.5] * 3 if edge else [n - 0.5 for n in shape]
        np.testing.assert_allclose(
            new.index_to_world(new_edge), geometry.index_to_world(old_edge), atol=1e-6
        )


def test_agrees_with_simpleitk():
    image = sitk.Image([5, 6, 7], sitk.sitkUInt8)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-12.5, 40.25, 300))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.2, -0.3, 0.4)
    image.SetDirection(turn.GetMatrix())
    direction = np.reshape(image.GetDirection(), (3, 3))[:, ::-1]
    ours = Geometry.from_spacing((7, 6, 5), (2.5, 0.9, 0.7), image.GetOrigin(), direction)
    np.testing.assert_allclose(
        ours.index_to_world((3, 2, 1)), image.TransformIndexToPhysicalPoint((1, 2, 3))
    )
    assert ours.is_oblique
    assert not ours.is_sheared


def test_codes_of_known_orientations():
    assert Geometry.from_spacing((3, 3, 3)).codes == "SPL"
    assert Geometry.from_ijk_to_ras((3, 3, 3), np.eye(4)).codes == "SAR"


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((0, 3, 3), np.eye(4)),
        ((3, 3), np.eye(4)),
        ((3, 3, 3), np.diag([1, 1, 0, 1])),
        ((3, 3, 3), np.full((4, 4), np.nan)),
    ],
)
def test_unusable_grids_are_refused(shape, affine):
    with pytest.raises(InputError):
        Geometry(shape, affine)


def test_contains_counts_half_a_voxel_of_border():
    geometry = Geometry.from_spacing((3, 3, 3))
    assert geometry.contains([(-0.5, 0, 0), (2.49, 2, 2)]).all()
    assert not geometry.contains([(2.5, 0, 0), (np.nan, 0, 0)]).any()
