import datetime as dt
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from openmedlab.core import Geometry, InputError, PromptError, Region, Volume
from openmedlab.io import read_volume, write_volume
from openmedlab.localization.points import (
    DIRECTIONS,
    ordered_points,
    parts_of_mask,
    points_of_mask,
    to_grid,
    to_world,
)
from openmedlab.localization.templates import Template, TemplateLibrary

FLIPPED = np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]], float)
TURNED = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], float)


def _volume(direction: np.ndarray | None = None, seed: int = 0) -> Volume:
    geometry = Geometry.from_spacing((20, 24, 28), (2.5, 1.5, 1.0), (-30, 12, 55), direction)
    array = np.random.default_rng(seed).integers(-1000, 500, geometry.shape).astype(np.int16)
    return Volume(array, geometry, "CT", "scan")


def _on_disk(path: Path, seed: int = 0) -> Volume:
    write_volume(_volume(seed=seed), path)
    return read_volume(path)


def _box_mask(volume: Volume) -> np.ndarray:
    mask = np.zeros(volume.shape, bool)
    mask[4:9, 6:13, 10:22] = True
    return mask


@pytest.mark.parametrize("direction", [None, FLIPPED, TURNED])
def test_points_of_a_mask_are_ordered_by_anatomy_and_come_back_as_the_same_box(direction):
    volume = _volume(direction)
    points = points_of_mask(_box_mask(volume), volume.geometry)
    x, y, z = points.T
    assert (z.argmin(), y.argmin(), x.argmin()) == (0, 1, 2)
    assert (z.argmax(), y.argmax(), x.argmax()) == (3, 4, 5)
    back = to_grid(points, volume.geometry)
    assert back.box.region == Region((4, 6, 10), (9, 13, 22))
    first_z, last_z, first_y, last_y, first_x, last_x = np.rint(back.positions())
    assert (first_z[0], last_z[0], first_y[1], last_y[1]) == (4, 8, 6, 12)
    assert (first_x[2], last_x[2]) == (10, 21)
    assert np.allclose(to_world(back, volume.geometry), points)


def test_a_point_that_is_the_most_of_two_directions_is_used_once():
    corner = [10.0, 0.0, -10.0]
    points = [corner, [0, 0, 10], [0, -5, 0], [0, 5, 0], [-8, 0, 0], [9, 0, -9]]
    found = ordered_points(points)
    assert sorted(map(tuple, found)) == sorted(map(tuple, np.array(points, float)))
    assert found[DIRECTIONS.index("superior")].tolist() == [0, 0, 10]


def test_a_template_is_found_again_with_all_it_says(tmp_path):
    scan = _on_disk(tmp_path / "scans" / "a.nii.gz")
    library = TemplateLibrary(tmp_path / "library")
    points = points_of_mask(_box_mask(scan), scan.geometry)
    library.add(
        "kidney_left", points, scan, code="64033007", annotator="A. B.", date=dt.date(2026, 1, 2)
    )
    (template,) = TemplateLibrary(library.folder).templates
    assert (template.organ, template.code, template.annotator) == (
        "kidney_left",
        "64033007",
        "A. B.",
    )
    assert template.date == dt.date(2026, 1, 2)
    assert np.array_equal(template.points, points)
    assert template.scan == scan.identity
    assert template.volume.path.is_absolute()
    assert template.extreme_points.box.region == Region((4, 6, 10), (9, 13, 22))
    assert np.array_equal(library.volume(template).read(), scan.read())
    assert library.check() == []


def test_a_library_with_its_scans_inside_can_be_moved(tmp_path):
    library = TemplateLibrary(tmp_path / "here")
    scan = _on_disk(library.folder / "scans" / "a.nii.gz")
    library.add("liver", points_of_mask(_box_mask(scan), scan.geometry), scan)
    moved = library.folder.rename(tmp_path / "there")
    again = TemplateLibrary(moved)
    assert again.templates[0].volume.path == Path("scans/a.nii.gz")
    assert again.check() == []


def test_a_scan_without_a_file_is_kept_in_the_library_and_goes_with_its_last_template(tmp_path):
    library = TemplateLibrary(tmp_path)
    scan = _volume()
    points = points_of_mask(_box_mask(scan), scan.geometry)
    first = library.add("liver", points, scan)
    second = library.add("spleen", points + 1, scan)
    assert library.volume(second).modality == "CT"
    library.features(first, "m", lambda v: {"a": np.ones(2)})
    library.remove(first.name)
    assert library.check() == []
    library.remove(second.name)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_changed_or_missing_scan_and_a_broken_file_are_found(tmp_path):
    paths = [tmp_path / f"{n}.nii.gz" for n in "ab"]
    library = TemplateLibrary(tmp_path / "library")
    for k, path in enumerate(paths):
        scan = _on_disk(path, k)
        library.add("liver", points_of_mask(_box_mask(scan), scan.geometry), scan)
    third = library.add("spleen", library.templates[0].points, _volume(seed=5))
    (library.folder / third.name / "template.toml").write_text("organ = ")
    paths[0].unlink()
    _on_disk(paths[1], 7)
    texts = {f.template: f.text for f in TemplateLibrary(library.folder).check()}
    by_path = {t.volume.path.name: texts[t.name] for t in library.templates if t.organ == "liver"}
    assert "is gone" in by_path["a.nii.gz"]
    assert "changed" in by_path["b.nii.gz"]
    assert "cannot be used" in texts[third.name]


