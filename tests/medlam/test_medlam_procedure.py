import os
from pathlib import Path

import numpy as np
import pytest
import torch

from openmedlab.core import Cancelled, CancelToken, Geometry, InputError, Volume
from openmedlab.medlam import extremes, matching, procedure
from openmedlab.medlam.prepare import PAD, Frame, Prepared, prepare, resample
from openmedlab.zoo.cases import read_cases
from openmedlab.zoo.conformance import run

REFERENCE = Path(os.environ.get("OPENMEDLAB_REFERENCE", "absent"))
reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="OPENMEDLAB_REFERENCE names no folder of reference cases"
)
CASES = [c.name for c in read_cases(REFERENCE / "medlam")] if REFERENCE.is_dir() else []
SLOW = ("fwd_64", "localize_wpl")
MINUTES = ("localize_spl",)  # left to `openmedlab conformance`


def check(*names):
    results = run(REFERENCE / "medlam", only=[f"medlam/{n}" for n in names])
    assert len(results) == len(names)
    assert [str(r) for r in results if r.status != "passed"] == []


@reference
def test_parts_agree_with_the_published_code():
    check(*(n for n in CASES if not n.startswith(SLOW + MINUTES)))


@reference
@pytest.mark.slow
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("case", [n for n in CASES if n.startswith(SLOW)])
def test_network_and_localisation_agree_with_the_published_code(case):
    check(case)


# ----------------------------------------------------------------------- matching
@pytest.mark.parametrize(("k", "n"), [(2, 5), (4, 9), (8, 12)])
def test_similarity_is_the_convolution(k, n):
    torch.manual_seed(k)
    template, features = torch.rand(6, k, k, k), torch.rand(6, n, n, n)
    want = torch.nn.functional.conv3d(features[None], template[None], padding=k // 2)[0, 0]
    got = matching.similarity(template, features)
    torch.testing.assert_close(got, want / k**3)


def test_peak_is_the_first_of_equals_counted_from_the_middle():
    flat = torch.zeros(64, 64, 64)
    flat[31, 31, 31] = flat[40, 2, 2] = 1
    match = matching.peak([flat, flat, flat])
    assert match.offset == (0, 0, 0)
    assert match.value == 4


# -------------------------------------------------------------------- preparation
def orientations():
    for codes in ("SAL", "SPL", "IAR", "LSA", "PRI", "ALS"):
        target = Geometry.from_spacing((21, 25, 29), (3.7, 2.2, 2.9)).reorientation(codes)
        yield pytest.param(target.geometry, id=codes)
    turn = np.deg2rad(12)
    matrix = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    direction = np.array(matrix) @ np.eye(3)[:, ::-1]
    yield pytest.param(
        Geometry.from_spacing((21, 25, 29), (3.7, 2.2, 2.9), (5, -7, 9), direction), id="oblique"
    )


@pytest.mark.parametrize("geometry", list(orientations()))
def test_points_return_to_the_voxels_they_came_from(geometry):
    frame = Frame.of(geometry)
    index = np.random.default_rng(0).integers(0, geometry.shape, (50, 3))
    np.testing.assert_array_equal(frame.to_index(frame.to_voxels(index)), index)
    assert frame.turned.geometry.codes == "SAL"


@pytest.mark.parametrize("geometry", list(orientations()))
def test_extreme_points_come_back_sorted_along_the_stored_axes(geometry):
    frame = Frame.of(geometry)
    mask = np.zeros(geometry.shape, bool)
    mask[4:12, 6:20, 3:19] = True
    turned = frame.turned.apply(mask)
    voxels = extremes.extreme_points(turned) * frame.zoom
    prepared = Prepared(frame, np.zeros(np.add(frame.shape, 2 * PAD), np.float32))
    (points,) = procedure.to_stored(voxels[None], prepared)
    assert [points[k, k % 3] for k in range(6)] == [4, 6, 3, 11, 19, 18]
    assert all(mask[tuple(p)] for p in points.astype(int))


def test_same_body_in_any_orientation_is_prepared_alike():
    array = np.random.default_rng(1).integers(-1000, 900, (20, 24, 22)).astype(np.int16)
    volume = Volume(array, Geometry.from_spacing(array.shape, (4.0, 3.0, 2.5)), "CT")
    want = prepare(volume)
    turn = volume.geometry.reorientation("LIA")
    other = prepare(Volume(turn.apply(array), turn.geometry, "CT"))
    np.testing.assert_allclose(other.image, want.image, atol=2e-4)


def test_voxels_of_3_mm_are_left_as_they_are():
    array = np.random.default_rng(2).random((5, 6, 7)).astype(np.float32)
    np.testing.assert_allclose(resample(array, (5, 6, 7), CancelToken()), array, atol=1e-6)


def volume_of(array, modality="CT", unit="millimeter"):
    array = np.asarray(array, np.int16)
    return Volume(array, Geometry.from_spacing(array.shape, (3, 3, 3), unit=unit), modality, "scan")


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (volume_of(np.full((9, 9, 9), 50), "MR"), "CT only"),
        (volume_of(np.full((9, 9, 9), 50), "unknown"), "Hounsfield"),
        (volume_of(np.full((9, 9, 9), 50), unit="micrometer"), "millimetres"),
    ],
)
def test_what_is_no_ct_is_refused(volume, words):
    with pytest.raises(InputError, match=words):
        prepare(volume)


