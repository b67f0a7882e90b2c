"""napari finds the readers, writers and samples (a broken manifest makes a plugin vanish)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

import napari_openmedlab
from openmedlab.io import phantom, read_labels, write_labels, write_volume


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(Path(napari_openmedlab.__file__).with_name("napari.yaml"))


def test_manifest_is_valid_and_its_functions_exist(manifest: PluginManifest):
    manifest.validate_imports()


def test_every_readable_ending_is_registered(manifest: PluginManifest):
    from fnmatch import fnmatch

    from openmedlab.io import label_suffixes, volume_suffixes

    patterns = [p for r in manifest.contributions.readers for p in r.filename_patterns]
    for ending in volume_suffixes():
        assert any(fnmatch(f"a{ending}", pattern) for pattern in patterns), ending
    written = {e for w in manifest.contributions.writers for e in w.filename_extensions}
    assert set(label_suffixes()) - {".ima"} <= written


def test_open_and_save_in_a_real_viewer(tmp_path: Path, make_napari_viewer):
    volume, labels = phantom((12, 40, 50))
    image_file = write_volume(volume, tmp_path / "ct.nii.gz")
    labels_file = write_labels(labels, tmp_path / "ct_labels.nii.gz")
    viewer = make_napari_viewer()
    viewer.open([str(image_file), str(labels_file)], plugin="napari-openmedlab", stack=False)
    image, organs = viewer.layers
    assert image.contrast_limits == [-160, 240]
    np.testing.assert_allclose(image.extent.world, organs.extent.world)
    organs.data[0, 0, 0] = 7
    saved = organs.save(str(tmp_path / "out.seg.nrrd"), plugin="napari-openmedlab")
    back = read_labels(saved[0])
    assert back.geometry.almost_equal(labels.geometry)
    assert back.array[0, 0, 0] == 7


def test_phantom_opens_from_the_menu(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.open_sample("napari-openmedlab", "phantom")
    assert [type(layer).__name__ for layer in viewer.layers] == ["Image", "Labels"]
