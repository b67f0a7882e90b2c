"""`ImageSource`: how every worker opens the image, and reads a block with its halo."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.blocks.files import stamp
from openmedlab.core.errors import InputError
from openmedlab.core.region import Index3, Region
from openmedlab.core.volume import ArrayLike3D, Volume
from openmedlab.io.lazy import Spacing, open_volume


@dataclass(frozen=True)
class ImageSource:
    """An image on disk, of any size; plain values, so that it travels to a worker.

    Attributes
    ----------
    path
        As `openmedlab.io.lazy.open_volume` takes it, seen alike by all workers.
    channel, time, dataset, spacing
        As there.
    level
        Pyramid level; 0 is the finest.
    """

    path: Path
    channel: int | str | None = None
    time: int | None = None
    dataset: str | None = None
    spacing: Spacing | None = None
    level: int = 0

    def open(self) -> Volume:
        """Return the image, kept open in this process until another is put in its place.

        Raises
        ------
        InputError
            It cannot be opened, or has no such level.
        """
        return _open(self, stamp(self.path))

    def read(self, region: Region, halo: Index3 = (0, 0, 0)) -> npt.NDArray[Any]:
        """Return a block with its halo; beyond the image its outermost voxels are repeated.

        Raises
        ------
        InputError
            A chunk is damaged or missing; says where.
        """
        return read_padded(self.open().array, region, halo)

    def resolved(self) -> ImageSource:
        """Return the same image by its full path and with its voxel size, for workers."""
        path, geometry = self.path.expanduser().absolute(), self.open().geometry
        light_sheet = geometry.unit == "micrometer"
        return replace(self, path=path, spacing=geometry.spacing if light_sheet else self.spacing)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that tell this image from another, of a file when it was made too.

        Of a folder they do not: what is made of an OME-Zarr is kept inside.
        """
        volume = self.open()
        made = [times for times, _ in stamp(self.path)] if self.path.is_file() else []
        return {
            **asdict(self),
            "path": str(self.path),
            "spacing": list(volume.geometry.spacing),
            "shape": list(volume.shape),
            "dtype": str(volume.dtype),
            "made": made,
        }


@dataclass(frozen=True, eq=False)
class _Told:
    """A stored array whose read errors are a sentence that says where."""

    stored: ArrayLike3D
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stored.dtype

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        try:
            return np.asarray(self.stored[key])
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise InputError(
                f"{self.name} cannot be read at (z, y, x) {_place(key)} ({reason}); restore that "
                "part of the file."
            ) from error


def _place(key: Any) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return ", ".join(
        f"{k.start or 0}:{'' if k.stop is None else k.stop}" if isinstance(k, slice) else str(k)
        for k in parts
    )


@lru_cache(maxsize=4)
def _open(source: ImageSource, _made: object) -> Volume:
    volume = _opened(source)
    return replace(volume, array=_Told(volume.array, source.path.name))


def _opened(source: ImageSource) -> Volume:
    volume = open_volume(
        source.path,
        channel=source.channel,
        time=source.time,
        dataset=source.dataset,
        spacing=source.spacing,
    )
    if source.level == 0:
        return volume
    if not 0 < source.level <= len(volume.pyramid):
        raise InputError(
            f"{source.path.name} has no level {source.level}; its levels are 0 to "
            f"{len(volume.pyramid)}."
        )
    finer, *coarser = volume.pyramid[source.level - 1 :]
    return Volume(
        finer.array, finer.geometry, volume.modality, volume.name, volume.source, tuple(coarser)
    )


def read_padded(array: ArrayLike3D, region: Region, halo: Index3) -> npt.NDArray[Any]:
    """Return ``region`` grown by ``halo``; what lies outside repeats the outermost voxels."""
    wanted = region.padded(halo)
    inside = wanted.clipped(array.shape)
    block = np.asarray(array[inside.slices])
    if inside == wanted:
        return block
    width = [
        (a - b, d - c)
        for a, b, c, d in zip(inside.start, wanted.start, inside.stop, wanted.stop, strict=True)
    ]
    return np.pad(block, width, mode="edge")
