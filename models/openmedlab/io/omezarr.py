"""Reading OME-Zarr 0.4 and 0.5: lazy pyramids.

The format places voxels by scale and translation alone; both are read as LPS.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry, Unit
from openmedlab.core.volume import Label, LabelVolume, Volume
from openmedlab.io.checks import GeometryWarning, damaged, pick, whole_numbers
from openmedlab.io.formats import stem
from openmedlab.io.note import KEY, Note

Float64 = npt.NDArray[np.float64]
SPACE = ("z", "y", "x")
_IN_MM = {
    "angstrom": 1e-7,
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "decimeter": 100.0,
    "meter": 1000.0,
}


@dataclass(frozen=True)
class Multiscale:
    """An opened multiscale: its arrays, finest first, and where each level stands."""

    path: Path
    axes: tuple[str, ...]
    arrays: tuple[Any, ...]
    geometries: tuple[Geometry, ...]
    channels: tuple[str, ...]
    attributes: Mapping[str, Any]
    note: Note | None
    version: str


def read(path: Path, *, channel: int | str | None = None, time: int | None = None) -> Volume:
    """Read an image lazily; its coarser levels are in `Volume.pyramid`.

    Raises
    ------
    InputError
        Not a multiscale image, several channels or time points and none chosen, no unit
        we know, or a transformation that is not scale and translation.
    """
    scale = opened(path)
    if isinstance(channel, str):
        if channel not in scale.channels:
            known = ", ".join(scale.channels) or "none are named"
            raise InputError(f"{path.name} has no channel {channel!r}; its channels: {known}.")
        channel = scale.channels.index(channel)
    arrays = [_selected(scale, array, channel, time) for array in scale.arrays]
    note, name = scale.note, stem(path)
    light_sheet = scale.geometries[0].unit == "micrometer"
    modality = note.modality if note else "LS" if light_sheet else "unknown"
    finest, *coarser = (
        Volume(array, geometry, modality, name, path)
        for array, geometry in zip(arrays, scale.geometries, strict=True)
    )
    return Volume(finest.array, finest.geometry, modality, name, path, tuple(coarser))


def read_labels(path: Path) -> LabelVolume:
    """Read the labels at ``path``, or the only labels inside the image at ``path``.

    Raises
    ------
    InputError
        Several labels inside the image, or values that are not whole numbers.
    """
    inside = sorted(p.name for p in (path / "labels").glob("[!.]*") if p.is_dir())
    if len(inside) > 1:
        raise InputError(
            f"{path.name} holds several labels ({', '.join(inside)}); open one of them, "
            f"for example {path.name}/labels/{inside[0]}."
        )
    place = path / "labels" / inside[0] if inside else path
    scale = opened(place)
    array = np.asarray(_selected(scale, scale.arrays[0], None, None))
    named = _named(scale.attributes.get("image-label", {}))
    note = scale.note
    return LabelVolume(
        whole_numbers(array, place),
        scale.geometries[0],
        note.labels if note else named,
        stem(place),
        note.method if note else "",
    )


def opened(path: Path) -> Multiscale:
    """Open the multiscale at ``path``, or the only one a level below; no voxels are read."""
    import zarr

    try:
        group = zarr.open_group(str(path), mode="r", use_consolidated=False)
        raw: dict[str, Any] = dict(group.attrs)
    except (FileNotFoundError, TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{path.name} is not an OME-Zarr image (no group with metadata in it)."
        ) from error
    attributes: Mapping[str, Any] = raw.get("ome", raw)
    if not attributes.get("multiscales"):
        images = sorted(str(p.parent.relative_to(path)) for p in _images_below(path))
        if len(images) == 1:
            return opened(path / images[0])
        hint = f"; open one of {', '.join(images[:5])} inside it" if images else ""
        raise InputError(f"{path.name} holds no multiscale image itself{hint}.")
    scale = attributes["multiscales"][0]
    try:
        axes = tuple(str(a["name"] if isinstance(a, dict) else a) for a in scale["axes"])
        arrays = tuple(group[d["path"]] for d in scale["datasets"])
        places = [_transform(d, scale, axes, path) for d in scale["datasets"]]
    except KeyError as error:
        raise damaged(path, f"{error} is missing") from error
    note = Note.from_json(raw.get(KEY))
    return Multiscale(
        path,
        axes,
        arrays,
        _geometries(scale["axes"], axes, arrays, places, note, path),
        tuple(str(c.get("label", "")) for c in attributes.get("omero", {}).get("channels", [])),
        attributes,
        note,
        "0.5" if "ome" in raw else "0.4",
    )


def _images_below(path: Path) -> list[Path]:
    """Metadata files of images one level down (bioformats2raw, collections)."""
    found = [*path.glob("*/zarr.json"), *path.glob("*/.zattrs")]
    return [p for p in found if '"multiscales"' in p.read_text(encoding="utf-8", errors="ignore")]


def _transform(
    dataset: Mapping[str, Any], scale: Mapping[str, Any], axes: tuple[str, ...], path: Path
) -> Float64:
    """(4, 4) diagonal matrix from (z, y, x) index to the file's (z, y, x) coordinates."""
    factor, shift = np.ones(len(axes)), np.zeros(len(axes))
    steps = [
        *dataset.get("coordinateTransformations", ()),
        *scale.get("coordinateTransformations", ()),
    ]
    for step in steps:
        kind = step["type"]
        if kind == "identity":
            continue
        if kind not in ("scale", "translation") or kind not in step:
            raise InputError(
                f"{path.name} is placed by a {kind!r} transformation that cannot be read here; "
                "only scale and translation are."
            )
        values = np.asarray(step[kind], float)
        if values.shape != factor.shape:
            raise damaged(path, f"a {kind} has {values.size} numbers for {len(axes)} axes")
        factor, shift = (factor * values, shift * values) if kind == "scale" else (
            factor, shift + values)  # fmt: skip
    matrix = np.eye(4)
    for k, name in enumerate(SPACE):
        if name in axes:
            matrix[k, k] = factor[axes.index(name)]
            matrix[k, 3] = shift[axes.index(name)]
    return matrix


