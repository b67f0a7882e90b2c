"""The built-in localizer: templates on the phantom found again in moved, turned and cut scans."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openmedlab.builtin.localizer import BuiltinLocalizer
from openmedlab.builtin.localizer.evidence import Guess
from openmedlab.builtin.localizer.fuse import fuse
from openmedlab.core import (
    Cancelled,
    CancelToken,
    Geometry,
    InputError,
    LabelVolume,
    Localization,
    Localizer,
    Progress,
    Region,
    Volume,
)
from openmedlab.io import phantom, sample
from openmedlab.localization.points import points_of_mask
from openmedlab.localization.templates import TemplateLibrary

ORGANS = ("liver", "spleen", "kidney_left", "heart")
SHAPE = (50, 75, 100)


@dataclass(frozen=True)
class World:
    """A change of the world: a turn and a scale about the origin, then a shift."""

    matrix: np.ndarray
    shift: np.ndarray

    @classmethod
    def drawn(cls, seed: int) -> World:
        rng = np.random.default_rng(seed)
        angles = np.deg2rad(rng.uniform(-9, 9, 3))
        turn = np.eye(3)
        for axis, angle in enumerate(angles):
            i, j = [k for k in range(3) if k != axis]
            step = np.eye(3)
            step[[i, i, j, j], [i, j, i, j]] = (
                np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle),
            )  # fmt: skip
            turn = step @ turn
        return cls(turn * rng.uniform(0.93, 1.08), rng.uniform(-300, 300, 3))

    def points(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix.T + self.shift

    def volume(self, volume: Volume) -> Volume:
        change = np.eye(4)
        change[:3, :3], change[:3, 3] = self.matrix, self.shift
        geometry = Geometry(volume.shape, change @ volume.geometry.affine)
        return replace(volume, geometry=geometry, name="moved")


def stored_otherwise(volume: Volume, seed: int) -> Volume:
    """The same scan with its axes in another order and some of them backwards."""
    rng = np.random.default_rng(seed)
    codes = "".join(rng.permutation([rng.choice(list(pair)) for pair in ("SI", "PA", "LR")]))
    turn = volume.geometry.reorientation(codes)
    return replace(
        volume, array=np.ascontiguousarray(turn.apply(volume.read())), geometry=turn.geometry
    )


def truth(labels: LabelVolume, organ: str) -> np.ndarray:
    number = next(n for n, label in labels.labels.items() if label.name == organ)
    return points_of_mask(labels.array == number, labels.geometry)


def localize(library: Any, volume: Volume) -> dict[str, Localization]:
    return BuiltinLocalizer().localize(library, volume, Progress(), CancelToken())


def in_world(found: Localization, volume: Volume) -> np.ndarray:
    return volume.geometry.index_to_world(found.points.positions())


@pytest.fixture(scope="module")
def torso() -> tuple[Volume, LabelVolume]:
    return phantom(SHAPE, seed=1)


@pytest.fixture(scope="module")
def library(
    torso: tuple[Volume, LabelVolume], tmp_path_factory: pytest.TempPathFactory
) -> TemplateLibrary:
    volume, labels = torso
    made = TemplateLibrary(tmp_path_factory.mktemp("library"))
    for organ in ORGANS:
        made.add(organ, truth(labels, organ), volume)
    return made


def test_it_keeps_the_contract() -> None:
    assert isinstance(BuiltinLocalizer(), Localizer)
    assert BuiltinLocalizer().name == "builtin"


@pytest.mark.parametrize("seed", range(3))
def test_a_moved_turned_and_scaled_body_is_found_however_it_is_stored(
    library: TemplateLibrary, torso: tuple[Volume, LabelVolume], seed: int
) -> None:
    world = World.drawn(seed)
    query = stored_otherwise(world.volume(torso[0]), seed)
    found = localize(library, query)
    assert set(found) == set(ORGANS)
    for organ, place in found.items():
        assert query.geometry.contains(place.points.positions()).all()
        true = world.points(truth(torso[1], organ))
        error = np.linalg.norm(in_world(place, query) - true, axis=1)
        assert error.mean() < 8, (organ, error)
        assert place.confidence > 0.5, organ


def test_another_body_is_found_with_confidence(library: TemplateLibrary) -> None:
    query, labels = phantom(SHAPE, seed=7)
    for organ, place in localize(library, query).items():
        middle = in_world(place, query).mean(0)
        assert np.linalg.norm(middle - truth(labels, organ).mean(0)) < 8
        assert 0.5 < place.confidence <= 1


def test_what_lies_outside_of_a_cut_scan_is_not_claimed(
    library: TemplateLibrary, torso: tuple[Volume, LabelVolume]
) -> None:
    volume, labels = torso
    spleen = volume.geometry.world_to_index(truth(labels, "spleen"))
    heart = volume.geometry.world_to_index(truth(labels, "heart"))
    up = heart[:, 0].mean() > spleen[:, 0].mean()
    cut = int(np.ceil(spleen[:, 0].max() if up else spleen[:, 0].min())) + (4 if up else -4)
    top = (0, cut) if up else (cut, volume.shape[0])
    query = volume.cropped(Region((top[0], 0, 0), (top[1], *volume.shape[1:])))
    found = localize(library, query)
    error = in_world(found["kidney_left"], query) - truth(labels, "kidney_left")
    assert np.linalg.norm(error, axis=1).mean() < 8
    hidden = found.get("heart")
    assert hidden is None or hidden.confidence < 0.5 or hidden.points.box.region.shape[0] < 15


def test_templates_that_agree_are_trusted_more() -> None:
    geometry = Geometry.from_spacing((100, 100, 100), (3, 3, 3))
    cube = 150 + 40 * np.array(
        [[0, 0, -1], [0, -1, 0], [-1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    )

    def confidence(shifts: tuple[int, ...]) -> float:
        said = [Guess(cube + float(s), bits=12, cut=0, score=0.8) for s in shifts]
        place = fuse(said, geometry)
        assert place is not None
        return place.confidence

    assert confidence((0, 2, -2)) > confidence((0, 40, -40)) > 0
    assert fuse([Guess(cube + 900.0, bits=12, cut=0, score=0.8)], geometry) is None


def test_a_template_that_disagrees_is_outvoted(tmp_path: Path) -> None:
    made = TemplateLibrary(tmp_path)
    for seed in (2, 3, 4):
        volume, labels = phantom(SHAPE, seed=seed)
        points = truth(labels, "liver")
        if seed == 4:
            points = points + np.array([0, 40, 60])
        made.add("liver", points, volume)
    query, labels = phantom(SHAPE, seed=5)
    place = localize(made, query)["liver"]
    error = in_world(place, query) - truth(labels, "liver")
    assert np.linalg.norm(error, axis=1).mean() < 12


def test_an_empty_scan_is_refused(
    library: TemplateLibrary, torso: tuple[Volume, LabelVolume]
) -> None:
    empty = replace(torso[0], array=np.zeros(torso[0].shape, np.int16), name="blank")
    with pytest.raises(InputError, match="blank"):
        localize(library, empty)


def test_a_magnetic_resonance_scan_is_refused_by_templates_on_ct(
    library: TemplateLibrary, torso: tuple[Volume, LabelVolume]
) -> None:
    odd = replace(torso[0], modality="MR", name="head_t1")
    with pytest.raises(InputError, match="head_t1 is MR"):
        localize(library, odd)


def test_another_part_of_the_world_is_not_claimed_with_confidence(
    library: TemplateLibrary, torso: tuple[Volume, LabelVolume]
) -> None:
    rng = np.random.default_rng(0)
    blocks = rng.choice([-1000, -80, 40, 60, 300], (10, 15, 20)).astype(np.int16)
    noise = np.kron(blocks, np.ones((5, 5, 5), np.int16))
    for organ, place in localize(library, replace(torso[0], array=noise)).items():
        assert place.confidence < 0.5, organ


def test_a_library_without_templates_is_refused(
    tmp_path: Path, torso: tuple[Volume, LabelVolume]
) -> None:
    with pytest.raises(InputError, match="no template"):
        localize(TemplateLibrary(tmp_path), torso[0])


def test_a_template_whose_scan_is_gone_is_told_and_the_rest_goes_on(
    tmp_path: Path, torso: tuple[Volume, LabelVolume]
) -> None:
    made = TemplateLibrary(tmp_path)
    made.add("liver", truth(torso[1], "liver"), torso[0])
    other, labels = phantom(SHAPE, seed=3)
    lost = made.add("spleen", truth(labels, "spleen"), other)
    made.volume_path(lost).unlink()
    said: list[str] = []
    again = TemplateLibrary(tmp_path)
    progress = Progress(lambda done, total, text: said.append(text))
    found = BuiltinLocalizer().localize(again, torso[0], progress, CancelToken())
    assert set(found) == {"liver"}
    assert any("gone" in text for text in said)
    again.remove(again.of("liver")[0].name)
    with pytest.raises(InputError, match="gone"):
        localize(again, torso[0])


def test_a_template_scan_is_prepared_once(
    tmp_path: Path, torso: tuple[Volume, LabelVolume]
) -> None:
    made = TemplateLibrary(tmp_path)
    kept = made.add("liver", truth(torso[1], "liver"), torso[0])
    first = localize(made, torso[0])["liver"]
    made.volume_path(kept).unlink()
    second = localize(TemplateLibrary(tmp_path), torso[0])["liver"]
    assert first.points == second.points


def test_cancel_is_looked_at(library: TemplateLibrary, torso: tuple[Volume, LabelVolume]) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        BuiltinLocalizer().localize(library, torso[0], Progress(), cancel)


@pytest.mark.slow
@pytest.mark.skipif("OPENMEDLAB_SAMPLES" not in os.environ, reason="needs the real samples")
@pytest.mark.parametrize(
    ("template", "query", "least"),
    [
        ("ct_headneck_okbp_312", "ct_headneck_okbp_004", 0.52),
        ("ct_abdpelvis_ts", "ct_upperabd_dicom_ts", 0.5),
    ],
)
def test_real_scans_of_different_patients(
    template: str, query: str, least: float, tmp_path: Path
) -> None:
    made = TemplateLibrary(tmp_path)
    marked, marks = sample(template)
    scan, labels = sample(query)
    present = {labels.labels[n].name for n in np.unique(labels.array) if n in labels.labels}
    shared = [
        o
        for o in ("brainstem", "parotid_left", "mandible", "larynx", "liver", "spleen")
        if o in present and any(v.name == o for v in marks.labels.values())
    ]
    for organ in shared:
        made.add(organ, truth(marks, organ), marked)
    overlaps = []
    for organ, place in localize(made, scan).items():
        true = scan.geometry.world_to_index(truth(labels, organ))
        box = place.points.box
        low, high = np.array(box.lower), np.array(box.upper)
        a, b = true.min(0), true.max(0)
        common = np.clip(np.minimum(high, b) - np.maximum(low, a) + 1, 0, None).prod()
        overlaps.append(common / ((high - low + 1).prod() + (b - a + 1).prod() - common))
    assert len(overlaps) == len(shared) >= 2
    assert np.mean(overlaps) > least
