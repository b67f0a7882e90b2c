"""Medical files as napari layers; the exact grid rides along in ``metadata["openmedlab"]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core import Geometry, InputError, LabelVolume, Volume

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[str | list[str]], list[LayerData]]

KEY = "openmedlab"
CT_WINDOW = (-160.0, 240.0)
SAMPLED_VOXELS = 500_000
FILES_LOOKED_AT = 20
_LABEL_NAME = re.compile(r"(?<![a-z])(labels?|seg|segmentations?|masks?)(?![a-z])")


def get_reader(path: str | list[str]) -> Reader | None:
    """Return `read` when the first of ``path`` looks like a medical image, else None."""
    first = Path(path[0] if isinstance(path, list) else path)
    if first.is_dir():
        return read if _is_image_folder(first) else None
    from openmedlab.io.formats import by_suffix

    return read if by_suffix(first) is not None else None


def read(path: str | list[str]) -> list[LayerData]:
    """Read files or folders as image and labels layers."""
    paths = path if isinstance(path, list) else [path]
    return list(chain.from_iterable(_read_one(Path(p)) for p in paths))


def _read_one(path: Path) -> list[LayerData]:
    from openmedlab.io import read_labels, read_volume

    labels = read_labels(path) if _is_segmentation(path) else None
    if labels is None and _LABEL_NAME.search(path.name.lower()):
        labels = _whole_numbers(path)
    if labels is not None:
        return [label_layer(labels, path)]
    inside = sorted(p for p in (path / "labels").glob("[!.]*") if p.is_dir())
    return [
        image_layer(read_volume(path)),
        *(label_layer(read_labels(place), place) for place in inside),
    ]


def image_layer(volume: Volume) -> LayerData:
    """Return a volume as an image layer: lazy and multiscale where the volume is."""
    levels = [volume.array, *(level.array for level in volume.pyramid)]
    return (
        levels if len(levels) > 1 else levels[0],
        {
            "name": volume.name,
            **placement(volume.geometry),
            "multiscale": len(levels) > 1,
            "colormap": "gray",
            "contrast_limits": _contrast(volume),
            "metadata": {
                KEY: {
                    "geometry": volume.geometry,
                    "transform": _transform(volume.geometry),
                    "modality": volume.modality,
                    "source": volume.source,
                }
            },
        },
        "image",
    )


def label_layer(labels: LabelVolume, source: Path | None = None) -> LayerData:
    """Return a labelmap as a labels layer, with its names and colours."""
    colored = {n: v.color for n, v in labels.labels.items() if v.color is not None}
    names = [(0, "background"), *((n, v.name) for n, v in sorted(labels.labels.items()) if n)]
    properties = {
        "name": labels.name,
        **placement(labels.geometry),
        "metadata": {
            KEY: {
                "geometry": labels.geometry,
                "transform": _transform(labels.geometry),
                "source": source,
                "labels": dict(labels.labels),
                "method": labels.method,
            }
        },
        "features": {"index": [n for n, _ in names], "name": [name for _, name in names]},
    }
    if colored:
        properties["colormap"] = _colormap(colored, max(labels.labels))
    return labels.array, properties, "labels"


def placement(geometry: Geometry) -> dict[str, Any]:
    """Return the layer arguments that put a grid into napari's world.

    napari's axes are the grid's own: the scale is the spacing and the translation the
    origin along the index axes, so that grids of one orientation overlay. Rotation stays in
    the metadata, because napari cannot show it across slices.
    """
    if geometry.is_oblique or geometry.is_sheared:
        _tell_once(
            "This volume is oblique: napari shows its slices along the scanner's axes. Masks "
            "are saved on the exact grid all the same."
        )
    return {
        "scale": geometry.spacing,
        "translate": tuple((geometry.direction.T @ np.asarray(geometry.origin)).tolist()),
        "units": ("mm" if geometry.unit == "millimeter" else "um",) * 3,
    }


def _transform(geometry: Geometry) -> npt.NDArray[np.float64]:
    """`placement` as a (4, 4) matrix, by which a later move of the layer is noticed."""
    shown = placement(geometry)
    matrix = np.diag([*shown["scale"], 1.0])
    matrix[:3, 3] = shown["translate"]
    return matrix


@cache
def _tell_once(text: str) -> None:
    from napari.utils.notifications import show_info

    show_info(text)


def _contrast(volume: Volume) -> tuple[float, float]:
    """A soft-tissue window for CT; for the rest the range without the outermost 0.5 %."""
    if volume.modality == "CT":
        return CT_WINDOW
    coarse = (volume.pyramid or (volume,))[-1]
    step = max(1, round((np.prod(coarse.shape) / SAMPLED_VOXELS) ** (1 / 3)))
    sample = np.asarray(coarse.array[::step, ::step, ::step], float)
    low, high = np.percentile(sample, (0.5, 99.5))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _colormap(colored: dict[int, tuple[float, float, float]], largest: int) -> Any:
    """The file's colours; napari's own for labels without one."""
    from napari.utils.colormaps import DirectLabelColormap, label_colormap

    automatic = label_colormap()
    numbers = np.arange(1, largest + 1)
    colors: dict[int | None, Any] = dict(zip(numbers.tolist(), automatic.map(numbers), strict=True))
    colors.update({n: (*rgb, 1.0) for n, rgb in colored.items()})
    return DirectLabelColormap(color_dict={**colors, 0: "transparent", None: "gray"})


def _is_image_folder(folder: Path) -> bool:
    """Whether a folder is an OME-Zarr or has DICOM among its first files."""
    from openmedlab.io.formats import by_content

    found = by_content(folder)
    if found is not None and found.name == "omezarr":
        return True
    return any(_is_dicom(path) for path in islice(_files(folder), FILES_LOOKED_AT))


def _files(folder: Path) -> Iterable[Path]:
    return (p for p in folder.rglob("*") if p.is_file())


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_segmentation(path: Path) -> bool:
    """Whether the format itself says that this is a segmentation."""
    if path.name.lower().endswith(".seg.nrrd"):
        return True
    if path.is_dir():
        return _is_zarr_label(path)
    if not path.is_file() or not _is_dicom(path):
        return False
    import pydicom

    return bool(pydicom.dcmread(path, specific_tags=["Modality"]).Modality == "SEG")


def _is_zarr_label(folder: Path) -> bool:
    """Whether an OME-Zarr group calls itself a label image."""
    import zarr

    try:
        attributes = dict(zarr.open_group(str(folder), mode="r", use_consolidated=False).attrs)
    except (FileNotFoundError, TypeError, ValueError, KeyError):
        return False
    ome = attributes.get("ome", attributes)
    return isinstance(ome, dict) and "image-label" in ome


def _whole_numbers(path: Path) -> LabelVolume | None:
    """Read a file whose name says labels; None when its voxels say otherwise."""
    from openmedlab.io import read_labels

    try:
        return read_labels(path)
    except InputError:
        return None
