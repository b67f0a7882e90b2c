"""Regions of a real BrainGlobe atlas, where the library is installed: a small one, made here."""

import json

import numpy as np
import pytest

from openmedlab.axons.regions import Regions
from openmedlab.core import Geometry, InputError

pytest.importorskip("brainglobe_atlasapi", minversion="3.0")
UM = (100.0, 50.0, 50.0)
TABLE = """identifier,parent_identifier,abbreviation,name,root_identifier_path,color_hex_triplet
997,,root,root,[997],#FFFFFF
8,997,grey,Grey matter,"[997,8]",#BFDAE3
567,8,CH,Cerebrum,"[997,8,567]",#B0F0FF
"""


def annotation():
    array = np.zeros((6, 8, 10), np.uint32)
    array[1:5, 1:7, 1:9] = 8
    array[2:4, 2:6, 6:9] = 567
    return array


@pytest.fixture
def atlas(tmp_path, monkeypatch):
    """An atlas in the folder that BrainGlobe looks into, and no internet."""
    import ngff_zarr as nz
    import requests
    from brainglobe_atlasapi import bg_atlas, config, descriptors

    monkeypatch.setattr(config, "CONFIG_PATH", tmp_path / "bg_config.conf")
    config.write_default_config(
        template={"default_dirs": {"brainglobe_dir": tmp_path, "interm_download_dir": tmp_path}}
    )

    def offline(*_, **__):
        raise requests.ConnectionError("no internet")

    monkeypatch.setattr(requests, "head", offline)
    monkeypatch.setattr(requests, "get", offline)
    root = tmp_path / "brainglobe-atlasapi"
    places = {key: f"/{key}s/small/1_0" for key in ("terminology", "annotation_set", "template")}
    manifest = {
        "name": "small",
        "version": "1.0",
        "symmetric": True,
        "resolution": UM,
        "orientation": "asr",
        "shape": annotation().shape,
        "terminology": {"location": places["terminology"]},
        "annotation_set": {
            "location": places["annotation_set"],
            "template": {"location": places["template"]},
        },
    }
    (root / places["terminology"][1:]).mkdir(parents=True)
    (root / places["terminology"][1:] / descriptors.V3_TERMINOLOGY_NAME).write_text(TABLE)
    for key, name in (
        ("annotation_set", descriptors.V3_ANNOTATION_NAME),
        ("template", descriptors.V3_TEMPLATE_NAME),
    ):
        image = nz.to_ngff_image(
            annotation(),
            dims=("z", "y", "x"),
            scale=dict(zip("zyx", np.array(UM) / 1000, strict=True)),
        )
        folder = root / places[key][1:] / name
        folder.parent.mkdir(parents=True)
        nz.to_ngff_zarr(str(folder), nz.to_multiscales(image, scale_factors=[]), version="0.5")
    folder = root / bg_atlas.V3_ATLAS_ROOTDIR / "small" / "1_0"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return "small"


def test_regions_of_an_atlas_are_its_annotation_with_names(atlas, capsys):
    regions = Regions.of_atlas(atlas)
    np.testing.assert_array_equal(regions.array, annotation())
    expected = Geometry.from_spacing((6, 8, 10), UM, unit="micrometer")
    np.testing.assert_allclose(regions.geometry.affine, expected.affine)
    assert regions.geometry.unit == "micrometer"
    cerebrum = regions.named(567)
    assert (cerebrum.name, cerebrum.acronym, cerebrum.parents) == ("Cerebrum", "CH", (997, 8))
    world = regions.geometry.index_to_world(np.array([[2.0, 3.0, 7.0], [0.0, 0.0, 0.0]]))
    assert regions.at(world).tolist() == [567, 0]
    assert capsys.readouterr().out == ""


def test_an_atlas_that_cannot_be_had_is_one_sentence(atlas):
    with pytest.raises(InputError, match="BrainGlobe atlas 'allen_mouse_5um'"):
        Regions.of_atlas("allen_mouse_5um")
