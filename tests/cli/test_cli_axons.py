"""``openmedlab axons``: the steps on a small volume, and what goes wrong in a sentence."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict

import numpy as np
import pytest
import tifffile
from axon_brain import brain

from openmedlab.axons.small_net import GreyScale
from openmedlab.axons.statistics import measure
from openmedlab.core import Geometry, Volume
from openmedlab.io import write_volume
from openmedlab.io.lazy import open_volume
from openmedlab.zoo.checkpoint import read_metadata


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    geometry = Geometry.from_spacing(brain().shape, (3, 1.5, 1.5), unit="micrometer")
    folder = tmp_path_factory.mktemp("brain")
    return write_volume(Volume(brain(), geometry, "LS"), folder / "brain.ome.zarr")


def test_segment_skeletonize_measure(cli, image, tmp_path):
    options = ("--method", "ridge", "--block", "32,48,64", "--workers", "0")
    made = cli("axons", "segment", image, *options, "--json")
    assert made.code == 0, made.err
    assert made.json["components"] >= 2
    assert open_volume(made.json["labels"]).read().max() == made.json["components"]
    again = cli("axons", "segment", image, *options)
    assert "kept from an earlier run" in again.out
    thin = cli("axons", "skeletonize", made.json["labels"], "--workers", "0", "--json")
    assert thin.code == 0, thin.err
    files = {n: tmp_path / n for n in ("r.csv", "p.parquet", "d.ome.zarr", "swc")}
    found = cli(
        "axons", "measure", thin.json["graph"], "-o", files["r.csv"], "--pieces",
        files["p.parquet"], "--density", files["d.ome.zarr"], "--cell", 20, "--swc", files["swc"],
        "--longest", 2, "--json",
    )  # fmt: skip
    assert found.code == 0, found.err
    assert found.json["length_mm"] == pytest.approx(thin.json["length_um"] / 1000)
    truth = 2 * 70 * 1.5 / 1000
    assert found.json["length_mm"] == pytest.approx(truth, rel=0.15)
    with files["r.csv"].open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["length_mm"]) == pytest.approx(found.json["length_mm"])
    assert len(list(files["swc"].glob("*.swc"))) == 2
    assert np.asarray(open_volume(files["d.ome.zarr"]).read()).max() > 0


def test_cubes_are_learned_on_the_scale_of_their_volume(cli, image, tmp_path):
    cubes, scales = tmp_path / "cubes", []
    cubes.mkdir()
    volume = open_volume(image).read()[:24, :24, :64]
    tifffile.imwrite(cubes / "a_image.tif", volume)
    tifffile.imwrite(cubes / "a_label.tif", (volume > volume.mean()).astype(np.uint8))
    for more in ((), ("--image", image)):
        out = tmp_path / f"out{len(more)}"
        made = cli("axons", "train", cubes, "-o", out, *more, "--epochs", 1, "--json")
        assert made.code == 0, made.err
        note = read_metadata(out / "weights.safetensors")
        scales.append(json.loads(note["grey_scale"]))
    assert scales[0] != scales[1]
    assert scales[1] == asdict(GreyScale.of(measure(open_volume(image).array)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("segment", "{image}", "--block", "30"), "multiple of 16"),
        (("segment", "{image}", "--block", "a"), "one positive number or three"),
        (("segment", "{image}", "--method", "magic"), "no axon method 'magic'"),
        (("segment", "{image}", "--threshold", "2"), "between 0 and 1"),
        (("segment", "{image}", "--level", "7"), "has no level 7"),
        (("segment", "missing.tif"), "no such file"),
        (("segment", "{image}", "--workers", "-1"), "cannot be -1 workers"),
        (("skeletonize", "{image}/nothing"), "no such file"),
        (("measure", "{image}"), "no finished graph"),
        (("measure", "{image}", "--annotation", "a.nii", "--atlas", "b"), "not both"),
        (("measure", "{image}", "--names", "a.csv"), "belong to an annotation"),
    ],
)
def test_what_is_wrong_is_one_sentence(cli, image, arguments, words):
    given = [a.format(image=image) for a in arguments]
    if "--method" not in given and given[0] == "segment":
        given += ["--method", "ridge"]
    if given[0] != "measure" and "--workers" not in given:
        given += ["--workers", "0"]
    run = cli("axons", *given, "--json")
    assert run.code == 2
    assert words in run.err
    assert run.err.count("\n") == 1
    assert json.dumps(run.out) == '""'