def _geometries(
    described: list[Any],
    axes: tuple[str, ...],
    arrays: tuple[Any, ...],
    places: list[Float64],
    note: Note | None,
    path: Path,
) -> tuple[Geometry, ...]:
    unit, factors = _units(described, path)
    to_world = np.diag([*factors, 1.0])[[2, 1, 0, 3]]
    shapes = [tuple(a.shape[axes.index(n)] if n in axes else 1 for n in SPACE) for a in arrays]
    if note and note.geometry.shape == shapes[0] and note.geometry.unit == unit:
        stated = placed(note.geometry)
        if np.allclose(stated, places[0], rtol=1e-9, atol=1e-9):
            to_world = note.geometry.affine @ np.linalg.inv(stated)
            places = [stated, *places[1:]]
    try:
        out = [
            Geometry((z, y, x), to_world @ place, unit)
            for (z, y, x), place in zip(shapes, places, strict=True)
        ]
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error
    if note and out[0].almost_equal(note.geometry, 1e-9 * np.abs(out[0].corners()).max()):
        out[0] = note.geometry
    return tuple(out)


def _units(described: list[Any], path: Path) -> tuple[Unit, list[float]]:
    """The unit of the world, and the factor to it along (z, y, x)."""
    stated = {a["name"]: a.get("unit") for a in described if isinstance(a, dict)}
    words = [stated.get(name) or "" for name in SPACE]
    strange = [w for w in words if w and w not in _IN_MM]
    if strange:
        raise InputError(f"{path.name} measures space in {strange[0]!r}, no unit of length here.")
    if not any(words):
        warnings.warn(
            f"{path.name} states no unit of length; micrometres were assumed.",
            GeometryWarning,
            stacklevel=5,
        )
    unit: Unit = "millimeter" if any(_IN_MM.get(w, 0) >= 1 for w in words) else "micrometer"
    return unit, [_IN_MM[w or unit] / _IN_MM[unit] for w in words]


def _selected(scale: Multiscale, array: Any, channel: int | None, time: int | None) -> Any:
    """Return a lazy (z, y, x) array of one channel and time point."""
    da = dask_array()

    key: list[int | slice] = []
    for name, count in zip(scale.axes, array.shape, strict=True):
        if name in SPACE:
            key.append(slice(None))
        else:
            names = f" ({', '.join(scale.channels)})" if name == "c" and scale.channels else ""
            word, choice = {"c": ("channel", channel), "t": ("time", time)}.get(name, (name, None))
            key.append(pick(count, choice, word, scale.path, names))
    lazy = da.from_zarr(array)[tuple(key)]
    left = [name for name in scale.axes if name in SPACE]
    ordered = lazy.transpose([left.index(name) for name in SPACE if name in left])
    return ordered if "z" in left else ordered[None]


def _named(image_label: Mapping[str, Any]) -> dict[int, Label]:
    colors = {int(c["label-value"]): c.get("rgba") for c in image_label.get("colors", [])}
    facts = {int(p["label-value"]): p for p in image_label.get("properties", [])}
    out = {}
    for number in sorted({*colors, *facts} - {0}):
        rgba = colors.get(number)
        color = (rgba[0] / 255, rgba[1] / 255, rgba[2] / 255) if rgba else None
        fact = facts.get(number, {})
        out[number] = Label(
            str(fact.get("name") or fact.get("class") or f"label {number}"),
            color,
            str(fact.get("code", "")),
        )
    return out


def placed(geometry: Geometry) -> Float64:
    """The scale and translation that stand for a geometry in the file."""
    matrix = np.diag([*geometry.spacing, 1.0])
    matrix[:3, 3] = geometry.origin[::-1]
    return matrix


def dask_array() -> Any:
    """Return `dask.array`, imported when first needed."""
    import dask.array

    return dask.array
