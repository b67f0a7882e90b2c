"""Reading: one door for every format."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.core.errors import InputError
from openmedlab.core.volume import LabelVolume, Volume
from openmedlab.io.checks import ChoiceNeeded, existing, whole_numbers
from openmedlab.io.formats import Format, FormatName, by_content, by_suffix, stem, volume_suffixes
from openmedlab.io.nifti import GeometryConflict, Prefer
from openmedlab.io.note import labels_from_json, modality


def read_volume(
    path: str | Path,
    *,
    series: str | None = None,
    prefer: Prefer | None = None,
    channel: int | str | None = None,
    time: int | None = None,
) -> Volume:
    """Read an image: NIfTI, NRRD, MetaImage, a DICOM series or OME-Zarr.

    Parameters
    ----------
    path
        A file, a folder of DICOM files (searched through), or an OME-Zarr folder.
    series
        DICOM: SeriesInstanceUID or description, where a folder holds several.
    prefer
        NIfTI: ``"sform"`` or ``"qform"``, where the two disagree.
    channel, time
        OME-Zarr: index (or name of the channel); NIfTI: ``time`` of a 4-D file.

    Returns
    -------
    Volume
        (z, y, x); lazy, with its pyramid, for OME-Zarr.

    Raises
    ------
    InputError
        One sentence: missing, empty, damaged, not an image, 4-D, colour, NaN,
        several series, missing slices, contradictory geometry.
    """
    found = existing(path)
    match _format(found):
        case "nifti":
            from openmedlab.io import nifti

            array, geometry, note = nifti.read(found, prefer=prefer, time=time)
        case "itk" | "segnrrd":
            from openmedlab.io import itk

            array, geometry, note = itk.read(found)
        case "dicom":
            from openmedlab.io import dicom

            return dicom.read(found, series=series)
        case "omezarr":
            from openmedlab.io import omezarr

            return omezarr.read(found, channel=channel, time=time)
    kind = note.modality if note else "unknown"
    if kind == "unknown":
        kind = modality(_sidecar(found).get("modality"))
    return Volume(array, geometry, kind, stem(found), found)


def read_labels(path: str | Path, *, prefer: Prefer | None = None) -> LabelVolume:
    """Read a labelmap with the names and colours the file, or ``meta.json`` beside it, gives.

    Returns
    -------
    LabelVolume
        (z, y, x) in the smallest unsigned type that holds its values.

    Raises
    ------
    InputError
        As `read_volume`; also fractions or negative values.
    """
    found = existing(path)
    match _format(found):
        case "nifti":
            from openmedlab.io import nifti

            array, geometry, note = nifti.read(found, prefer=prefer)
        case "itk":
            from openmedlab.io import itk

            array, geometry, note = itk.read(found)
        case "segnrrd":
            from openmedlab.io import segnrrd

            return segnrrd.read(found)
        case "dicom":
            from openmedlab.io import dicomseg

            return dicomseg.read(found)
        case "omezarr":
            from openmedlab.io import omezarr

            return omezarr.read_labels(found)
    labels = note.labels if note else {}
    labels = labels or labels_from_json(_sidecar(found).get("labels", {}))
    method = note.method if note else ""
    return LabelVolume(whole_numbers(array, found), geometry, labels, stem(found), method)


def info(path: str | Path, *, series: str | None = None) -> dict[str, Any]:
    """Describe an image for ``openmedlab info``: plain values, ready for JSON.

    Returns
    -------
    dict
        ``format``, ``name``, ``shape`` (z, y, x), ``spacing``, ``origin``,
        ``direction``, ``codes``, ``unit``, ``sheared``, ``modality``, ``dtype``,
        ``range`` (of the coarsest level), ``levels`` (shapes), ``warnings``.
        Of several channels or time points the first is described, of two orientations
        the sform, and ``warnings`` says so.
    """
    found = existing(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        remarks = []
        try:
            volume = read_volume(found, series=series)
        except (GeometryConflict, ChoiceNeeded) as open_question:
            remarks.append(str(open_question))
            volume = read_volume(found, series=series, prefer="sform", channel=0, time=0)
    remarks += [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    geometry = volume.geometry
    coarsest = (volume.pyramid or (volume,))[-1].read()
    return {
        "format": _format(found),
        "name": volume.name,
        "shape": list(volume.shape),
        "spacing": list(geometry.spacing),
        "origin": list(geometry.origin),
        "direction": geometry.direction.tolist(),
        "codes": geometry.codes,
        "unit": geometry.unit,
        "sheared": geometry.is_sheared,
        "modality": volume.modality,
        "dtype": str(volume.dtype),
        "range": [np.min(coarsest).item(), np.max(coarsest).item()],
        "levels": [list(v.shape) for v in (volume, *volume.pyramid)],
        "warnings": remarks,
    }


def _format(path: Path) -> FormatName:
    found: Format | None = by_content(path) or by_suffix(path)
    if found is None or (found.folder and path.is_file()):
        endings = ", ".join(volume_suffixes())
        raise InputError(
            f"{path.name} is not an image that can be read here; give a file ending in {endings} "
            "or a folder of DICOM files."
        )
    return found.name


def _sidecar(path: Path) -> dict[str, Any]:
    beside = path.parent / "meta.json"
    if not beside.is_file():
        return {}
    try:
        data = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
