"""Image and label files that clients upload: named by us, measured before they are read."""

from __future__ import annotations

import math
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import UploadFile
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from openmedlab.client.wire import TooLargeError
from openmedlab.core import InputError, Volume
from openmedlab.io import read_volume, volume_suffixes
from openmedlab.io.formats import by_content

DICOM = ".dcm"
FLOAT = 4
UNREADABLE = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
)


@contextmanager
def uploaded(files: Sequence[UploadFile]) -> Iterator[Path]:
    """Yield a folder with the files, under names of our own; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="openmedlab-") as folder:
        for number, file in enumerate(files):
            ending = _ending(file.filename or "")
            target = Path(folder) / f"{number:05d}{ending}"
            with target.open("wb") as out:
                shutil.copyfileobj(file.file, out)
        yield Path(folder)


def only_file(folder: Path) -> Path:
    """Return the one file of an upload, or the folder of several (a DICOM series)."""
    found = list(folder.iterdir())
    if not found:
        raise InputError("The request has no file.")
    single = len(found) == 1 and not found[0].name.endswith(DICOM)
    return found[0] if single else folder


def read_bounded(path: Path, limit: int) -> Volume:
    """Read an image whose voxels take at most ``limit`` bytes, by its header's word."""
    if path.is_file():
        _measure(path, limit)
    return read_volume(path)


def _measure(path: Path, limit: int) -> None:
    """Look at the size a file claims: a small compressed file can hold a huge image."""
    found = by_content(path)
    try:
        nifti = found is not None and found.name == "nifti"
        shape = _nifti_shape(path) if nifti else _itk_shape(path)
    except UNREADABLE as error:
        raise InputError("The file is not an image that can be read.") from error
    if math.prod(shape) * FLOAT > limit:
        raise TooLargeError("The image is larger than this server accepts.")


def _nifti_shape(path: Path) -> Sequence[int]:
    import nibabel as nib

    image: Any = nib.load(path)
    return [int(n) for n in image.shape]


def _itk_shape(path: Path) -> Sequence[int]:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return [*reader.GetSize(), reader.GetNumberOfComponents()]


def _ending(name: str) -> str:
    known = [s for s in volume_suffixes() if name.lower().endswith(s) and "zarr" not in s]
    return max(known, key=len, default=DICOM)
