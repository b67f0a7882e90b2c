import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from openmedlab.core import (
    Geometry,
    InputError,
    Journal,
    LabelPolicy,
    LogitsPatch,
    MaskPrompt,
    Point,
    PolicyMode,
    PromptError,
    Region,
    Session,
    Volume,
)

SHAPE = (6, 7, 8)


@pytest.fixture
def volume():
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return Volume(image, Geometry.from_spacing(SHAPE, (2, 1, 1), (5, 6, 7)), name="scan")


def answer(start, stop, method="fake"):
    region = Region(start, stop)
    return LogitsPatch(region, np.ones(region.shape, np.float32), method)


def brush(session, start, stop, number):
    from openmedlab.core import Edit

    region = Region(start, stop)
    before = session.labelmap[region.slices]
    edit = Edit.between(before, np.full_like(before, number), region)
    if edit is not None:
        edit.apply(session.labelmap)
        session.adopt(edit)


def test_a_new_answer_replaces_the_old_one_of_the_same_object(volume):
    session = Session(volume)
    session.add_object("liver")
    session.commit(1, answer((0, 0, 0), (3, 3, 3)))
    session.commit(1, answer((4, 4, 4), (6, 6, 6)))
    assert session.labelmap.sum() == 8
    assert session.labelmap[0, 0, 0] == 0


def test_neighbours_are_protected_and_locked_objects_refuse(volume):
    session = Session(volume)
    session.add_object("liver")
    session.add_object("spleen")
    session.commit(1, answer((0, 0, 0), (3, 3, 3)))
    session.commit(2, answer((2, 2, 2), (5, 5, 5)))
    assert (session.labelmap[:3, :3, :3] == 1).all()
    session.update_object(1, locked=True)
    with pytest.raises(InputError, match="'liver' is locked"):
        session.commit(1, answer((0, 0, 0), (1, 1, 1)))
    session.policy = LabelPolicy(PolicyMode.PROTECT_LIST)
    session.commit(2, answer((0, 0, 0), (6, 7, 8)))
    assert (session.labelmap[:3, :3, :3] == 1).all()


def test_undo_and_redo_many_levels(volume):
    session = Session(volume)
    session.add_object()
    states = [session.labelmap.copy()]
    for k in range(4):
        session.commit(1, answer((k, k, k), (k + 2, k + 2, k + 2)))
        states.append(session.labelmap.copy())
    for state in states[-2::-1]:
        session.undo()
        np.testing.assert_array_equal(session.labelmap, state)
    assert session.undo() is None
    for state in states[1:]:
        session.redo()
        np.testing.assert_array_equal(session.labelmap, state)
    assert session.redo() is None


def test_brush_work_reaches_the_model_as_a_mask_between_old_and_new_clicks(volume):
    session = Session(volume)
    session.add_object()
    session.add_prompt(1, Point((1, 1, 1)))
    session.commit(1, answer((0, 0, 0), (3, 3, 3)))
    assert session.previous(1, "fake") is not None
    assert session.previous(1, "other") is None
    brush(session, (4, 4, 4), (5, 6, 7), 1)
    assert session.previous(1, "fake") is None
    session.add_prompt(1, Point((5, 5, 5)))
    first, mask, last = session.model_prompts(1)
    assert (first, last) == (Point((1, 1, 1)), Point((5, 5, 5)))
    assert isinstance(mask, MaskPrompt)
    np.testing.assert_array_equal(mask.array(volume.geometry.region), session.labelmap == 1)
    assert session.model_prompts(1) == (first, mask, last)


def test_undone_answers_do_not_come_back_as_masks(volume):
    session = Session(volume)
    session.add_object()
    session.add_prompt(1, Point((1, 1, 1)))
    session.commit(1, answer((0, 0, 0), (3, 3, 3)))
    session.undo()
    assert session.model_prompts(1) == (Point((1, 1, 1)),)


def test_a_given_labelmap_is_edited_in_place_and_its_objects_found(volume):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 2:4, 3:5] = 7
    session = Session(volume, labels)
    session.add_object("old", number=7)
    assert session.extent(7) == Region((1, 2, 3), (3, 4, 5))
    session.commit(7, answer((5, 5, 5), (6, 6, 6)))
    assert labels.sum() == 7
    with pytest.raises(InputError, match="choose labels of the same image"):
        Session(volume, np.zeros((2, 2, 2), np.uint8))


