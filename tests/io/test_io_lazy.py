"""Images opened lazily: every format gives the same voxels and voxel size."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import tifffile

from openmedlab.core import Geometry, InputError, Volume
from openmedlab.io import GeometryWarning, write_volume
from openmedlab.io.lazy import open_volume

VOXELS = np.random.default_rng(5).integers(0, 60000, (12, 30, 40)).astype("u2")
SPACING = (3.0, 1.5, 1.5)
PARTS = [np.s_[:], np.s_[2:9, 3:20, 30:40], np.s_[11:12, 0:1, 5:6]]


def stack(folder):
    tifffile.imwrite(folder / "a.tif", VOXELS, compression="zlib", rowsperstrip=7)
    return open_volume(folder / "a.tif", spacing=SPACING)


def ome_tiff(folder):
    facts = {f"PhysicalSize{a}": s for a, s in zip("ZYX", SPACING, strict=True)}
    tifffile.imwrite(folder / "a.ome.tif", VOXELS, metadata={"axes": "ZYX", **facts})
    return open_volume(folder / "a.ome.tif")


def imagej(folder):
    tifffile.imwrite(
        folder / "a.tif",
        VOXELS,
        imagej=True,
        resolution=(1 / 1.5, 1 / 1.5),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": "um"},
    )
    return open_volume(folder / "a.tif")


def series(folder):
    for z, plane in enumerate(VOXELS):
        tifffile.imwrite(folder / f"s_{z}.tif", plane, rowsperstrip=8)
    return open_volume(folder, spacing=SPACING)


def hdf5(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        made = file.create_dataset("t00000/s00/0/cells", data=VOXELS[None], chunks=(1, 4, 8, 8))
        made.attrs["element_size_um"] = SPACING
    return open_volume(folder / "a.h5")


def n5(folder):
    tensorstore = pytest.importorskip("tensorstore")
    where = {"driver": "file", "path": str(folder / "a.n5" / "s0")}
    facts = {"dimensions": [40, 30, 12], "blockSize": [16, 8, 8], "dataType": "uint16",
             "compression": {"type": "gzip"}}  # fmt: skip
    made = tensorstore.open(
        {"driver": "n5", "kvstore": where, "metadata": facts, "create": True}
    ).result()
    made[...].write(VOXELS.T).result()
    attributes = folder / "a.n5" / "s0" / "attributes.json"
    known = json.loads(attributes.read_text())
    known["pixelResolution"] = {"dimensions": [1.5, 1.5, 3.0], "unit": "um"}
    attributes.write_text(json.dumps(known))
    return open_volume(folder / "a.n5")


def ome_zarr(folder):
    geometry = Geometry.from_spacing(VOXELS.shape, SPACING, unit="micrometer")
    write_volume(Volume(VOXELS, geometry, "LS"), folder / "a.ome.zarr")
    return open_volume(folder / "a.ome.zarr")


@pytest.mark.parametrize("make", [stack, ome_tiff, imagej, series, hdf5, n5, ome_zarr])
def test_voxels_and_voxel_size_are_those_written(make, tmp_path):
    volume = make(tmp_path)
    assert volume.shape == VOXELS.shape
    assert volume.dtype == VOXELS.dtype
    assert np.allclose(volume.geometry.spacing, SPACING)
    assert volume.geometry.unit == "micrometer"
    for part in PARTS:
        np.testing.assert_array_equal(volume.array[part], VOXELS[part])


def test_nothing_but_what_is_asked_for_is_read(tmp_path):
    volume = series(tmp_path)
    (tmp_path / "s_7.tif").write_bytes(b"II*\0broken")
    np.testing.assert_array_equal(volume.array[0:7], VOXELS[:7])
    with pytest.raises(InputError, match=r"s_7\.tif"):
        volume.array[7:8]


def test_a_missing_voxel_size_is_said(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS)
    with pytest.warns(GeometryWarning, match=r"a\.tif states no voxel size"):
        open_volume(tmp_path / "a.tif")


def test_channels_and_datasets_are_chosen(tmp_path):
    two = np.stack([VOXELS, VOXELS[::-1]])
    tifffile.imwrite(tmp_path / "a.ome.tif", two, metadata={"axes": "CZYX"})
    with pytest.raises(InputError, match="2 channels"):
        open_volume(tmp_path / "a.ome.tif", spacing=SPACING)
    chosen = open_volume(tmp_path / "a.ome.tif", channel=1, spacing=SPACING)
    np.testing.assert_array_equal(chosen.read(), VOXELS[::-1])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"], file["deep/two"] = VOXELS, VOXELS + 1
    with pytest.raises(InputError, match=r"several arrays.*deep/two, one"):
        open_volume(tmp_path / "a.h5", spacing=SPACING)
    found = open_volume(tmp_path / "a.h5", dataset="/deep/two", spacing=SPACING)
    np.testing.assert_array_equal(found.read(), VOXELS + 1)


@pytest.mark.parametrize("name", ["a.tif", "a.h5"])
def test_a_damaged_file_is_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=name):
        open_volume(tmp_path / name)
