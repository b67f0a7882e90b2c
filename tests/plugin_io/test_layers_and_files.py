"""Files become layers and layers files again, on the same grid."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from napari_openmedlab import readers, writers
from openmedlab.core import Geometry, InputError, Label, LabelVolume, Volume
from openmedlab.io import phantom, read_labels, read_volume, write_labels, write_volume

TURN = np.array([[0.9, -0.3, 0.31], [0.33, 0.94, 0.0], [-0.29, 0.1, 0.95]])


@pytest.fixture
def oblique() -> Geometry:
    turn, _ = np.linalg.qr(TURN)
    return Geometry.from_spacing((6, 8, 10), (3.0, 0.7, 0.8), (-20.5, 31.25, 7.0), turn[:, ::-1])


@pytest.fixture
def volume(oblique: Geometry) -> Volume:
    voxels = np.random.default_rng(0).integers(-900, 900, oblique.shape).astype(np.int16)
    return Volume(voxels, oblique, "CT", "scan")


@pytest.fixture
def labels(oblique: Geometry) -> LabelVolume:
    array = np.zeros(oblique.shape, np.uint16)
    array[1:3, 2:5, 3:6], array[4, 4:6, 1:4] = 1, 3
    names = {1: Label("liver", (0.8, 0.2, 0.1)), 3: Label("spleen", (0.1, 0.2, 0.9))}
    return LabelVolume(array, oblique, names, "organs")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".ome.zarr"])
def test_image_round_trip_keeps_an_oblique_grid(tmp_path: Path, volume: Volume, ending: str):
    path = write_volume(volume, tmp_path / f"scan{ending}")
    reader = readers.get_reader(str(path))
    assert reader is not None
    ((data, attributes, kind),) = reader(str(path))
    assert kind == "image"
    (again,) = writers.write_image(str(tmp_path / f"again{ending}"), data, attributes)
    back = read_volume(again)
    assert back.geometry.almost_equal(volume.geometry)
    np.testing.assert_array_equal(back.read(), volume.array)


@pytest.mark.parametrize("ending", [".nii.gz", ".seg.nrrd", ".nrrd", ".mha", ".ome.zarr"])
def test_labels_round_trip_keeps_an_oblique_grid(tmp_path: Path, labels: LabelVolume, ending: str):
    path = write_labels(labels, tmp_path / f"organ_labels{ending}")
    ((data, attributes, kind),) = readers.read(str(path))
    assert kind == "labels"
    (again,) = writers.write_labels(str(tmp_path / f"again{ending}"), data, attributes)
    back = read_labels(again)
    assert back.geometry.almost_equal(labels.geometry)
    np.testing.assert_array_equal(back.array, labels.array)


def test_names_and_colours_reach_the_layer_and_the_next_file(tmp_path: Path, labels: LabelVolume):
    from napari.layers import Layer

    path = write_labels(labels, tmp_path / "organs.seg.nrrd")
    data, attributes, kind = readers.read(str(path))[0]
    layer = Layer.create(data, attributes, kind)
    assert list(layer.features["name"]) == ["background", "liver", "spleen"]
    np.testing.assert_allclose(layer.get_color(3), (0.1, 0.2, 0.9, 1.0), atol=0.01)
    (again,) = writers.write_labels(str(tmp_path / "b.seg.nrrd"), *layer.as_layer_data_tuple()[:2])
    assert {n: v.name for n, v in read_labels(again).labels.items()} == {1: "liver", 3: "spleen"}


def test_two_volumes_of_one_orientation_overlay(volume: Volume):
    geometry = volume.geometry
    inner = volume.cropped(geometry.region.padded(-2))
    outer_at, inner_at = (readers.placement(v.geometry) for v in (volume, inner))
    expected = np.add(outer_at["translate"], np.multiply(2, geometry.spacing))
    np.testing.assert_allclose(inner_at["translate"], expected)


def test_ct_gets_a_soft_tissue_window_and_its_data_stay(tmp_path: Path, volume: Volume):
    data, attributes, _ = readers.image_layer(volume)
    assert attributes["contrast_limits"] == readers.CT_WINDOW
    assert data is volume.array


def test_constant_image_has_usable_contrast_limits(oblique: Geometry):
    flat = Volume(np.zeros(oblique.shape, np.uint8), oblique, "MR", "flat")
    low, high = readers.image_layer(flat)[1]["contrast_limits"]
    assert low < high


def test_pyramid_is_a_lazy_multiscale_layer(tmp_path: Path):
    grid = Geometry.from_spacing((40, 300, 300), unit="micrometer")
    big = Volume(np.zeros(grid.shape, np.uint16), grid, "LS", "brain")
    path = write_volume(big, tmp_path / "brain.ome.zarr")
    data, attributes, _ = readers.read(str(path))[0]
    assert attributes["multiscale"] == (len(read_volume(path).pyramid) > 0)
    if attributes["multiscale"]:
        assert not any(isinstance(level, np.ndarray) for level in data)
    assert attributes["units"] == ("um",) * 3


def test_labels_inside_an_ome_zarr_image_open_with_it(
    tmp_path: Path, volume: Volume, labels: LabelVolume
):
    path = write_volume(volume, tmp_path / "scan.ome.zarr")
    write_labels(labels, path)
    image, organs = readers.read(str(path))
    assert (image[2], organs[2]) == ("image", "labels")
    np.testing.assert_array_equal(organs[0], labels.array)


def test_a_labels_name_on_an_image_is_no_labelmap(tmp_path: Path, volume: Volume):
    path = write_volume(volume, tmp_path / "ct_labels_missing.nii.gz")
    assert readers.read(str(path))[0][2] == "image"


def test_foreign_folders_and_files_are_left_to_others(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    assert readers.get_reader(str(tmp_path)) is None
    assert readers.get_reader(str(tmp_path / "notes.txt")) is None


def test_bad_files_give_one_sentence(tmp_path: Path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"\x1f\x8bnot really")
    reader = readers.get_reader(str(path))
    assert reader is not None
    with pytest.raises(InputError, match=r"broken\.nii\.gz"):
        reader(str(path))


def test_layers_without_our_metadata_are_saved_as_they_are_shown(tmp_path: Path):
    from napari.layers import Labels

    layer = Labels(np.ones((3, 4, 5), int), scale=(2, 1, 1), translate=(10, 20, 30), units="mm")
    data, attributes, _ = layer.as_layer_data_tuple()
    (path,) = writers.write_labels(str(tmp_path / "plain.nii.gz"), data, attributes)
    back = read_labels(path)
    np.testing.assert_allclose(back.geometry.spacing, (2, 1, 1))
    np.testing.assert_allclose(back.geometry.origin, (30, 20, 10))


def test_a_turned_layer_without_our_metadata_keeps_its_turn(tmp_path: Path):
    from napari.layers import Labels

    layer = Labels(np.ones((3, 4, 5), int), scale=(2, 1, 1), rotate=(0, 30, 0), units="mm")
    (path,) = writers.write_labels(
        str(tmp_path / "turned.nii.gz"), *layer.as_layer_data_tuple()[:2]
    )
    back = read_labels(path).geometry
    np.testing.assert_allclose(back.index_to_world((1, 2, 3))[::-1], layer.data_to_world((1, 2, 3)))


def test_layers_of_four_axes_are_refused_in_a_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="axes"):
        writers.write_labels(
            str(tmp_path / "a.nii.gz"), np.ones((2, 3, 4, 5), int), {"name": "movie"}
        )


def test_dicom_series_opens_from_its_folder():
    folder = Path(os.environ.get("OPENMEDLAB_SAMPLES", "absent"), "ct/ct_upperabd_dicom_ts/dicom")
    if not folder.is_dir():
        pytest.skip("OPENMEDLAB_SAMPLES names no folder with this DICOM series")
    reader = readers.get_reader(str(folder))
    assert reader is not None
    data, attributes, kind = reader(str(folder))[0]
    assert kind == "image"
    assert data.shape == (20, 512, 512)
    assert attributes["metadata"]["openmedlab"]["modality"] == "CT"


def test_phantom_sample_is_an_image_with_its_labels():
    from napari_openmedlab.samples import torso_phantom

    image, labels = torso_phantom()
    assert (image[2], labels[2]) == ("image", "labels")
    assert image[1]["scale"] == labels[1]["scale"] == phantom()[0].geometry.spacing
