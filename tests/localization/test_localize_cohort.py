"""Organs found in a cohort: masks, table, page; bad scans, lost templates, resuming, a cluster."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shifted import Shifted

from openmedlab.core import Cancelled, CancelToken, InputError, LabelVolume, Region, Volume
from openmedlab.engine.cohort import Failed
from openmedlab.io import read_labels
from openmedlab.localization.cohort import CohortResult, localize_cohort
from openmedlab.localization.methods import LOCALIZERS, LocalizerChoice, PromptableChoice
from openmedlab.localization.result import ScanResult
from openmedlab.localization.templates import TemplateLibrary

Cohort = Callable[..., CohortResult]


@pytest.fixture
def cohort(scans: Path, library: TemplateLibrary, tmp_path: Path) -> Cohort:
    def run(**options: object) -> CohortResult:
        given = {"localizer": LocalizerChoice("shifted"), **options}
        return localize_cohort([scans], library.folder, tmp_path / "out", **given)  # type: ignore[arg-type]

    return run


def _names(result: CohortResult) -> list[str]:
    return [type(o).__name__ for o in result.outcomes]


def test_boxes_lie_on_the_organs_and_doubtful_ones_are_marked(
    cohort: Cohort, body: tuple[Volume, LabelVolume]
) -> None:
    result = cohort()
    scan = result.done[0]
    found = {o.organ: o for o in scan.organs}
    number = next(n for n, m in body[1].labels.items() if m.name == "liver")
    truth = Region.of_mask(body[1].array == number)
    assert found["liver"].extreme_points.box.region == truth
    assert {name: o.status for name, o in found.items()} == {
        "heart": "not found",
        "kidney_left": "found",
        "liver": "found",
        "spleen": "low",
    }
    right, left, anterior, posterior, inferior, superior = found["liver"].world
    assert right < left
    assert anterior < posterior
    assert inferior < superior
    assert found["liver"].code == "10200004"


def test_bad_scans_are_listed_and_the_rest_is_done(cohort: Cohort) -> None:
    result = cohort()
    assert _names(result) == ["ScanResult", "Failed", "Failed", "ScanResult", "Failed"]
    reasons = {f.image.name: f.reason for f in result.failed}
    assert "damaged" in reasons["c.nii.gz"]
    assert "empty" in reasons["d.nii.gz"]
    assert "MR" in reasons["e.nrrd"]
    page = result.page.read_text()
    for scan in result.failed:
        assert scan.image.name in page


def test_the_table_and_the_page_show_every_scan_and_organ(cohort: Cohort) -> None:
    result = cohort()
    with result.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    liver = next(r for r in rows if r["organ"] == "liver")
    assert float(liver["z0"]) < float(liver["z1"])
    assert float(liver["inferior_mm"]) < float(liver["superior_mm"])
    assert float(liver["confidence"]) == pytest.approx(0.9)
    page = result.page.read_text()
    assert page.count("data:image/jpeg;base64,") == 6
    assert page.count('<figure class="low">') == 2
    assert "http" not in page


def test_a_second_run_keeps_what_is_the_same(
    cohort: Cohort, shifted: type[Shifted], library: TemplateLibrary
) -> None:
    cohort()
    assert shifted.runs == 2
    again = cohort()
    assert shifted.runs == 2
    assert all(o.kept for o in again.done)
    assert again.page.read_text().count("data:image/jpeg") == 6
    library.remove(library.of("spleen")[0].name)
    fewer = cohort()
    assert shifted.runs == 4
    assert [o.organ for o in fewer.done[0].organs] == ["heart", "kidney_left", "liver"]


def test_a_cancelled_run_goes_on_where_it_stopped(cohort: Cohort, shifted: type[Shifted]) -> None:
    cancel = CancelToken()
    with pytest.raises(Cancelled):
        cohort(cancel=cancel, on_outcome=lambda _: cancel.cancel())
    assert shifted.runs == 1
    result = cohort()
    assert shifted.runs == 2
    assert [o.kept for o in result.done] == [True, False]


def test_masks_enter_one_labelmap(cohort: Cohort, body: tuple[Volume, LabelVolume]) -> None:
    result = cohort(method=PromptableChoice("builtin"), organs=["liver", "kidney_left"])
    scan = result.done[0]
    assert scan.output is not None
    labels = read_labels(scan.output)
    numbers = {label.name: n for n, label in labels.labels.items()}
    truth = {label.name: n for n, label in body[1].labels.items()}
    for organ in ("liver", "kidney_left"):
        own, known = labels.array == numbers[organ], body[1].array == truth[organ]
        assert 2 * (own & known).sum() / (own.sum() + known.sum()) > 0.7
    volumes = {o.organ: o.mask_ml for o in scan.organs}
    ml = (labels.array == numbers["liver"]).sum() * labels.geometry.voxel_volume / 1000
    assert volumes["liver"] == pytest.approx(ml)
    assert labels.labels[numbers["liver"]].code == "10200004"
    assert (scan.output.parent / "a_labels.nii.gz.manifest.json").is_file()
    kept = cohort(method=PromptableChoice("builtin"), organs=["liver", "kidney_left"])
    assert [o.kept for o in kept.done] == [True, True]


def test_a_template_whose_scan_is_gone_is_told_and_left_out(
    cohort: Cohort, library: TemplateLibrary, body: tuple[Volume, LabelVolume]
) -> None:
    other = Volume(body[0].read()[::-1].copy(), body[0].geometry, "CT", "kept in the library")
    library.add("aorta", library.of("liver")[0].points, other)
    library.volume_path(library.of("liver")[0]).unlink()
    said: list[str] = []
    result = cohort(on_remark=said.append)
    assert [o.organ for o in result.done[0].organs] == ["aorta"]
    assert any("is gone" in text for text in said)
    assert "liver has no usable template and is left out." in said
    assert "is gone" in result.page.read_text()


def test_nothing_usable_ends_in_a_sentence(
    cohort: Cohort, library: TemplateLibrary, scans: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="nonsense"):
        cohort(localizer=LocalizerChoice("nonsense"))
    with pytest.raises(InputError, match="no template of pancreas"):
        cohort(organs=["pancreas"])
    with pytest.raises(InputError, match="no template library"):
        localize_cohort([scans], tmp_path / "none", tmp_path / "out")
    library.volume_path(library.templates[0]).unlink()
    with pytest.raises(InputError, match="is gone"):
        cohort()
    with pytest.raises(InputError, match="no weights"):
        LocalizerChoice("builtin", weights=Path("w.pth")).make()
    assert set(LOCALIZERS) >= {"builtin", "medlam"}


def test_a_result_is_read_as_it_was_written(cohort: Cohort, tmp_path: Path) -> None:
    scan = cohort().done[0]
    assert ScanResult.read(tmp_path / "out" / "a_boxes.json") == scan
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="not the result"):
        ScanResult.read(tmp_path / "x.json")


def test_an_organ_whose_mask_fails_does_not_stop_the_others(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openmedlab.builtin.click import ClickSegmenter

    before, calls = ClickSegmenter.predict, []

    def predict(self: ClickSegmenter, *given: Any, **named: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            raise InputError("this one is odd")
        return before(self, *given, **named)

    monkeypatch.setattr(ClickSegmenter, "predict", predict)
    result = cohort(method=PromptableChoice("builtin"), organs=["liver", "kidney_left"])
    status = {o.status for o in result.done[0].organs}
    assert status == {"failed", "found"}
    assert any(o.note == "this one is odd" for o in result.done[0].organs)


@pytest.mark.slow
def test_a_dask_cluster_does_the_same(cohort: Cohort) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    with cluster:
        there = cohort(scheduler=cluster.scheduler_address)
    assert _names(there) == ["ScanResult", "Failed", "Failed", "ScanResult", "Failed"]
    assert isinstance(there.outcomes[1], Failed)
    here = cohort()
    assert [o.organs for o in here.done] == [o.organs for o in there.done]
