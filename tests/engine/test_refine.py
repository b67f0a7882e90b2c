"""Corrections of a trusted mask stay near, whatever the model makes of the rest."""

from __future__ import annotations

import numpy as np

from openmedlab.core import (
    Box,
    CancelToken,
    Capabilities,
    Edit,
    Encoding,
    Geometry,
    Journal,
    LogitsPatch,
    MaskPrompt,
    Point,
    Region,
    Session,
    Volume,
)
from openmedlab.engine import answer_prompts

SHAPE = (30, 60, 90)
GEOMETRY = Geometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
VOLUME = Volume(np.zeros(SHAPE, np.int16), GEOMETRY)
ORGAN = np.s_[5:25, 10:50, 10:80]


class Rash:
    """Says inside everywhere it looks after a positive prompt, outside after a negative one."""

    name, version = "rash", "1"
    capabilities = Capabilities(frozenset({"point", "mask", "box"}))

    def __init__(self):
        self.seen = []

    def region(self, geometry, prompts):
        return Region.around(prompts[-1].positions()).padded(40).clipped(geometry.shape)

    def encode(self, volume, region, progress, cancel):
        return Encoding(region, None, 0)

    def predict(self, encoding, prompts, previous, progress, cancel):
        self.seen.append(tuple(p.kind for p in prompts))
        sign = 1 if prompts[-1].positive else -1
        logits = np.full(encoding.region.shape, sign, np.float32)
        return LogitsPatch(encoding.region, logits, self.name, self.seen[-1])


def organ() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[ORGAN] = True
    return mask


def trusted(mask: np.ndarray) -> MaskPrompt:
    made = MaskPrompt.from_array(mask)
    return MaskPrompt(made.start, made.stop, made.bits, trusted=True)


def answered(model, prompts, previous=None):
    patch = answer_prompts(model, VOLUME, prompts, previous, cancel=CancelToken())
    mask = np.zeros(SHAPE, bool)
    mask[patch.region.slices] = patch.mask
    return mask, patch


def distance(spot) -> np.ndarray:
    grid = np.ogrid[tuple(slice(n) for n in SHAPE)]
    steps = zip(grid, spot, GEOMETRY.spacing, strict=True)
    return np.sqrt(sum(((g - c) * mm) ** 2 for g, c, mm in steps))


def test_a_click_reaches_as_far_as_the_error_is_thick() -> None:
    mask = organ()
    for spot, thick in (((15, 12, 40), 3), ((15, 30, 40), 20)):
        after, _ = answered(Rash(), [trusted(mask), Point(spot, positive=False)])
        changed = after != mask
        assert not after[spot]
        assert distance(spot)[changed].max() <= max(1.3 * thick + 5, 8) + 1e-3
        assert changed[(distance(spot) <= thick + 4) & mask].all()


def test_an_untrusted_mask_is_the_models_to_change() -> None:
    mask = organ()
    after, _ = answered(Rash(), [MaskPrompt.from_array(mask), Point((15, 12, 40), False)])
    assert (after != mask).sum() > 20_000


def test_one_after_the_other_and_only_what_is_new() -> None:
    mask, model = organ(), Rash()
    first, second = Point((15, 12, 20), False), Point((15, 55, 60))
    _, patch = answered(model, [trusted(mask), first])
    both, _ = answered(model, [trusted(mask), first, second], patch)
    assert model.seen == [("mask", "point")] * 2
    anew, _ = answered(Rash(), [trusted(mask), first, second])
    np.testing.assert_array_equal(both, anew)
    assert not both[15, 12, 20]
    assert both[15, 55, 60]
    moved, _ = answered(model, [trusted(mask), Point((15, 12, 70), False), second], patch)
    assert moved[15, 12, 20]
    assert not moved[15, 12, 70]


def test_far_from_the_mask_the_model_starts_anew() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[2:4, 2:4, 2:4] = True
    model = Rash()
    after, _ = answered(model, [trusted(mask), Point((20, 40, 85))])
    assert after[2:4, 2:4, 2:4].all()
    assert after[20, 40, 85]
    assert distance((20, 40, 85))[after & ~mask].max() <= 60
    nothing, _ = answered(Rash(), [trusted(mask), Point((28, 58, 88), False)])
    np.testing.assert_array_equal(nothing, mask)


def test_a_box_counts_as_a_whole() -> None:
    mask = organ()
    box = Box((10, 40, 20), (12, 58, 70))
    after, _ = answered(Rash(), [trusted(mask), box])
    assert after[10:13, 40:59, 20:71].all()
    np.testing.assert_array_equal(after[:, :20], mask[:, :20])


def test_a_session_trusts_what_it_was_told_to_and_its_journal_knows(tmp_path) -> None:
    labels = organ().astype(np.uint16) * 3
    path = tmp_path / "j.jsonl"
    session = Session(VOLUME, labels.copy(), journal=Journal(path))
    session.add_object("organ", number=3)
    session.build_on(3)
    session.add_prompt(3, Point((15, 12, 40), positive=False))
    base, click = session.model_prompts(3)
    assert base.trusted
    assert click.kind == "point"
    before = labels.copy()
    patch = answer_prompts(Rash(), VOLUME, session.model_prompts(3), session.previous(3, "rash"))
    edit = session.commit(3, patch)
    assert isinstance(edit, Edit)
    assert 0 < edit.changed < 5000
    session.close()
    again = Session.replay(path, VOLUME)
    np.testing.assert_array_equal(again.labelmap, session.labelmap)
    assert (before != again.labelmap).sum() == edit.changed
    click, base = again.model_prompts(3)
    assert base.trusted
    np.testing.assert_array_equal(base.array(VOLUME.geometry.region), session.labelmap == 3)
    again.close()
