"""NRRD and MetaImage through SimpleITK; both keep float64 geometry, shear included."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.volume import LabelVolume, Volume
from openmedlab.io.checks import damaged, finite
from openmedlab.io.note import KEY, Note, modality

_stderr_lock = threading.Lock()


def read(path: Path) -> tuple[npt.NDArray[Any], Geometry, Note]:
    """Read voxels (z, y, x), where they stand, and what the header says of them.

    Raises
    ------
    InputError
        Damaged, colour, vector, 4-D or NaN.
    """
    image = load(path)
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(
            f"{path.name} holds {image.GetNumberOfComponentsPerPixel()} values per voxel (colour "
            "or vector); convert it to one grey value per voxel."
        )
    array, geometry = voxels(image, path)
    header = fields(image)
    kind = modality(header.get("Modality", "").removeprefix("MET_MOD_"))
    note = Note.from_text(header.get(KEY, "")) or Note(geometry, kind)
    return finite(array, path), exact(geometry, note), note


def write(item: Volume | LabelVolume, array: npt.NDArray[Any], path: Path) -> None:
    """Write ``array`` (z, y, x) on the grid of ``item``, compressed."""
    save(array, item.geometry, {KEY: Note.of(item).to_text()}, path)


def load(path: Path) -> Any:
    """Return the three-dimensional SimpleITK image in ``path``; a 2-D one becomes a slice."""
    sitk = library()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with _silent_stderr():
            reader.ReadImageInformation()
            size = reader.GetSize()
            if all(n == 1 for n in size[3:]):
                image = reader.Execute()
    except RuntimeError as error:
        raise damaged(path, _gist(error)) from error
    if any(n > 1 for n in size[3:]):
        raise InputError(
            f"{path.name} is {len(size)}-D ({'x'.join(map(str, size))}); "
            "save one time point or channel of it as a 3-D file."
        )
    while image.GetDimension() > 3:
        image = image[..., 0]
    return sitk.JoinSeries(image) if image.GetDimension() == 2 else image


def save(
    array: npt.NDArray[Any], geometry: Geometry, header: Mapping[str, str], path: Path
) -> None:
    """Write an array with extra header fields through SimpleITK, lightly compressed."""
    sitk = library()
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction[:, ::-1].ravel())
    for key, value in header.items():
        image.SetMetaData(key, value)
    try:
        with _silent_stderr():
            sitk.WriteImage(image, str(path), True, 1)
    except RuntimeError as error:
        raise InputError(
            f"{path.parent} cannot be written to; check permissions and free space."
        ) from error


def voxels(image: Any, path: Path) -> tuple[npt.NDArray[Any], Geometry]:
    """Return the array (z, y, x[, component]) of a 3-D SimpleITK image and its grid."""
    array = library().GetArrayFromImage(image)
    matrix = np.eye(4)
    direction = np.asarray(image.GetDirection(), float).reshape(3, 3)
    matrix[:3, :3] = direction * np.asarray(image.GetSpacing(), float)
    matrix[:3, 3] = image.GetOrigin()
    try:
        return array, Geometry.from_ijk_to_lps(array.shape[:3], matrix)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def exact(geometry: Geometry, note: Note) -> Geometry:
    """Return the note's geometry where the file agrees; the unit is in the note alone."""
    return note.geometry_near(replace(geometry, unit=note.geometry.unit))


def fields(image: Any) -> dict[str, str]:
    """Return the header fields of a SimpleITK image."""
    return {key: str(image.GetMetaData(key)) for key in image.GetMetaDataKeys()}


def library() -> Any:
    """Return SimpleITK with its console warnings off."""
    import SimpleITK

    sitk: Any = SimpleITK
    sitk.ProcessObject.GlobalWarningDisplayOff()
    return sitk


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send what C++ libraries print on the console to nowhere; errors still come as exceptions."""
    with _stderr_lock:
        try:
            kept = os.dup(2)
        except OSError:
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def _gist(error: Exception) -> str:
    """What an ITK error says of missing bytes; the rest of its text is of no use to a reader."""
    found = re.search(r"expected \d+ bytes but received \d+", str(error))
    return found[0] if found else ""
