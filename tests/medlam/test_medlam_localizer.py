import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage

from openmedlab.core import (
    Cancelled,
    CancelToken,
    Geometry,
    InputError,
    Localizer,
    Progress,
    Volume,
)
from openmedlab.localization.points import parts_of_mask, points_of_mask
from openmedlab.localization.templates import TemplateLibrary
from openmedlab.medlam.localizer import MedLam
from openmedlab.medlam.network import MedLamNetwork
from openmedlab.nn.fill import fill_by_name

SHAPE = (36, 40, 44)
SPACING = (3.6, 3.0, 2.7)


def network():
    """A narrow network that takes every place for the middle of the body."""
    made = MedLamNetwork(width=4).eval()
    fill_by_name(made)
    torch.nn.init.zeros_(made.fc3.weight)
    torch.nn.init.zeros_(made.fc3.bias)
    return made


@pytest.fixture(scope="module")
def body():
    """A body full of soft structures, and masks of two organs in it."""
    noise = np.random.default_rng(5).standard_normal(SHAPE)
    soft = ndimage.gaussian_filter(noise, 1.5)
    array = (soft / soft.std() * 150).astype(np.int16)
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = ((y - 20) / 18) ** 2 + ((x - 22) / 20) ** 2 < 1
    array[~inside] = -1000
    masks = {
        "liver": ((z - 20) / 7) ** 2 + ((y - 16) / 6) ** 2 + ((x - 17) / 8) ** 2 < 1,
        "spleen": ((z - 14) / 4) ** 2 + ((y - 25) / 4) ** 2 + ((x - 28) / 5) ** 2 < 1,
    }
    geometry = Geometry.from_spacing(SHAPE, SPACING, (-60, -55, -70))
    return Volume(array, geometry, "CT", "body"), masks


@pytest.fixture(scope="module")
def marked(tmp_path_factory, body):
    """A library with both organs, their features kept; not to be changed."""
    volume, masks = body
    made = TemplateLibrary(tmp_path_factory.mktemp("marked"))
    for organ, mask in masks.items():
        parts = parts_of_mask(mask, volume.geometry)[:2]
        made.add(organ, points_of_mask(mask, volume.geometry), volume, parts=parts, code="123")
    find(made, volume)
    return made


@pytest.fixture
def library(tmp_path, marked):
    """A copy of the library, with the features kept in it."""
    return TemplateLibrary(shutil.copytree(marked.folder, tmp_path / "library"), ["liver"])


def find(templates, volume, **options):
    model = MedLam(network(), version="test", **options)
    return model.localize(templates, volume, Progress(), CancelToken())


def test_it_is_a_localizer():
    assert isinstance(MedLam(network()), Localizer)


def turned(volume, codes):
    turn = volume.geometry.reorientation(codes)
    return replace(volume, array=turn.apply(volume.read()), geometry=turn.geometry, name=codes)


def oblique(volume):
    """The same voxels with the patient turned by 10 degrees: world points turn along."""
    angle = np.deg2rad(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    geometry = Geometry(volume.shape, turn @ volume.geometry.affine)
    return replace(volume, geometry=geometry, name="oblique")


@pytest.mark.parametrize("turn", [partial(turned, codes="LIP"), oblique])
def test_organs_are_found_where_they_were_marked_whatever_the_orientation(body, marked, turn):
    volume, masks = body
    query = turn(volume)
    found = find(marked, query)
    assert set(found) == set(masks)
    for organ, mask in masks.items():
        points = found[organ].points.positions()
        own = np.argwhere(volume.geometry.reorientation(query.geometry.codes).apply(mask))
        error = np.abs([points.min(0) - own.min(0), points.max(0) - own.max(0)])
        assert (error * query.geometry.spacing).max() <= 9
        assert query.geometry.contains(points).all()
        assert found[organ].confidence > 0.5


def test_templates_are_encoded_once_and_kept_on_disk(body, library, monkeypatch):
    volume, _ = body
    first = find(library, volume)
    monkeypatch.setattr(TemplateLibrary, "_read", lambda *_: pytest.fail("the scan was read"))
    again = find(TemplateLibrary(library.folder, ["liver"]), volume)["liver"]
    assert again.points == first["liver"].points
    assert again.confidence == pytest.approx(first["liver"].confidence)


def test_start_crops_are_encoded_once_for_all_organs_and_without_the_decoder(body, marked):
    volume, _ = body
    model = MedLam(network(), version="test")
    calls = {"encode": 0, "features": 0}
    made = model._steps._network
    for name in calls:
        original = getattr(made, name)

        def counted(*given, name=name, original=original):
            calls[name] += 1
            return original(*given)

        setattr(made, name, counted)
    model.localize(marked, volume, Progress(), CancelToken())
    assert calls == {"encode": 10 + 1, "features": 1}  # all points share the one expected place


@pytest.mark.slow
def test_slabs_are_found_where_templates_have_them(body, library):
    volume, _ = body
    whole, cut = find(library, volume)["liver"], find(library, volume, parts=True)["liver"]
    assert whole.parts == ()
    assert len(cut.parts) == 2
    heights = [p.positions()[:, 0] for p in cut.parts]
    together = cut.points.positions()
    assert together[:, 0].min() == min(h.min() for h in heights)
    assert together[:, 0].max() == max(h.max() for h in heights)


@pytest.mark.slow
def test_other_templates_of_the_organ_join_and_lower_the_confidence_if_they_disagree(body, library):
    volume, masks = body
    alone = find(library, volume)["liver"].confidence
    other = replace(volume, array=volume.read()[:, ::-1].copy(), name="mirrored")
    library.add("liver", points_of_mask(masks["liver"][:, ::-1], volume.geometry), other)
    assert len(library.of("liver")) == 2
    assert find(library, volume)["liver"].confidence < alone


def test_template_whose_scan_is_gone_is_left_out_and_told(body, library):
    volume, _ = body
    other = replace(volume, array=volume.read()[::-1].copy(), name="other")
    every = TemplateLibrary(library.folder)
    gone = every.add("kidney", library.of("liver")[0].points, other)
    library.volume_path(gone).unlink()
    said = []
    model = MedLam(network(), version="test")
    fresh = TemplateLibrary(library.folder, ["liver", "kidney"])
    progress = Progress(lambda done, total, text: said.append(text))
    found = model.localize(fresh, volume, progress, CancelToken())
    assert set(found) == {"liver"}
    assert any("is gone" in text for text in said)


def test_no_template_no_ct_and_air_are_told(tmp_path, body, library):
    volume, _ = body
    with pytest.raises(InputError, match="no template"):
        find(TemplateLibrary(tmp_path / "empty"), volume)
    with pytest.raises(InputError, match="CT only"):
        find(library, replace(volume, modality="MR"))
    with pytest.raises(InputError, match="nothing but air"):
        find(library, replace(volume, array=np.full(SHAPE, -1000, np.int16)))


def test_cancel_stops_between_patches(body, library):
    volume, _ = body
    cancel = CancelToken()
    progress = Progress(lambda done, total, text: text.startswith("looking") and cancel.cancel())
    with pytest.raises(Cancelled):
        MedLam(network(), version="test").localize(library, volume, progress, cancel)
