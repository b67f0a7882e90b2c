import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from openmedlab.builtin.click import ClickSegmenter
from openmedlab.core import (
    Cancelled,
    CancelToken,
    Capabilities,
    Encoding,
    ExtremePoints,
    Geometry,
    InputError,
    LabelPolicy,
    Localization,
    LogitsPatch,
    PolicyMode,
    Progress,
    PromptError,
    Region,
    Volume,
)
from openmedlab.medlsam import pipeline as pipeline_module
from openmedlab.medlsam.boxes import corners, inside_slabs, slice_boxes, whole_box
from openmedlab.medlsam.paper import PaperSlices, frame_box, slice_logits
from openmedlab.medlsam.pipeline import MedLSAM
from openmedlab.nn.fill import fill_by_name
from openmedlab.nn.mask_decoder import MaskDecoder
from openmedlab.nn.prompt_encoder import PromptEncoder
from openmedlab.sam.predictor import Sam
from openmedlab.zoo.conformance import run

REFERENCE = Path(os.environ.get("OPENMEDLAB_REFERENCE", "absent"))
reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="OPENMEDLAB_REFERENCE names no folder of reference cases"
)


@reference
@pytest.mark.parametrize("case", ["slices", pytest.param("segment_wpl", marks=pytest.mark.slow)])
@pytest.mark.timeout(2700)
def test_agrees_with_the_published_code(case):
    cases = [case] if case == "slices" else [case, f"{case}_sam"]
    results = run(REFERENCE / "medlsam", only=[f"medlsam/{c}" for c in cases])
    assert [str(r) for r in results if r.status != "passed"] == []


# ------------------------------------------------------------------------ helpers
def spanning(low, high):
    """Six points on the faces of a box."""
    middle = (np.array(low) + high) / 2
    points = np.repeat(middle[None], 6, 0)
    for axis in range(3):
        points[axis, axis], points[axis + 3, axis] = low[axis], high[axis]
    return ExtremePoints(tuple(map(tuple, points)))


def at(low, high, confidence=0.9, parts=()):
    return Localization(spanning(low, high), confidence, tuple(spanning(*p) for p in parts))


@dataclass
class Knows:
    """A localizer that was told where the organs are."""

    places: dict
    name: str = "told"

    def localize(self, templates, volume, progress, cancel):
        return {o: p for o, p in self.places.items() if o in templates.organs}


class Fills:
    """A promptable of volumes that fills the box it is given; ``refuses`` a corner."""

    name, version = "fills", "1"
    capabilities = Capabilities(frozenset({"box"}))

    def __init__(self, refuses=None):
        self.seen, self.refuses = [], refuses

    def region(self, geometry, prompts):
        return geometry.region

    def encode(self, volume, region, progress, cancel):
        return Encoding(region, None, 0)

    def predict(self, encoding, prompts, previous, progress, cancel):
        self.seen.append(prompts)
        if prompts[0].lower == self.refuses:
            raise PromptError("This box is not liked.")
        area = prompts[0].region
        return LogitsPatch(area, np.ones(area.shape, np.float32), self.name, ("box",))

    def warm_up(self):
        pass


class CountingSam(nn.Module):
    """SAM's prompt encoder and decoder, and an encoder that counts pictures."""

    class Prompts(PromptEncoder):
        def forward(self, points, boxes, masks):
            assert points is None
            return super().forward(None, None, boxes, masks)

        def get_dense_pe(self):
            return self.dense_encoding()

    def __init__(self):
        super().__init__()
        self.prompt_encoder = self.Prompts(2, 256, grid=64, size=1024, kinds=4)
        self.mask_decoder = MaskDecoder(2, 256)
        self.pictures = 0
        fill_by_name(self)

    def image_encoder(self, x):
        self.pictures += len(x)
        small = torch.nn.functional.avg_pool2d(x, 16)
        return small.repeat(1, 86, 1, 1)[:, :256]


def library(*organs):
    templates = [SimpleNamespace(organ=o, code=f"code of {o}") for o in organs]
    return SimpleNamespace(organs=tuple(organs), templates=templates)


def scan(shape=(12, 20, 24), spacing=(4, 1, 1)):
    array = np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)
    return Volume(array, Geometry.from_spacing(shape, spacing), "CT", "scan")


# -------------------------------------------------------------------------- boxes
def test_boxes_lie_inside_the_volume_and_are_never_flat():
    geometry = Geometry.from_spacing((10, 10, 10))
    ((low, high),) = corners(spanning((-5, 9, 3.2), (4, 30, 3.4)), geometry)
    np.testing.assert_array_equal(low, [0, 8, 3])
    np.testing.assert_array_equal(high, [4, 9, 4])


def test_every_slice_has_the_box_of_its_slab_and_the_later_where_they_meet():
    found = at((2, 1, 1), (8, 9, 9), parts=[((2, 1, 1), (5, 4, 4)), ((5, 3, 3), (8, 9, 9))])
    slabs = corners(found, Geometry.from_spacing((12, 12, 12)))
    boxes = slice_boxes(slabs, 0)
    assert sorted(boxes) == [2, 3, 4, 5, 6, 7, 8]
    assert boxes[4].upper == (4, 4, 4)
    assert boxes[5].upper == (5, 9, 9)
    assert whole_box(slabs).lower == (2, 1, 1)
    inside = inside_slabs(slabs, 0, Region((0, 0, 0), (12, 12, 12)))
    assert inside[4, 5, 5]
    assert not inside[4, 6, 6]
    assert not inside[1].any()


def test_published_frame_box_is_rounded_then_widened():
    assert frame_box((10, 20, 30, 40), (100, 200)) == (41.0, 195.0, 164.0, 420.0)


