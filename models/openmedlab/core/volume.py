"""`Volume`: an image and where it stands; `LabelVolume`: labels and what they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.region import Region

Modality = Literal["CT", "MR", "PT", "US", "LS", "unknown"]


@runtime_checkable
class ArrayLike3D(Protocol):
    """What a volume needs of its array: numpy, dask and zarr arrays all have it."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Volume:
    """A single-channel image on its grid, lazy where its array is.

    Parameters
    ----------
    array
        (z, y, x) voxels; numpy, dask or zarr. Never copied whole by the engine.
    geometry
        The grid; its shape must equal the array's.
    modality
        DICOM's word for the kind of image; ``"LS"`` is light-sheet.
    name, source
        For messages and manifests: a short name, and the file or folder it came from.
    pyramid
        Coarser copies of the same field of view, finest first (OME-Zarr levels).

    Raises
    ------
    InputError
        The array is not three-dimensional or does not have the geometry's shape.
    """

    array: ArrayLike3D
    geometry: Geometry
    modality: Modality = "unknown"
    name: str = "volume"
    source: Path | None = None
    pyramid: tuple[Volume, ...] = ()

    def __post_init__(self) -> None:
        if len(self.array.shape) != 3:
            raise InputError(
                f"{self.name!r} has {len(self.array.shape)} axes; choose one channel and time "
                "point so that three (z, y, x) remain."
            )
        if tuple(self.array.shape) != self.geometry.shape:
            raise InputError(
                f"{self.name!r} has {tuple(self.array.shape)} voxels but its geometry says "
                f"{self.geometry.shape}."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        return self.geometry.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel."""
        return np.dtype(self.array.dtype)

    def read(self, region: Region | None = None) -> npt.NDArray[Any]:
        """Return the voxels of ``region`` (default: all) as a numpy array.

        Of a numpy array this is a view; of a lazy one only the chunks touched are loaded.
        """
        area = self.geometry.region if region is None else region
        return np.asarray(self.array[area.slices])

    def cropped(self, region: Region) -> Volume:
        """Return the part inside ``region`` with its own geometry."""
        return replace(
            self,
            array=self.array[region.slices],
            geometry=self.geometry.crop(region),
            pyramid=(),
        )

    @property
    def identity(self) -> str:
        """A cheap key for caches and journals: grid, type and a sparse sample of voxels.

        Not a hash of all voxels: 4,096 are looked at on a fixed lattice (of the
        coarsest pyramid level, where there is one).
        """
        coarse = self.pyramid[-1].array if self.pyramid else self.array
        steps = [max(1, n // 16) for n in coarse.shape]
        sample = np.ascontiguousarray(coarse[tuple(slice(s // 2, None, s) for s in steps)])
        digest = hashlib.blake2b(digest_size=12)
        digest.update(repr((self.geometry.shape, str(self.dtype))).encode())
        digest.update(self.geometry.affine.tobytes())
        digest.update(sample.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Label:
    """What a number in a labelmap means.

    Attributes
    ----------
    name
        Stable word, e.g. ``"kidney_left"``.
    color
        RGB, each 0..1; None lets the viewer choose.
    code
        SNOMED CT code, empty where there is none.
    """

    name: str
    color: tuple[float, float, float] | None = None
    code: str = ""


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A labelmap on the grid of its image, with names by number.

    ``array`` is (z, y, x) unsigned; 0 is background. ``method`` says what made it.
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    labels: Mapping[int, Label] = field(default_factory=dict)
    name: str = "labels"
    method: str = ""

    def __post_init__(self) -> None:
        if tuple(self.array.shape) != self.geometry.shape:
            raise InputError(
                f"Labelmap {self.name!r} has {tuple(self.array.shape)} voxels but its geometry "
                f"says {self.geometry.shape}."
            )
        if self.array.dtype.kind not in "ubi":
            raise InputError(
                f"Labelmap {self.name!r} holds {self.array.dtype} values; labels must be whole "
                "numbers."
            )
