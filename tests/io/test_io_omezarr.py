"""OME-Zarr 0.4 and 0.5 as others write it: lazy levels, axes, units, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from io_helpers import labels_on, volume_on

from openmedlab.core import Geometry, InputError, Region, Volume
from openmedlab.io import (
    GeometryWarning,
    info,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)

VERSIONS = {"0.4": 2, "0.5": 3}


def image(
    path: Path,
    version: str = "0.5",
    axes: str = "zyx",
    unit: str | None = "micrometer",
    extra: dict[str, Any] | None = None,
    levels: int = 2,
) -> np.ndarray:
    """Write a multiscale by hand, as the specification has it."""
    shape = [{"z": 8, "y": 12, "x": 16}.get(a, 3 if a == "c" else 2) for a in axes]
    data = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    group = zarr.open_group(str(path), mode="w", zarr_format=VERSIONS[version])
    datasets = []
    for k in range(levels):
        step = tuple(slice(None, None, 2**k if a in "zyx" else 1) for a in axes)
        group.create_array(str(k), data=data[step], chunks=tuple(min(n, 4) for n in shape))
        scale = [{"z": 5.0, "y": 2.0, "x": 3.0}.get(a, 1.0) for a in axes]
        factor = [2.0**k if a in "zyx" else 1.0 for a in axes]
        shift = [{"z": 1.0, "y": 2.0, "x": 3.0}.get(a, 0.0) for a in axes]
        steps = [
            {"type": "scale", "scale": [s * f for s, f in zip(scale, factor, strict=True)]},
            {"type": "translation", "translation": shift},
        ]
        datasets.append({"path": str(k), "coordinateTransformations": steps})
    described = [
        {"name": a, "type": "space", **({"unit": unit} if unit else {})} if a in "zyx"
        else {"name": a, "type": {"c": "channel", "t": "time"}[a]}
        for a in axes
    ]  # fmt: skip
    meta = {"multiscales": [{"axes": described, "datasets": datasets}], **(extra or {})}
    if version == "0.4":
        meta["multiscales"][0]["version"] = version  # type: ignore[index]
        group.attrs.update(meta)
    else:
        group.attrs["ome"] = {"version": version, **meta}
    return data


@pytest.mark.parametrize("version", VERSIONS)
def test_lazy_with_all_levels(tmp_path: Path, version: str) -> None:
    data = image(tmp_path / "a.ome.zarr", version)
    volume = read_volume(tmp_path / "a.ome.zarr")
    assert isinstance(volume.array, da.Array)
    assert not isinstance(volume.cropped(Region((0, 0, 0), (2, 2, 2))).array, np.ndarray)
    assert (volume.modality, volume.geometry.unit, volume.name) == ("LS", "micrometer", "a")
    assert volume.geometry.spacing == (5, 2, 3)
    assert volume.geometry.origin == (3, 2, 1)
    (coarse,) = volume.pyramid
    assert coarse.geometry.spacing == (10, 4, 6)
    assert coarse.geometry.origin == (3, 2, 1)
    np.testing.assert_array_equal(volume.read(), data)
    np.testing.assert_array_equal(coarse.read(), data[::2, ::2, ::2])
    assert info(tmp_path / "a.ome.zarr")["levels"] == [[8, 12, 16], [4, 6, 8]]


def test_channels_and_times_are_chosen(tmp_path: Path) -> None:
    named = {"omero": {"channels": [{"label": n} for n in ("DAPI", "NeuN", "cFos")]}}
    data = image(tmp_path / "a.zarr", axes="tczyx", extra=named)
    with pytest.raises(InputError, match="2 times; choose one with time=0 to time=1"):
        read_volume(tmp_path / "a.zarr", channel=0)
    with pytest.raises(InputError, match=r"3 channels \(DAPI, NeuN, cFos\); choose one"):
        read_volume(tmp_path / "a.zarr", time=0)
    with pytest.raises(InputError, match="no channel 'GFP'; its channels: DAPI"):
        read_volume(tmp_path / "a.zarr", time=0, channel="GFP")
    described = info(tmp_path / "a.zarr")
    assert described["shape"] == [8, 12, 16]
    assert "choose one" in described["warnings"][0]
    volume = read_volume(tmp_path / "a.zarr", time=1, channel="NeuN")
    np.testing.assert_array_equal(volume.read(), data[1, 1])
    assert volume.geometry.spacing == (5, 2, 3)


@pytest.mark.parametrize(("axes", "shape"), [("yx", (1, 12, 16)), ("xyz", (8, 12, 16))])
def test_other_axes(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    image(tmp_path / "a.zarr", axes=axes)
    assert read_volume(tmp_path / "a.zarr").shape == shape


def test_units(tmp_path: Path) -> None:
    image(tmp_path / "nm.zarr", unit="nanometer")
    assert read_volume(tmp_path / "nm.zarr").geometry.spacing == pytest.approx((5e-3, 2e-3, 3e-3))
    image(tmp_path / "cm.zarr", unit="centimeter")
    assert read_volume(tmp_path / "cm.zarr").geometry.spacing == (50, 20, 30)
    assert read_volume(tmp_path / "cm.zarr").geometry.unit == "millimeter"
    image(tmp_path / "none.zarr", unit=None)
    with pytest.warns(GeometryWarning, match="micrometres were assumed"):
        read_volume(tmp_path / "none.zarr")
    image(tmp_path / "odd.zarr", unit="furlong")
    with pytest.raises(InputError, match="'furlong'"):
        read_volume(tmp_path / "odd.zarr")


def test_not_an_image(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    with pytest.raises(InputError, match="no multiscale image"):
        read_volume(tmp_path / "g.zarr")
    group.create_group("0")
    image(tmp_path / "g.zarr" / "0")
    assert read_volume(tmp_path / "g.zarr").shape == (8, 12, 16)
    image(tmp_path / "g.zarr" / "1")
    with pytest.raises(InputError, match="open one of 0, 1 inside it"):
        read_volume(tmp_path / "g.zarr")
    (tmp_path / "h.zarr").mkdir()
    (tmp_path / "h.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="not an OME-Zarr image"):
        read_volume(tmp_path / "h.zarr")
    image(tmp_path / "i.zarr", levels=2)
    (tmp_path / "i.zarr" / "1" / "zarr.json").unlink()
    with pytest.raises(InputError, match="damaged"):
        read_volume(tmp_path / "i.zarr")


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_go_into_the_image(tmp_path: Path, version: str) -> None:
    image(tmp_path / "a.zarr", version, unit="millimeter")
    grid = read_volume(tmp_path / "a.zarr").geometry
    labels = labels_on(grid)
    place = write_labels(labels, tmp_path / "a.zarr")
    write_labels(labels, tmp_path / "a.zarr")
    assert place == tmp_path / "a.zarr" / "labels" / "organs"
    back = read_labels(tmp_path / "a.zarr")
    np.testing.assert_array_equal(back.array, labels.array)
    assert dict(back.labels) == dict(labels.labels)
    listed = zarr.open_group(str(tmp_path / "a.zarr" / "labels"), mode="r").attrs
    assert (listed if version == "0.4" else listed["ome"])["labels"] == ["organs"]
    attributes = zarr.open_group(str(place), mode="r").attrs
    meaning = (attributes if version == "0.4" else attributes["ome"])["image-label"]
    assert meaning["colors"][0] == {"label-value": 1, "rgba": [204, 102, 51, 255]}
    assert meaning["source"] == {"image": "../../"}
    coarse = read_volume(place).pyramid[0]
    np.testing.assert_array_equal(coarse.read(), labels.array[::2, ::2, ::2])
    assert read_volume(tmp_path / "a.zarr").shape == grid.shape, "the image is as it was"


def test_labels_on_another_grid_or_over_data_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "a.zarr")
    labels = labels_on(Geometry.from_spacing((8, 12, 16)))
    with pytest.raises(InputError, match="on another grid"):
        write_labels(labels, tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "precious.txt").write_text("data")
    with pytest.raises(InputError, match="not an OME-Zarr"):
        write_labels(labels, tmp_path / "b.zarr")
    write_labels(labels_on(read_volume(tmp_path / "a.zarr").geometry), tmp_path / "a.zarr")
    with pytest.raises(InputError, match="labels that would be lost"):
        write_volume(volume_on(labels.geometry), tmp_path / "a.zarr")


def test_several_labels_are_listed(tmp_path: Path) -> None:
    image(tmp_path / "a.zarr")
    labels = labels_on(read_volume(tmp_path / "a.zarr").geometry)
    for name in ("one", "two"):
        object.__setattr__(labels, "name", name)
        write_labels(labels, tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"several labels \(one, two\)"):
        read_labels(tmp_path / "a.zarr")
    assert read_labels(tmp_path / "a.zarr" / "labels" / "two").name == "two"


def test_pyramids_we_write(tmp_path: Path) -> None:
    grid = Geometry.from_spacing((6, 160, 150), (5, 1, 1), (1, 2, 3))
    values = np.random.default_rng(0).integers(0, 1000, grid.shape).astype(np.int16)
    written = write_volume(Volume(values, grid, "CT", "v"), tmp_path / "v.ome.zarr")
    back = read_volume(written)
    (coarse,) = back.pyramid
    assert coarse.shape == (6, 80, 75)
    assert coarse.geometry.almost_equal(grid.resized((6, 80, 75)), 1e-9)
    assert abs(coarse.read().mean() - values.mean()) < 1
    labels = labels_on(grid)
    (small,) = read_volume(write_labels(labels, tmp_path / "l.zarr")).pyramid
    assert set(np.unique(small.read())) <= set(np.unique(labels.array))
    copied = read_volume(write_volume(back, tmp_path / "copy.zarr"))
    assert [p.shape for p in copied.pyramid] == [(6, 80, 75)]