def test_probability_is_enlarged_before_it_is_cut():
    low = torch.full((1, 1, 256, 256), -8.0)
    low[..., 100:120, 60:90] = 1.0
    mask = slice_logits(low, (512, 512)) > 0
    assert mask[202:238, 122:178].all()
    assert not mask[:198].any()
    assert not mask[:, 182:].any()


# ---------------------------------------------------------------------- the whole
def test_organs_enter_one_labelmap_with_names_and_codes_the_surer_first():
    places = {"a": at((1, 2, 2), (6, 9, 9), 0.4), "b": at((4, 5, 5), (9, 15, 15), 0.8)}
    result = MedLSAM(Knows(places), Fills()).run(scan(), library("a", "b"))
    labels = result.labels.array
    assert labels[5, 7, 7] == 2  # both claim it, b is surer
    assert labels[2, 3, 3] == 1
    assert {k: (v.name, v.code) for k, v in result.labels.labels.items()} == {
        1: ("a", "code of a"),
        2: ("b", "code of b"),
    }
    assert result.localizations == places
    assert set(result.methods) == {"a", "b"}
    assert "fills" in result.methods["a"]
    assert set(result.seconds) == {"localize", "segment"}
    overlapping = LabelPolicy(PolicyMode.ALLOW_OVERLAP)
    newest = MedLSAM(Knows(places), Fills(), policy=overlapping).run(scan(), library("a", "b"))
    assert newest.labels.array[5, 7, 7] == 1


def test_organ_that_fails_or_is_not_found_is_told_and_the_others_go_on():
    places = {"a": at((1, 2, 2), (6, 9, 9)), "b": at((4, 5, 5), (9, 15, 15))}
    result = MedLSAM(Knows(places), Fills(refuses=(1, 2, 2))).run(scan(), library("a", "b", "c"))
    assert result.failed == {"a": "This box is not liked.", "c": "It was not found."}
    assert np.unique(result.labels.array).tolist() == [0, 2]
    with pytest.raises(PromptError):
        MedLSAM(None, Fills((1, 2, 2))).segment(scan(), places, Progress(), CancelToken())


def test_what_lies_beside_the_slabs_is_removed():
    parts = [((1, 2, 2), (4, 5, 5)), ((4, 10, 10), (8, 18, 18))]
    found = {"a": at((1, 2, 2), (8, 18, 18), parts=parts)}
    patches = MedLSAM(None, Fills()).segment(scan(), found, Progress(), CancelToken())
    mask = np.zeros(scan().shape, bool)
    mask[patches["a"].region.slices] = patches["a"].mask
    assert mask[2, 3, 3]
    assert mask[6, 14, 14]
    assert not mask[2, 14, 14]
    assert not mask[6, 3, 3]


def test_without_a_localizer_only_boxes_can_be_segmented():
    with pytest.raises(InputError, match="localizer"):
        MedLSAM(None, Fills()).run(scan(), library("a"))


# ------------------------------------------------------------------------- slices
def test_each_slice_is_encoded_once_whatever_the_number_of_organs(monkeypatch):
    monkeypatch.setattr(pipeline_module, "CHUNK", 3)
    network = CountingSam()
    places = {f"organ {k}": at((2 + k, 3, 3), (5 + k, 9 + k, 12)) for k in range(3)}
    pipeline = MedLSAM(Knows(places), Sam(network, "cpu", "test"))
    result = pipeline.run(scan((10, 16, 16)), library(*places))
    slices = {k for p in places.values() for k in range(*covered(p))}
    assert network.pictures == len(slices) == 6
    assert not result.failed


def covered(place):
    z = place.points.positions()[:, 0]
    return int(z.min()), int(z.max()) + 1


def test_sam_is_run_on_slices_as_published_and_stays_on_the_slices_of_the_box():
    sam = Sam(CountingSam(), "cpu", "test")
    pipeline = MedLSAM(None, sam)
    assert isinstance(pipeline.promptable, PaperSlices)
    found = {"a": at((3, 4, 4), (6, 15, 15))}
    patch = pipeline.segment(scan(), found, Progress(), CancelToken())["a"]
    assert patch.region.start[0] >= 3
    assert patch.region.stop[0] <= 7


def test_slices_of_a_turned_scan_are_cut_across_its_own_axis():
    network = CountingSam()
    volume = scan((20, 24, 12), (1, 1, 4))
    pipeline = MedLSAM(None, Sam(network, "cpu", "test"))
    parts = [((2, 2, 3), (8, 9, 6)), ((8, 2, 3), (15, 18, 6))]
    found = {"a": at((2, 2, 3), (15, 18, 6), parts=parts)}
    patch = pipeline.segment(volume, found, Progress(), CancelToken())["a"]
    assert network.pictures == 4
    assert patch.region.start[2] >= 3
    assert patch.region.stop[2] <= 7


def test_cancel_is_looked_at_between_organs():
    cancel = CancelToken()
    progress = Progress(lambda *_: cancel.cancel())
    found = {"a": at((3, 4, 4), (6, 15, 15))}
    with pytest.raises(Cancelled):
        MedLSAM(None, Fills()).segment(scan(), found, progress, cancel)


def test_built_in_method_fills_the_box_of_a_ball():
    z, y, x = np.mgrid[:24, :30, :32]
    ball = (z - 12) ** 2 + (y - 14) ** 2 + (x - 15) ** 2 < 49
    array = np.where(ball, 120, -80) + np.random.default_rng(0).normal(0, 15, ball.shape)
    volume = Volume(array.astype(np.int16), Geometry.from_spacing(ball.shape), "CT", "ball")
    place = at((6, 8, 9), (18, 20, 21))
    result = MedLSAM(Knows({"ball": place}), ClickSegmenter()).run(volume, library("ball"))
    mask = result.labels.array == 1
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.9
