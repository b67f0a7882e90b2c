"""Whole chunks and shards, pyramids, padded reading."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from openmedlab.axons.stages import finish_levels
from openmedlab.blocks import (
    BlockGrid,
    ImageSource,
    Multilevel,
    crew,
    plan_levels,
    read_padded,
    write_whole,
)
from openmedlab.blocks.levels import check_block
from openmedlab.blocks.target import PartialChunkError
from openmedlab.core import Geometry, InputError, Region, Volume
from openmedlab.io.note import Note
from openmedlab.io.omezarr import opened

BLOCK = (32, 32, 48)


def image(shape=(70, 90, 300), pyramid=()):
    geometry = Geometry.from_spacing(shape, (3, 1.5, 1.5), unit="micrometer")
    levels = tuple(Volume(np.zeros(s, "u2"), geometry.resized(s), "LS") for s in pyramid)
    return Volume(np.zeros(shape, "u2"), geometry, "LS", pyramid=levels)


@pytest.mark.parametrize(
    ("start", "stop", "whole"),
    [
        ((0, 0, 0), (32, 32, 32), True),
        ((32, 32, 0), (50, 64, 64), True),
        ((0, 0, 0), (16, 32, 32), False),
        ((16, 0, 0), (32, 32, 32), False),
        ((0, 0, 0), (49, 32, 32), False),
    ],
)
def test_a_write_that_cuts_a_shard_is_refused(tmp_path, start, stop, whole):
    array = zarr.create_array(
        str(tmp_path / "a"), shape=(50, 64, 64), chunks=(16,) * 3, shards=(32,) * 3, dtype="u1"
    )
    region = Region(start, stop)
    if whole:
        write_whole(array, region, np.ones(region.shape, "u1"))
        assert array[region.slices].all()
    else:
        with pytest.raises(PartialChunkError):
            write_whole(array, region, np.ones(region.shape, "u1"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "pyramid", [(), ((70, 45, 150), (35, 22, 75)), ((70, 45, 150), (24, 15, 50))]
)
def test_pyramid_written_by_blocks_is_that_of_the_whole(tmp_path, version, pyramid):
    volume = image(pyramid=pyramid)
    levels = plan_levels(volume, BLOCK)
    made = Multilevel.create(
        tmp_path / "l", levels, np.uint32, version=version, note=Note(volume.geometry), name="l"
    )
    truth = (np.random.default_rng(0).random(volume.shape) > 0.999).astype("u4") * 7
    grid = BlockGrid(volume.shape, BLOCK)
    for index in range(len(grid)):
        made.write(grid.region(index), truth[grid.region(index).slices])
    with crew(0) as here:
        finish_levels(levels, made, here)
    scale = opened(tmp_path / "l")
    assert scale.version == version
    np.testing.assert_array_equal(scale.arrays[0], truth)
    for array, level in zip(scale.arrays, levels, strict=True):
        assert array.shape == level.geometry.shape
        want = np.zeros(array.shape, "u4")
        for voxel in np.argwhere(truth):
            cell = tuple(voxel // level.factor)
            if all(c < n for c, n in zip(cell, array.shape, strict=True)):
                want[cell] = 7
        np.testing.assert_array_equal(array, want)
    for got, level in zip(scale.geometries, levels, strict=True):
        assert np.allclose(got.affine, level.geometry.affine)
    if version == "0.5":
        assert scale.arrays[0].shards == BLOCK
    if pyramid == ((70, 45, 150), (35, 22, 75)):
        assert [a.shape for a in scale.arrays[1:]] == list(pyramid)


def test_block_sizes_are_checked():
    check_block((32, 48, 64), (16, 16, 16))
    with pytest.raises(InputError, match="multiple of 16"):
        check_block((32, 40, 64))
    with pytest.raises(InputError, match="multiple of 32"):
        check_block((32, 48, 64), (32, 32, 32))


def test_reading_beyond_the_image_repeats_its_border():
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    padded = np.pad(array, 9, mode="edge")
    got = read_padded(array, Region((0, 2, 4), (5, 6, 7)), (9, 1, 2))
    np.testing.assert_array_equal(got, padded[0:23, 10:16, 11:18])


def test_a_damaged_chunk_is_named_by_its_place(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "v.zarr" / "0"), shape=(64, 64, 64), chunks=(32,) * 3, dtype="u2"
    )
    array[:] = 9
    (tmp_path / "v.zarr" / "0" / "c" / "1" / "1" / "1").write_bytes(b"broken")
    group = zarr.open_group(str(tmp_path / "v.zarr"), mode="a")
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": [1] * 3}],
                    }
                ],
            }
        ],
    }
    source = ImageSource(tmp_path / "v.zarr")
    assert source.read(Region((0, 0, 0), (32, 32, 32))).min() == 9
    with pytest.raises(InputError, match=r"v.zarr cannot be read at \(z, y, x\) 32:64, 32:64"):
        source.read(Region((32, 32, 32), (64, 64, 64)))
