"""Writing OME-Zarr: images and labels with pyramids.

The format places voxels by scale and translation alone. What we write also carries the
exact affine in a `Note`, so that oblique grids come back as they were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.volume import LabelVolume, Volume
from openmedlab.io.atomic import replacing
from openmedlab.io.note import KEY, Note
from openmedlab.io.omezarr import SPACE, dask_array, opened, placed

_COARSEST = 128
_CHUNK = 64
_VERSION = "0.5"


def write(volume: Volume, path: Path) -> None:
    """Write an image with its pyramid (made by block means where it has none)."""
    da = dask_array()

    base = volume.array
    lazy = base if isinstance(base, da.Array) else da.from_array(base, chunks=_chunks(base.shape))
    if volume.pyramid:
        levels = [lazy, *(da.asarray(v.array) for v in volume.pyramid)]
        geometries = [volume.geometry, *(v.geometry for v in volume.pyramid)]
    else:
        geometries = _coarser_grids(volume.geometry)
        levels = [lazy]
        for fine, coarse in pairwise(geometries):
            levels.append(_block_means(levels[-1], fine, coarse))
    _write_levels(path, levels, geometries, Note.of(volume), volume.name, _VERSION)


def write_labels(labels: LabelVolume, array: npt.NDArray[Any], path: Path) -> Path:
    """Write labels as a folder of their own, or into the image that stands at ``path``.

    Every level takes the nearest voxel, so no label is invented; inside an image the
    levels are the image's own.

    Returns
    -------
    Path
        The folder of the labels.

    Raises
    ------
    InputError
        What stands at ``path`` is no OME-Zarr, or is an image on another grid.
    """
    image = opened(path) if path.exists() else None
    if image is None or "image-label" in image.attributes:
        grids = _coarser_grids(labels.geometry)
        with replacing(path) as temporary:
            _write_label_levels(temporary, labels, array, grids, _VERSION, inside=False)
        return path
    if not image.geometries[0].almost_equal(labels.geometry, 1e-3):
        raise InputError(
            f"{path.name} is an image on another grid than {labels.name!r}; "
            "write the labels to a new name."
        )
    name = re.sub(r"[^\w.-]+", "_", labels.name).strip(".") or "labels"
    target = path / "labels" / name
    with replacing(target) as temporary:
        _write_label_levels(
            temporary, labels, array, list(image.geometries), image.version, inside=True
        )
    _list_labels(path, name, image.version)
    return target


def _coarser_grids(geometry: Geometry) -> list[Geometry]:
    """Grids of a pyramid, finest first: axes are halved so that voxels grow towards cubes."""
    grids = [geometry]
    while max(grids[-1].shape) > _COARSEST:
        last = grids[-1]
        finest = min(s for n, s in zip(last.shape, last.spacing, strict=True) if n > 1)
        steps = [
            2 if n > 1 and s < 1.5 * finest else 1
            for n, s in zip(last.shape, last.spacing, strict=True)
        ]
        affine = last.affine.copy()
        affine[:3, :3] *= steps
        affine[:3, 3] = last.index_to_world((np.asarray(steps) - 1) / 2)
        shape = [max(n // f, 1) for n, f in zip(last.shape, steps, strict=True)]
        grids.append(Geometry((shape[0], shape[1], shape[2]), affine, last.unit))
    return grids


def _block_means(array: Any, fine: Geometry, coarse: Geometry) -> Any:
    da = dask_array()

    steps = {k: a // b for k, (a, b) in enumerate(zip(fine.shape, coarse.shape, strict=True))}
    means = da.coarsen(np.mean, array, steps, trim_excess=True)
    rounded = da.rint(means) if array.dtype.kind in "iu" else means
    return rounded.astype(array.dtype)


def _nearest(array: npt.NDArray[Any], fine: Geometry, coarse: Geometry) -> npt.NDArray[Any]:
    """Voxels of ``array`` nearest to those of ``coarse``, whose axes are parallel."""
    n = len(coarse.shape)
    corner = fine.world_to_index(coarse.index_to_world(np.zeros(n)))
    step = fine.world_to_index(coarse.index_to_world(np.ones(n))) - corner
    picked = [
        np.clip(np.ceil(corner[k] + step[k] * np.arange(coarse.shape[k]) - 0.5 - 1e-6), 0, size - 1)
        for k, size in enumerate(fine.shape)
    ]
    return array[np.ix_(*(p.astype(int) for p in picked))]


def _write_label_levels(
    path: Path,
    labels: LabelVolume,
    array: npt.NDArray[Any],
    grids: list[Geometry],
    version: str,
    inside: bool,
) -> None:
    levels = [array, *(_nearest(array, labels.geometry, grid) for grid in grids[1:])]
    grids = [labels.geometry, *grids[1:]]
    _write_levels(path, levels, grids, Note.of(labels), labels.name, version)
    meaning: dict[str, Any] = {
        "colors": [
            {"label-value": n, "rgba": [*(round(255 * c) for c in v.color), 255]}
            for n, v in labels.labels.items()
            if v.color
        ],
        "properties": [
            {"label-value": n, "name": v.name, **({"code": v.code} if v.code else {})}
            for n, v in labels.labels.items()
        ],
    }
    if inside:
        meaning["source"] = {"image": "../../"}
    _update(path, version, {"image-label": {k: v for k, v in meaning.items() if v}})


def _write_levels(
    path: Path,
    levels: list[Any],
    geometries: list[Geometry],
    note: Note,
    name: str,
    version: str,
) -> None:
    import zarr
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_multiscale, write_multiscales_metadata

    form: Any = format_from_version(version)
    kind: Any = form.zarr_format
    group = zarr.open_group(str(path), mode="w", zarr_format=kind)
    finest = geometries[0]
    to_file = placed(finest) @ np.linalg.inv(finest.affine)
    places = [placed(finest), *(to_file @ g.affine for g in geometries[1:])]
    write_multiscale(
        levels,
        group,
        fmt=form,
        axes=list(SPACE),
        storage_options=[{"chunks": _chunks(level.shape)} for level in levels],
    )
    attributes: Any = dict(group.attrs)
    listed = attributes.get("ome", attributes)["multiscales"][0]["datasets"]
    datasets = [
        {
            "path": dataset["path"],
            "coordinateTransformations": [
                {"type": "scale", "scale": np.diag(m)[:3].tolist()},
                {"type": "translation", "translation": m[:3, 3].tolist()},
            ],
        }
        for dataset, m in zip(listed, places, strict=True)
    ]
    axes = [{"name": a, "type": "space", "unit": finest.unit} for a in SPACE]
    write_multiscales_metadata(group, datasets, fmt=form, axes=axes, name=name)
    group.attrs[KEY] = note.to_json()


def _update(path: Path, version: str, extra: Mapping[str, Any]) -> None:
    """Add OME metadata to a group, where that version keeps it."""
    import zarr

    group = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    if version == "0.4":
        group.attrs.update(extra)
    else:
        known: Any = group.attrs.get("ome", {})
        group.attrs["ome"] = {"version": version, **known, **extra}


def _list_labels(path: Path, name: str, version: str) -> None:
    """Name new labels in the image's list of labels."""
    import zarr

    form: Any = 2 if version == "0.4" else 3
    group: Any = zarr.open_group(str(path / "labels"), mode="a", zarr_format=form)
    known = (group.attrs if version == "0.4" else group.attrs.get("ome", {})).get("labels", [])
    if name not in known:
        _update(path / "labels", version, {"labels": [*known, name]})


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(n, _CHUNK) for n in shape)
