"""`Multilevel`: an OME-Zarr pyramid that is written block by block, whole shards at a time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.blocks.files import stamp
from openmedlab.blocks.levels import Level, coarse_region, reduced
from openmedlab.core.errors import OpenMedLabError
from openmedlab.core.region import Index3, Region, _index3
from openmedlab.io.note import KEY, Note
from openmedlab.io.omezarr import SPACE, placed


class PartialChunkError(OpenMedLabError):
    """A write that does not cover whole chunks and shards, which loses a neighbour's data."""


def write_whole(array: Any, region: Region, data: npt.NDArray[Any]) -> None:
    """Write ``data`` to ``region`` of a zarr array.

    Raises
    ------
    PartialChunkError
        The region cuts through a chunk, or a shard where the array has them. Two tasks that
        write parts of one shard at the same time lose data (zarr-python issue 3682).
    """
    unit = array.shards or array.chunks
    for a, b, size, whole in zip(region.start, region.stop, unit, array.shape, strict=True):
        if a % size or (b % size and b != whole):
            raise PartialChunkError(
                f"Voxels {region.start} to {region.stop} are no whole chunks or shards of {unit}."
            )
    array[region.slices] = data


@dataclass(frozen=True)
class Multilevel:
    """A pyramid on disk; plain values, so that it travels to a worker.

    Attributes
    ----------
    path
        The group.
    factors
        Of every level, finest first.
    near
        How many of them every block fills by itself.
    """

    path: Path
    factors: tuple[Index3, ...]
    near: int

    @classmethod
    def create(
        cls,
        path: Path,
        levels: list[Level],
        dtype: Any,
        *,
        version: str,
        note: Note,
        name: str,
        extra: Mapping[str, Any] | None = None,
    ) -> Multilevel:
        """Make the group with empty arrays, in place of what stood there.

        Raises
        ------
        InputError
            The place cannot be written to.
        """
        import zarr
        from ome_zarr.format import format_from_version
        from ome_zarr.writer import write_multiscales_metadata

        if path.exists():
            shutil.rmtree(path)
        form: Any = format_from_version(version)
        group: Any = zarr.open_group(str(path), mode="w", zarr_format=form.zarr_format)
        for number, level in enumerate(levels):
            _create_array(group, str(number), level, dtype, form.zarr_format)
        finest = levels[0].geometry
        to_file = placed(finest) @ np.linalg.inv(finest.affine)
        datasets = []
        for number, level in enumerate(levels):
            place = placed(finest) if number == 0 else to_file @ level.geometry.affine
            steps = [
                {"type": "scale", "scale": np.diag(place)[:3].tolist()},
                {"type": "translation", "translation": place[:3, 3].tolist()},
            ]
            datasets.append({"path": str(number), "coordinateTransformations": steps})
        axes = [{"name": a, "type": "space", "unit": finest.unit} for a in SPACE]
        write_multiscales_metadata(group, datasets, fmt=form, axes=axes, name=name)
        group.attrs[KEY] = note.to_json()
        made = cls(path, tuple(v.factor for v in levels), sum(v.near for v in levels))
        made.describe(version, extra or {})
        return made

    def describe(self, version: str, extra: Mapping[str, Any]) -> None:
        """Add OME metadata to the group."""
        from openmedlab.io.omezarr_write import _update

        _update(self.path, version, extra)

    def remember(self, key: str, record: Mapping[str, Any]) -> None:
        """Store plain values with the group."""
        import zarr

        group = zarr.open_group(str(self.path), mode="r+", use_consolidated=False)
        group.attrs[key] = dict(record)

    def array(self, level: int = 0) -> Any:
        """Return one level's zarr array, kept open until another is made in its place."""
        place = self.path / str(level)
        return _opened(str(place), stamp(place))

    def write(self, region: Region, block: npt.NDArray[Any]) -> None:
        """Write a whole block to the finest level and to all levels that blocks fill."""
        for level, factor in enumerate(self.factors[: self.near]):
            array = self.array(level)
            part = coarse_region(region, factor, _index3(array.shape))
            if not part:
                continue
            piece = block if level == 0 else reduced(block, factor)
            write_whole(array, part, piece[tuple(slice(0, n) for n in part.shape)])

    def reduce(self, level: int, region: Region) -> None:
        """Write ``region`` of a coarser level from the level before it."""
        fine, coarse = self.array(level - 1), self.array(level)
        before, factor = self.factors[level - 1], self.factors[level]
        step = _index3(b // a for a, b in zip(before, factor, strict=True))
        start = [a * s for a, s in zip(region.start, step, strict=True)]
        stop = [b * s for b, s in zip(region.stop, step, strict=True)]
        source = Region(_index3(start), _index3(stop)).clipped(_index3(fine.shape))
        made = np.zeros(region.shape, coarse.dtype)
        piece = reduced(fine[source.slices], step)[tuple(slice(0, n) for n in region.shape)]
        made[tuple(slice(0, n) for n in piece.shape)] = piece
        if made.any():
            write_whole(coarse, region, made)


def _create_array(group: Any, name: str, level: Level, dtype: Any, zarr_format: int) -> None:
    shape = level.geometry.shape
    unit = _index3(
        min(u, _up(n, c)) for u, n, c in zip(level.unit, shape, level.chunk, strict=True)
    )
    further: dict[str, Any] = {}
    if zarr_format == 3:
        further = {"shards": unit, "dimension_names": list(SPACE)}
    else:
        further = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    group.create_array(
        name,
        shape=shape,
        chunks=level.chunk,
        dtype=dtype,
        fill_value=0,
        config={"write_empty_chunks": False},
        **further,
    )


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


@lru_cache(maxsize=64)
def _opened(path: str, _made: object) -> Any:
    import zarr

    return zarr.open_array(path, mode="r+")
