import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from openmedlab.core import Edit, LabelPolicy, PolicyMode, Region

SHAPE = (4, 5, 6)


@st.composite
def edits_of(draw, labelmap):
    rng = np.random.default_rng(draw(seeds))
    start = [int(rng.integers(0, n)) for n in SHAPE]
    stop = [int(rng.integers(a, n)) + 1 for a, n in zip(start, SHAPE, strict=True)]
    region = Region(tuple(start), tuple(stop))
    before = labelmap[region.slices]
    return Edit.between(before, rng.integers(0, 3, before.shape).astype(before.dtype), region)


@given(st.data(), st.integers(1, 6))
def test_any_sequence_of_edits_undone_returns_the_first_labelmap(data, count):
    labelmap = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint16)
    first, done = labelmap.copy(), []
    for _ in range(count):
        edit = data.draw(edits_of(labelmap))
        if edit is not None:
            edit.apply(labelmap)
            done.append(edit)
    for edit in reversed(done):
        edit.inverse().apply(labelmap)
    np.testing.assert_array_equal(labelmap, first)


@given(st.data())
def test_an_edit_survives_json_and_is_as_small_as_its_change(data):
    labelmap = np.zeros(SHAPE, np.uint16)
    edit = data.draw(edits_of(labelmap))
    if edit is None:
        return
    again = Edit.from_json(json.loads(json.dumps(edit.to_json())))
    np.testing.assert_array_equal(again.after, edit.after)
    assert again.region == edit.region
    changed = edit.before != edit.after
    for axis in range(3):
        planes = np.moveaxis(changed, axis, 0)
        assert planes[0].any()
        assert planes[-1].any()


@given(st.data())
def test_indices_name_exactly_the_changed_voxels(data):
    labelmap = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint16)
    edit = data.draw(edits_of(labelmap))
    if edit is None:
        return
    expected = labelmap.copy()
    edit.apply(expected)
    where, values = edit.indices()
    assert len(values) == edit.changed
    labelmap[where] = values
    np.testing.assert_array_equal(labelmap, expected)


@given(
    seeds,
    st.sampled_from(list(PolicyMode)),
    st.frozensets(st.integers(0, 5), max_size=3),
    st.frozensets(st.integers(1, 5), max_size=3),
)
def test_no_policy_but_overlap_changes_a_protected_voxel(seed, mode, listed, locked):
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 6, SHAPE).astype(np.uint16)
    mask = rng.random(SHAPE) > 0.5
    number = int(rng.integers(1, 6))
    policy = LabelPolicy(mode, listed)
    after = policy.merge(before, mask, number, locked)
    changed = before != after
    assert set(np.unique(after[changed])) <= {0, number}
    if mode is PolicyMode.ALLOW_OVERLAP:
        assert (after[mask] == number).all()
        return
    assert not changed[np.isin(before, list(locked))].any()
    neighbours = (before != 0) & (before != number)
    if mode in (PolicyMode.REPLACE_OWN, PolicyMode.ONLY_BACKGROUND):
        assert not changed[neighbours].any()
    if mode is PolicyMode.ONLY_BACKGROUND:
        assert (before[changed] == 0).all()
    if mode is PolicyMode.PROTECT_LIST:
        assert not changed[np.isin(before, list(listed - {0, number}))].any()
    if mode is PolicyMode.ONLY_INSIDE:
        assert not changed[~np.isin(before, [*listed, number])].any()


def test_replace_own_gives_the_object_exactly_the_free_part_of_the_mask():
    before = np.array([[[0, 1, 2, 0]]])
    mask = np.array([[[True, False, True, False]]])
    after = LabelPolicy().merge(before, mask, 1)
    assert after.tolist() == [[[1, 0, 2, 0]]]
    assert LabelPolicy.from_json(LabelPolicy().to_json()) == LabelPolicy()


def test_touched_names_what_gained_and_what_lost_voxels_both_ways():
    before = np.array([[[0, 1, 2, 3]]], np.uint8)
    after = np.array([[[5, 1, 2, 0]]], np.uint8)
    edit = Edit(Region((0, 0, 0), (1, 1, 4)), before, after)
    assert edit.touched == {0, 3, 5}
    assert edit.inverse().touched == edit.touched
