"""Layers to medical files, on the exact grid that the readers put into the metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image

from napari_openmedlab.layers.geometry import KEY, geometry_of, volumetric
from openmedlab.core import Geometry, InputError, Label, LabelVolume, Volume


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer as NIfTI, NRRD, ``.seg.nrrd``, MetaImage, OME-Zarr or DICOM-SEG."""
    from openmedlab import io

    array = np.asarray(_finest(data, attributes))
    known = _known(attributes)
    labels = LabelVolume(
        array,
        _geometry(array.shape, attributes),
        _labels(known),
        str(attributes.get("name", "labels")),
        str(known.get("method", "")),
    )
    image = _source_image(path, known)
    return [str(io.write_labels(labels, path, image=image))]


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as NIfTI, NRRD, MetaImage or OME-Zarr."""
    from openmedlab import io

    known = _known(attributes)
    if attributes.get("rgb"):
        raise InputError("A colour layer cannot be saved as a medical volume; save it as PNG.")
    array = _finest(data, attributes)
    volume = Volume(
        array,
        _geometry(array.shape, attributes),
        known.get("modality", "unknown"),
        str(attributes.get("name", "image")),
    )
    return [str(io.write_volume(volume, path))]


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return dict((attributes.get("metadata") or {}).get(KEY) or {})


def _finest(data: Any, attributes: dict[str, Any]) -> Any:
    """The full resolution of a layer as (z, y, x); a flat layer is one slice."""
    multiscale = attributes.get("multiscale") or isinstance(data, list | tuple)
    array = data[0] if multiscale else data
    if array.ndim not in (2, 3):
        raise InputError(
            f"{attributes.get('name', 'The layer')} has {array.ndim} axes; only slices and volumes "
            "can be saved in this format."
        )
    return volumetric(array)


def _geometry(shape: tuple[int, ...], attributes: dict[str, Any]) -> Geometry:
    """The exact grid in the metadata, moved as the layer was; else the one the layer shows."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "metadata")
    stand_in = {name: attributes[name] for name in names if name in attributes}
    flat = len(attributes.get("scale", shape)) == 2
    return geometry_of(
        Image(np.broadcast_to(np.uint8(0), shape[1:] if flat else shape), **stand_in)
    )


def _labels(known: dict[str, Any]) -> dict[int, Label]:
    return {int(n): v for n, v in (known.get("labels") or {}).items() if isinstance(v, Label)}


def _source_image(path: str, known: dict[str, Any]) -> Volume | None:
    """The DICOM series a DICOM-SEG refers to; other formats need no image."""
    from openmedlab.io import read_volume
    from openmedlab.io.formats import by_suffix

    found = by_suffix(Path(path))
    source = known.get("source")
    if found is None or found.name != "dicom" or source is None:
        return None
    return read_volume(Path(source))