def test_ct_without_air_is_mapped():
    inside = slice(PAD, -PAD)
    image = prepare(volume_of(np.full((9, 9, 9), 50))).image[inside, inside, inside]
    np.testing.assert_allclose(image, 0.2 + 250 / 400 * 0.6, atol=1e-5)


def test_preparing_can_be_cancelled():
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        prepare(volume_of(np.zeros((9, 9, 9))), cancel)


# ------------------------------------------------------------------------- starts
def test_starts_lie_in_the_body_and_are_the_same_every_time():
    image = prepare(volume_of(np.random.default_rng(0).integers(0, 9, (40, 50, 60))))
    starts = procedure.start_voxels(image)
    np.testing.assert_array_equal(starts, procedure.start_voxels(image))
    assert len(starts) == 10
    assert (np.abs(starts - np.array(image.image.shape) // 2) <= 10).all()


def test_volume_of_two_slices_has_starts_inside():
    image = prepare(volume_of(np.full((2, 30, 30), 40)))
    starts = procedure.start_voxels(image) - PAD
    assert (starts >= 0).all()
    assert (starts < image.frame.shape).all()


def test_air_in_the_middle_is_told():
    with pytest.raises(InputError, match="The middle of empty holds nothing but air"):
        procedure.start_voxels(prepare(volume_of(np.full((30, 30, 30), -1000))), "empty")


# ------------------------------------------------------------------------- points
def test_parts_are_counted_by_the_flattest_support():
    assert extremes.count_parts([17, 40], 8) == 2
    assert extremes.count_parts([100, 90], 8) == 6
    assert extremes.count_parts([8, 40], 8) == 1


def test_empty_part_takes_the_outline_before_it_and_changes_nothing_else():
    mask = np.zeros((30, 20, 20), bool)
    mask[:5, 2:6, 2:6] = mask[25:, 10:15, 10:15] = True
    bounds, empty = extremes.part_bounds(mask, 3)
    assert empty.tolist() == [False, True, False]
    np.testing.assert_array_equal(bounds[0], [[0, 2, 2], [9, 5, 5]])
    np.testing.assert_array_equal(bounds[1], [[9, 2, 2], [18, 5, 5]])
    assert extremes.parts(mask, 3).shape == (3, 6, 3)


def test_points_within_box_span_the_box_of_their_own_axes():
    points = np.random.default_rng(0).integers(0, 50, (2, 6, 3)).astype(float)
    ordered = procedure.in_order(points)
    spanned = procedure.within_box(ordered)
    corners = procedure.box_corners(ordered)
    np.testing.assert_array_equal(spanned.min(1), corners[:, 0])
    np.testing.assert_array_equal(spanned.max(1), corners[:, 1])
