"""Measures kept up to date by edits equal measures taken anew; changes are counted exactly."""

from __future__ import annotations

import numpy as np
import pytest

from openmedlab.core import Edit, Label, LabelVolume, Region, Volume
from openmedlab.io import phantom
from openmedlab.labeling.groups import OTHERS, grouped
from openmedlab.labeling.measures import Changes, Measures
from openmedlab.labeling.methods import LABELERS, offered_labelers

LIVER, SPLEEN = 5, 6


@pytest.fixture
def scan() -> tuple[Volume, LabelVolume]:
    return phantom((20, 60, 80))


def edit_box(labels: LabelVolume, region: Region, value: int) -> Edit:
    before = labels.array[region.slices].copy()
    edit = Edit.between(before, np.full_like(before, value), region)
    assert edit is not None
    edit.apply(labels.array)
    return edit


def test_after_edits_as_if_measured_anew(scan: tuple[Volume, LabelVolume]) -> None:
    image, labels = scan
    first = Measures.of(labels, image, ["pancreas"])
    box = next(s.region for s in first.statistics if s.number == LIVER)
    edits = [
        edit_box(labels, box, 0),
        edit_box(labels, Region((0, 0, 0), (3, 5, 6)), SPLEEN),
        edit_box(labels, Region((15, 40, 40), (17, 44, 44)), LIVER),
        edit_box(labels, Region((1, 1, 1), (2, 2, 2)), 99),
    ]
    now = first.after(edits, labels, image)
    anew = Measures.of(labels, image, ["pancreas"])
    assert now.statistics == anew.statistics
    assert set(now.warnings) == set(anew.warnings)
    assert {(w.kind, w.name) for w in now.warnings} >= {
        ("missing", "pancreas"),
        ("volume", "liver"),
    }


def test_what_was_not_touched_is_not_looked_at_again(
    scan: tuple[Volume, LabelVolume], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, labels = scan
    first = Measures.of(labels, image)
    from openmedlab.labeling import statistics

    seen: list[int] = []
    measured = statistics._measured
    monkeypatch.setattr(
        statistics, "_measured", lambda m, i, n, r: (seen.append(n), measured(m, i, n, r))[1]
    )
    first.after([edit_box(labels, Region((0, 0, 0), (1, 1, 1)), SPLEEN)], labels, image)
    assert seen == [SPLEEN]


def test_changes_are_net_of_undo_and_by_label(scan: tuple[Volume, LabelVolume]) -> None:
    labels = scan[1]
    labels.array[...] = 0
    labels.array[2:6, 2:6, 2:6] = LIVER
    changes = Changes(labels.geometry.shape)
    taken = edit_box(labels, Region((2, 2, 2), (3, 6, 6)), SPLEEN)
    changes.note(taken)
    added = edit_box(labels, Region((2, 2, 2), (3, 6, 8)), SPLEEN)
    changes.note(added)
    assert changes.count(labels.array) == {LIVER: (0, 16), SPLEEN: (24, 0)}
    assert changes.total(labels.array) == 24
    for edit in (added, taken):
        back = edit.inverse()
        back.apply(labels.array)
        changes.note(back)
    assert changes.count(labels.array) == {}
    assert changes.total(labels.array) == 0


def test_structures_are_grouped_by_name_in_an_order_people_expect() -> None:
    names = ["vertebrae_L1", "vertebrae_T12", "vertebrae_T2", "vertebrae_C7", "rib_left_10"]
    names += ["rib_left_2", "liver", "my_lesion", "lung_left", "bone"]
    found = {part: [v.name for v in own] for part, own in grouped(map(Label, names)).items()}
    assert found == {
        "organs": ["liver"],
        "airways and lungs": ["lung_left"],
        "bones": ["bone"],
        "ribs": ["rib_left_2", "rib_left_10"],
        "vertebrae": ["vertebrae_C7", "vertebrae_T2", "vertebrae_T12", "vertebrae_L1"],
        OTHERS: ["my_lesion"],
    }


def test_every_labeler_is_offered_with_its_structures() -> None:
    offered = offered_labelers()
    assert set(offered) == set(LABELERS)
    assert next(iter(offered)) == "builtin-tissues"
    assert offered["builtin-tissues"].state == "ready"
    assert len(offered["stu-net-s"].labels) == 104
    assert offered["stu-net-s"].state != "ready"
    assert OTHERS not in grouped(offered["stu-net-s"].labels)