def test_a_scan_that_goes_or_changes_later_is_noticed(tmp_path):
    path = tmp_path / "a.nii.gz"
    scan = _on_disk(path)
    library = TemplateLibrary(tmp_path / "library")
    library.add("liver", points_of_mask(_box_mask(scan), scan.geometry), scan)
    assert library.usable()[0].organs == ("liver",)
    _on_disk(path, seed=3)
    os.utime(path, (1, 1))
    assert "changed" in library.check()[0].text
    path.unlink()
    left, remarks = library.usable()
    assert left.templates == ()
    assert "is gone" in remarks[0]
    assert remarks[1] == "liver has no usable template and is left out."
    _on_disk(path)
    assert library.check() == []


def test_features_are_computed_once_per_scan_and_model(tmp_path):
    library = TemplateLibrary(tmp_path)
    scan = _volume()
    points = points_of_mask(_box_mask(scan), scan.geometry)
    calls = []

    def make(volume: Volume) -> dict[str, np.ndarray]:
        calls.append(volume.identity)
        return {"mean": np.array([volume.read().mean()])}

    liver, spleen = library.add("liver", points, scan), library.add("spleen", points + 1, scan)
    made = library.features(liver, "model 1", make)
    assert np.array_equal(library.features(spleen, "model 1", make)["mean"], made["mean"])
    again = TemplateLibrary(tmp_path)
    assert np.array_equal(again.features(spleen, "model 1", make)["mean"], made["mean"])
    assert len(calls) == 1
    library.features(liver, "model 2", make)
    assert len(calls) == 2


def test_damaged_features_are_made_again(tmp_path):
    library = TemplateLibrary(tmp_path)
    scan = _volume()
    template = library.add("liver", points_of_mask(_box_mask(scan), scan.geometry), scan)
    library.features(template, "m", lambda v: {"a": np.arange(3)})
    (file,) = (tmp_path / "features").glob("*.npz")
    file.write_bytes(file.read_bytes()[:40])
    found = TemplateLibrary(tmp_path).features(template, "m", lambda v: {"a": np.arange(3)})
    assert found["a"].tolist() == [0, 1, 2]


def test_one_organ_is_marked_once_on_a_scan_unless_replaced(tmp_path):
    library = TemplateLibrary(tmp_path)
    scan = _volume()
    points = points_of_mask(_box_mask(scan), scan.geometry)
    library.add("liver", points, scan)
    with pytest.raises(InputError, match="already marked"):
        library.add("liver", points + 1, scan)
    library.add("liver", points + 1, scan, replace_old=True)
    assert np.allclose(library.of("liver")[0].points, points + 1)


def test_what_cannot_be_a_template_is_refused_in_words(tmp_path):
    library = TemplateLibrary(tmp_path / "library")
    scan = _volume()
    points = points_of_mask(_box_mask(scan), scan.geometry)
    with pytest.raises(InputError, match="outside"):
        library.add("liver", points + 500, scan)
    with pytest.raises(PromptError, match="six points"):
        library.add("liver", points[:5], scan)
    with pytest.raises(InputError, match="name of its organ"):
        library.add("  ", points, scan)
    with pytest.raises(InputError, match="no template"):
        library.remove("liver")
    with pytest.raises(InputError, match="no template of liver"):
        library.only(["liver"])
    assert not list((tmp_path / "library").rglob("template.toml"))


def test_only_some_organs(tmp_path):
    library = TemplateLibrary(tmp_path)
    scan = _volume()
    points = points_of_mask(_box_mask(scan), scan.geometry)
    for organ in ("spleen", "liver", "aorta"):
        library.add(organ, points, scan)
    assert library.organs == ("aorta", "liver", "spleen")
    part = library.only(["liver", "aorta"])
    assert part.organs == ("aorta", "liver")
    assert len(library.templates) == 3


def test_the_file_is_plain_toml(tmp_path):
    library = TemplateLibrary(tmp_path)
    scan = _volume()
    template = library.add("liver", points_of_mask(_box_mask(scan), scan.geometry), scan)
    data = tomllib.loads((tmp_path / template.name / "template.toml").read_text())
    assert set(data["points"]) == set(DIRECTIONS)
    assert data["date"] == dt.date.today()
    assert isinstance(template, Template)


def test_parts_of_a_mask_run_from_inferior_to_superior_and_are_kept(tmp_path):
    library = TemplateLibrary(tmp_path)
    scan = _volume(FLIPPED)
    mask = _box_mask(scan)
    parts = parts_of_mask(mask, scan.geometry)
    assert parts.shape == (2, 6, 3)
    assert parts[0, :, 2].max() < parts[1, :, 2].min()
    library.add("liver", points_of_mask(mask, scan.geometry), scan, parts=parts)
    assert np.array_equal(TemplateLibrary(tmp_path).templates[0].parts, parts)
    mask[5] = False
    mask[6] = False
    assert len(parts_of_mask(mask[:5], Geometry((5, 24, 28), scan.geometry.affine))) == 0
