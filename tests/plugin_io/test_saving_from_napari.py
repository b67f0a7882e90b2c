"""napari's own *Save* writes the widget's masks on the image's exact grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_openmedlab.opening import continued_session, new_session
from napari_openmedlab.readers import image_layer, label_layer
from napari_openmedlab.workspace import Workspace
from napari_openmedlab.writers import write_image, write_labels
from openmedlab.core import Session
from openmedlab.io import phantom, read_labels, read_volume


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The oblique phantom, opened as the widget opens it."""
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    viewer = ViewerModel()
    image = Layer.create(*image_layer(phantom((12, 40, 50))[0]))
    viewer.add_layer(image)
    made = Workspace(viewer, image, new_session(image).session)
    yield made
    made.close()


def saved(layer: Layer, path: Path):
    (written,) = write_labels(str(path), *layer.as_layer_data_tuple()[:2])
    return read_labels(written)


def test_masks_of_an_oblique_volume(workspace: Workspace, tmp_path: Path):
    geometry = workspace.session.volume.geometry
    assert geometry.is_oblique
    number = workspace.add_object("kidney")
    assert workspace.labels is not None
    workspace.labels.data[2, 3, 4] = number
    back = saved(workspace.labels, tmp_path / "mask.seg.nrrd")
    assert back.geometry.almost_equal(geometry)
    assert back.labels[number].name == "kidney"


def test_masks_follow_an_image_that_was_moved(workspace: Workspace, tmp_path: Path):
    image = workspace.image
    image.scale = np.multiply(image.scale, (2, 1, 1))
    assert workspace.labels is not None
    back = saved(workspace.labels, tmp_path / "mask.nii.gz")
    assert back.geometry.almost_equal(workspace.session.volume.geometry, 1e-4)
    expected = np.multiply(phantom((12, 40, 50))[0].geometry.spacing, (2, 1, 1))
    np.testing.assert_allclose(back.geometry.spacing, expected, rtol=1e-6)


def test_an_image_whose_scale_was_corrected_is_saved_with_it(tmp_path: Path):
    layer = Layer.create(*image_layer(phantom((12, 40, 50))[0]))
    layer.scale = np.multiply(layer.scale, (1, 3, 3))
    (path,) = write_image(str(tmp_path / "scan.nii.gz"), *layer.as_layer_data_tuple()[:2])
    np.testing.assert_allclose(read_volume(path).geometry.spacing, layer.scale, rtol=1e-6)


def test_continuing_in_a_file_keeps_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    volume, labels = phantom((12, 40, 50))
    image, organs = (Layer.create(*d) for d in (image_layer(volume), label_layer(labels)))
    session: Session = continued_session(image, organs).session
    names = {o.number: o.name for o in session.objects}
    present = set(np.unique(labels.array).tolist()) - {0}
    assert names == {n: labels.labels[n].name for n in present}
    assert session.object(min(present)).color == labels.labels[min(present)].color
    session.close()


def test_a_flat_layer_is_saved_as_one_slice(tmp_path: Path):
    layer = Image(np.zeros((5, 6), np.int16), scale=(2, 3))
    (path,) = write_image(str(tmp_path / "flat.nii.gz"), *layer.as_layer_data_tuple()[:2])
    back = read_volume(path)
    assert back.shape == (1, 5, 6)
    np.testing.assert_allclose(back.geometry.spacing[1:], (2, 3))
