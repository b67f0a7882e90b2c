"""Writing: one door for every format; files and folders appear whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.volume import LabelVolume, Volume
from openmedlab.io.atomic import replacing
from openmedlab.io.checks import smallest_unsigned
from openmedlab.io.formats import writable


def write_volume(volume: Volume, path: str | Path) -> Path:
    """Write an image as NIfTI, NRRD, MetaImage or OME-Zarr, by the ending of ``path``.

    Raises
    ------
    InputError
        The ending names no format that images are written in, or the place is not writable.
    """
    target = Path(path).expanduser()
    form = writable(target, "volumes")
    if form.name == "omezarr":
        from openmedlab.io import omezarr_write

        if (target / "labels").exists():
            raise InputError(f"{target.name} holds labels that would be lost; choose another name.")
        with replacing(target) as temporary:
            omezarr_write.write(volume, temporary)
        return target
    array = _storable(volume.read())
    with replacing(target) as temporary:
        if form.name == "nifti":
            from openmedlab.io import nifti

            nifti.write(volume, array, temporary)
        else:
            from openmedlab.io import itk

            itk.write(volume, array, temporary)
    return target


def write_labels(labels: LabelVolume, path: str | Path, *, image: Volume | None = None) -> Path:
    """Write a labelmap in the smallest unsigned type, by the ending of ``path``.

    Parameters
    ----------
    labels
        The labelmap; names, colours and codes are kept where the format has a place for them.
    path
        ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha``, ``.seg.nrrd`` (Slicer), ``.dcm`` (DICOM-SEG),
        ``.ome.zarr`` or ``.zarr``. An existing OME-Zarr image gets the labels inside it.
    image
        The image that was segmented; DICOM-SEG needs it, read from its DICOM series.

    Returns
    -------
    Path
        Where the labels are (inside the image for OME-Zarr).

    Raises
    ------
    InputError
        Negative values, an ending that labels are not written in, a place that is not
        writable, or a DICOM-SEG without its series.
    """
    target = Path(path).expanduser()
    form = writable(target, "labels")
    if labels.array.min(initial=0) < 0:
        raise InputError(f"{labels.name!r} holds negative labels; labels start at 0 (background).")
    array = smallest_unsigned(labels.array)
    if form.name == "omezarr":
        from openmedlab.io import omezarr_write

        return omezarr_write.write_labels(labels, array, target)
    with replacing(target) as temporary:
        if form.name == "nifti":
            from openmedlab.io import nifti

            nifti.write(labels, array, temporary)
        elif form.name == "segnrrd":
            from openmedlab.io import segnrrd

            segnrrd.write(labels, array, temporary)
        elif form.name == "dicom":
            from openmedlab.io import dicomseg

            dicomseg.write(labels, array, image, temporary)
        else:
            from openmedlab.io import itk

            itk.write(labels, array, temporary)
    return target


def _storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Types every format knows: bool becomes uint8, float16 float32."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype == np.float16 else array
