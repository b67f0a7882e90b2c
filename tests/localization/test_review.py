"""The review of a cohort: decisions counted, remembered, scans gone through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openmedlab.core import Geometry, InputError, Region, Volume
from openmedlab.localization.fit import likely_modality, require_fit
from openmedlab.localization.pictures import HEIGHT, jpeg, organ_picture
from openmedlab.localization.review import CohortReview, Review

POINTS = np.arange(18.0).reshape(6, 3)


def test_the_newest_decision_counts_and_is_found_again(tmp_path: Path) -> None:
    review = Review(tmp_path / "r.jsonl")
    review.decide("a", "liver", "accepted", 0.9, POINTS)
    review.decide("a", "spleen", "rejected", 0.2)
    review.decide("a", "liver", "corrected", 0.9, POINTS + 1)
    review.finish("a")
    review.close()
    again = Review(tmp_path / "r.jsonl")
    assert again.counts == {"accepted": 0, "corrected": 1, "rejected": 1}
    assert np.array_equal(again.of("a")["liver"].points, POINTS + 1)
    assert again.finished("a")
    assert not again.finished("b")
    again.close()


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    review = Review(tmp_path / "r.jsonl")
    review.decide("a", "liver", "accepted", 0.9, POINTS)
    review.close()
    with (tmp_path / "r.jsonl").open("ab") as file:
        file.write(b'{"op": "decide", "scan"')
    again = Review(tmp_path / "r.jsonl")
    assert again.counts["accepted"] == 1
    again.close()


def test_scans_are_gone_through_once(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "scans" / f"{name}.nii.gz").write_bytes(b"x")
    cohort = CohortReview(tmp_path / "scans")
    assert cohort.next().name == Path("a")
    assert cohort.labels_path() == tmp_path / "scans_organs" / "a_labels.nii.gz"
    cohort.finish()
    assert cohort.next().name == Path("b")
    cohort.pass_over()
    assert cohort.next().name == Path("c")
    assert cohort.done == 1
    cohort.review.close()
    again = CohortReview(tmp_path / "scans")
    assert again.next().name == Path("b")
    again.review.close()


def test_what_a_scan_must_be() -> None:
    geometry = Geometry.from_spacing((2, 3, 4))
    ramp = np.linspace(-1000, 500, 24).reshape(2, 3, 4)
    ct = Volume(ramp, geometry, "unknown", "ct")
    mr = Volume(np.abs(ramp), geometry, "unknown", "mr")
    assert likely_modality(ct) == "CT"
    assert likely_modality(mr) == "unknown"
    require_fit(ct, {"CT"})
    require_fit(mr, {"unknown"})
    with pytest.raises(InputError, match="does not look like a CT"):
        require_fit(mr, {"CT"})
    with pytest.raises(InputError, match="is CT, but the templates were marked on MR"):
        require_fit(ct, {"MR"})
    with pytest.raises(InputError, match="is empty"):
        require_fit(Volume(np.zeros((2, 3, 4)), geometry), {"CT"})


def test_a_picture_shows_the_top_of_the_patient_up() -> None:
    geometry = Geometry.from_spacing((30, 40, 50), (2, 1, 1))
    array = np.full((30, 40, 50), -1000, np.int16)
    array[25:] = 1000
    volume = Volume(array, geometry, "CT")
    box = Region((20, 15, 20), (28, 25, 30))
    picture = organ_picture(volume, box, at=(24, 20, 25))
    assert picture.shape[0] == HEIGHT
    coronal = picture[:, picture.shape[1] // 2 - 40 : picture.shape[1] // 2]
    assert coronal[: HEIGHT // 10].mean() > coronal[-HEIGHT // 10 :].mean() + 100
    turned = Volume(array[::-1], Geometry((30, 40, 50), _upside_down(geometry)), "CT")
    flipped = Region((2, 15, 20), (10, 25, 30))
    assert np.array_equal(organ_picture(turned, flipped, at=(5, 20, 25)), picture)
    assert jpeg(picture)[:2] == b"\xff\xd8"


def _upside_down(geometry: Geometry) -> np.ndarray:
    affine = geometry.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (geometry.shape[0] - 1)
    affine[:3, 0] *= -1
    return affine
