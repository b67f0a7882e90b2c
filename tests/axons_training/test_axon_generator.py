import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "training" / "axons"))
import generator
import train
from generator import (
    ARTEFACTS,
    Optics,
    Scene,
    add_artefacts,
    add_axons,
    background,
    compose,
    texture,
)
from scoring import Score

SHAPE = (40, 48, 48)
OPTICS = Optics(1.6, 0.76)


def drawn(draw, seed=3):
    random, scene = np.random.default_rng(seed), Scene.blank(SHAPE)
    draw(random, scene, OPTICS)
    return scene


def test_the_same_seed_draws_the_same_axons():
    first, again, other = drawn(add_axons), drawn(add_axons), drawn(add_axons, 4)
    assert np.array_equal(first.contrast, again.contrast)
    assert np.array_equal(first.axons, again.axons)
    assert not np.array_equal(first.contrast, other.contrast)


def test_the_truth_lies_where_the_light_is():
    scene = drawn(add_axons)
    assert scene.lines.any()
    assert not (scene.lines & ~scene.axons).any()
    assert scene.contrast[scene.lines].mean() > 5 * scene.contrast[~scene.axons].mean()


def test_an_axon_is_as_bright_on_its_axis_as_asked_for(monkeypatch):
    monkeypatch.setattr(generator, "_brightness", lambda random, count: np.ones(count, np.float32))
    for direction in ((0, 0, 1), (1, 0, 0), (0, 0.6, 0.8)):
        scene = Scene.blank(SHAPE)
        steps = np.arange(-60, 60, 0.5)[:, None]
        line = np.asarray(steps * direction + (20, 24, 24), np.float32)
        generator.draw_lines(np.random.default_rng(0), scene, [line], OPTICS, lambda: 0.7)
        assert scene.contrast[20, 24, 24] == pytest.approx(0.7, rel=0.1)


@pytest.mark.parametrize("kind", ARTEFACTS)
def test_artefacts_are_light_or_shadow_and_no_axon(kind):
    scene = drawn(ARTEFACTS[kind])
    assert np.isfinite(scene.contrast).all()
    assert np.abs(scene.contrast).max() > 0.05
    assert not scene.axons.any()


def test_artefact_blocks_hold_as_many_kinds_as_asked_for():
    scene = Scene.blank(SHAPE)
    kinds = add_artefacts(np.random.default_rng(1), scene, OPTICS, share=0.0, least=3)
    assert len(kinds) == 3


def test_real_ground_without_added_light_stays_as_it_is():
    random = np.random.default_rng(5)
    tissue = background(random, SHAPE)
    contrast = np.zeros(SHAPE, np.float32)
    assert np.array_equal(compose(random, tissue, contrast, 9.0, 0.0), tissue)
    contrast[:, 20:30] = 1
    lit = compose(random, tissue, contrast, 9.0, 0.0)
    assert lit[:, 22:28].mean() == pytest.approx(2 * tissue[:, 22:28].mean(), rel=0.1)
    assert np.array_equal(lit[:, :20], tissue[:, :20])


def test_texture_is_alike_among_neighbours_more_so_along_z():
    along_z, along_x = [], []
    for seed in range(8):
        fine = texture(np.random.default_rng(seed), SHAPE)
        assert fine.std() == pytest.approx(1, rel=1e-3)
        along_z.append((fine[1:] * fine[:-1]).mean())
        along_x.append((fine[..., 1:] * fine[..., :-1]).mean())
    assert 0.3 < np.mean(along_x) < np.mean(along_z) < 1


def test_dimmed_ground_is_darker_and_has_more_grain():
    light = background(np.random.default_rng(2), SHAPE) * 4
    darker = [train.dimmed(np.random.default_rng(seed), light) for seed in range(20)]
    changed = [d for d in darker if not np.array_equal(d, light)]
    assert 8 < len(changed) < 20
    for dim in changed:
        assert np.median(dim) < 0.95 * np.median(light)
        assert grain(dim) > grain(light)


def grain(light):
    """How much neighbours differ, beside how bright it is."""
    return np.abs(np.diff(light, axis=2)).mean() / light.mean()


def test_what_is_short_and_stands_alone_is_not_doubted():
    mask = np.zeros(SHAPE, bool)
    mask[5:15, 5:12, 5:12] = True
    beads = mask.copy()
    beads[30:36, 20:26, 2 : 2 + train.DOT + 1] = True
    beads[20:26, 40:46, 20:26] = beads[20:26, 34:40, 26:32] = beads[20:26, 30:34, 32:34] = True
    kept = train.without_dots(beads)
    assert np.array_equal(kept, beads & ~mask)
    assert not train.without_dots(mask).any()


def test_scores_forgive_two_voxels_and_no_more():
    line = np.zeros((20, 20, 40), bool)
    line[10, 10, 5:35] = True
    for shift, wanted in ((0, 1.0), (2, 1.0), (4, 0.0)):
        score = Score()
        score.add(np.roll(line, shift, 1), line, line)
        assert score.values[2] == pytest.approx(wanted, abs=1e-6)
    empty = Score()
    empty.add(np.zeros_like(line), line, line)
    assert empty.values[:2] == (0.0, 0.0)
    unknown = Score()
    unknown.add(np.roll(line, 4, 1), line, line, np.roll(line, 4, 1))
    assert unknown.found == 0