def test_prompts_can_be_moved_and_removed(volume):
    session = Session(volume)
    session.add_object()
    heard = []
    session.prompts_changed.connect(heard.append)
    session.add_prompt(1, Point((1, 1, 1)))
    session.add_prompt(1, Point((2, 2, 2), False))
    session.move_prompt(1, 0, Point((3, 3, 3)))
    session.remove_prompt(1, 1)
    assert session.prompts(1) == (Point((3, 3, 3)),)
    assert heard == [1] * 4
    with pytest.raises(PromptError, match="outside"):
        session.add_prompt(1, Point((99, 0, 0)))
    assert session.prompts(1) == (Point((3, 3, 3)),)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=12), seeds)
def test_a_journal_replays_to_the_same_bytes(tmp_path_factory, actions, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=SHAPE).astype(np.float32)
    volume = Volume(image, Geometry.from_spacing(SHAPE))
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    labels = rng.integers(0, 2, SHAPE).astype(np.uint16)
    session = Session(volume, labels, journal=Journal(path))
    session.add_object("a")
    session.add_object("b", number=5)
    for action in actions:
        number = int(rng.choice([1, 5]))
        corner = [int(rng.integers(0, n - 1)) for n in SHAPE]
        if action == 0:
            session.commit(number, answer(corner, [c + 3 for c in corner]))
        elif action == 1:
            session.undo()
        elif action == 2:
            session.redo()
        elif action == 3:
            session.add_prompt(number, Point(corner, bool(rng.integers(2))))
        elif action == 4:
            brush(session, corner, [c + 1 for c in corner], number)
        else:
            session.policy = LabelPolicy(rng.choice(list(PolicyMode)))
    expected, prompts, policy = session.labelmap.copy(), session.prompts(5), session.policy
    session.close()
    again = Session.replay(path, volume)
    assert again.labelmap.tobytes() == expected.tobytes()
    assert again.prompts(5) == prompts
    assert again.policy == policy
    assert [o.name for o in again.objects] == ["a", "b"]
    again.commit(1, answer((0, 0, 0), (2, 2, 2)))
    again.close()
    final = Session.replay(path, volume)
    assert final.labelmap.tobytes() == again.labelmap.tobytes()
    final.close()


def test_a_torn_last_line_is_dropped_and_a_broken_middle_is_told(tmp_path, volume):
    path = tmp_path / "j.jsonl"
    session = Session(volume, journal=Journal(path))
    session.add_object("liver")
    session.commit(1, answer((0, 0, 0), (2, 2, 2)))
    session.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op":"edit","at')
    again = Session.replay(path, volume)
    assert again.labelmap.sum() == 8
    again.close()
    assert path.read_bytes() == whole
    path.write_bytes(b"{broken\n" + whole)
    with pytest.raises(InputError, match=r"Line 1 .* damaged"):
        Session.replay(path, volume)


def test_a_journal_of_another_volume_is_refused(tmp_path, volume):
    Session(volume, journal=Journal(tmp_path / "j.jsonl")).close()
    other = Volume(np.zeros(SHAPE, np.float32), volume.geometry, name="other")
    with pytest.raises(InputError, match="belongs to 'scan', not to 'other'"):
        Session.replay(tmp_path / "j.jsonl", other)
    with pytest.raises(InputError, match="cannot be read"):
        Session.replay(tmp_path / "none.jsonl", volume)


def test_journal_lines_are_plain_json(tmp_path, volume):
    session = Session(volume, journal=Journal(tmp_path / "j.jsonl"))
    session.add_object("liver", code="10200004")
    session.close()
    lines = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [line["op"] for line in lines] == ["open", "object"]
    assert lines[1]["code"] == "10200004"


def test_removing_an_object_gives_the_edit_that_clears_it(volume):
    session = Session(volume)
    session.add_object()
    session.commit(1, answer((0, 0, 0), (2, 2, 2)))
    edit = session.remove_object(1)
    assert edit.changed == 8
    assert session.labelmap.any()
    edit.apply(session.labelmap)
    session.adopt(edit)
    assert not session.labelmap.any()
    with pytest.raises(InputError, match="no object 1"):
        session.prompts(1)


def test_removing_an_early_prompt_keeps_later_clicks_behind_the_brushed_mask(volume):
    session = Session(volume)
    number = session.add_object().number
    first, second, third = (Point((1.0, 1.0, float(k))) for k in range(3))
    session.set_prompts(number, [first, second])
    brush(session, (4, 4, 4), (5, 6, 7), number)
    session.add_prompt(number, third)
    session.remove_prompt(number, 0)
    kinds = [p.kind for p in session.model_prompts(number)]
    assert kinds == ["point", "mask", "point"]
    assert session.model_prompts(number)[-1] == third
