"""Image layers <-> `Volume`: the layer's array as it is, its transform as a `Geometry`.

A layer's world is read as LPS millimetres in napari's axis order (z, y, x). Where a
reader left the exact geometry in ``layer.metadata["openmedlab"]["geometry"]``, that one
is used: napari cannot show every oblique grid as it stands. Beside it, ``"transform"`` says
how the layer stood then, so that a later move is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer

from openmedlab.core import Geometry, InputError, Volume
from openmedlab.core.geometry import Unit
from openmedlab.core.volume import ArrayLike3D

KEY = "openmedlab"
_LPS_FROM_WORLD = np.eye(4)[[2, 1, 0, 3]]


def volumetric(array: Any) -> Any:
    """Return a (z, y, x) view of a 2-D or 3-D array."""
    return array[None] if array.ndim == 2 else array


def positions(layer: Layer, coordinates: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return a 2-D or 3-D layer's data coordinates as (N, 3)."""
    points = np.asarray(coordinates, float).reshape(-1, layer.ndim)
    return np.pad(points, ((0, 0), (3 - layer.ndim, 0)))


def grid_of(layer: Layer) -> dict[str, Any]:
    """Return the keyword arguments that put another layer on the same grid."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def put_on_grid(layer: Layer, image: Layer) -> None:
    """Give ``layer`` the transform of ``image``."""
    for name, value in grid_of(image).items():
        setattr(layer, name, value)


def transform_of(layer: Layer) -> npt.NDArray[np.float64]:
    """Return the (4, 4) matrix from (z, y, x) index to napari's world (z, y, x), as displayed."""
    n = layer.ndim
    origin = np.asarray(layer.data_to_world(np.zeros(n)))
    columns = [np.asarray(layer.data_to_world(unit)) - origin for unit in np.eye(n)]
    matrix = np.eye(4)
    matrix[3 - n : 3, 3 - n : 3] = np.stack(columns, axis=1)
    matrix[3 - n : 3, 3] = origin
    if n == 2:
        matrix[0, 0] = np.linalg.norm(columns, axis=1).mean()
    return matrix


def _unit(layer: Layer) -> tuple[npt.NDArray[np.float64], Unit]:
    """Return factors (z, y, x) to, and the name of, the unit a geometry is kept in."""
    units = list(layer.units)
    if all(str(u) == "micrometer" for u in units):
        return np.ones(3), "micrometer"
    factors = [1.0 if u.dimensionless or str(u) == "pixel" else _millimetres(u) for u in units]
    return np.array([factors[0]] * (3 - len(factors)) + factors), "millimeter"


def _millimetres(unit: Any) -> float:
    try:
        return float((1 * unit).to("millimeter").magnitude)
    except Exception:
        raise InputError(
            f"The layer's axes are measured in {unit}, which is no length; set its units to mm."
        ) from None


def geometry_of(layer: Image | Labels) -> Geometry:
    """Return the grid of a 2-D or 3-D layer.

    Raises
    ------
    InputError
        The transform is singular, or the units are no lengths.
    """
    shape = volumetric(finest(layer)).shape
    known = layer.metadata.get(KEY, {})
    exact = known.get("geometry")
    if isinstance(exact, Geometry) and exact.shape == tuple(shape):
        return Pose(exact, known.get("transform", transform_of(layer))).now(layer)
    factors, unit = _unit(layer)
    world = np.diag([*factors, 1.0]) @ transform_of(layer)
    return Geometry(shape, _LPS_FROM_WORLD @ world, unit)


@dataclass(frozen=True)
class Pose:
    """Where a layer stood when its geometry was taken; tells the geometry after a move."""

    geometry: Geometry
    transform: npt.NDArray[np.float64]

    @classmethod
    def of(cls, layer: Image) -> Pose:
        """Take the present pose."""
        return cls(geometry_of(layer), transform_of(layer))

    def now(self, layer: Image) -> Geometry:
        """Return the geometry after the layer was moved, scaled or turned in the viewer."""
        moved = transform_of(layer)
        if np.allclose(moved, self.transform, rtol=0, atol=1e-12):
            return self.geometry
        lps_from_shown = self.geometry.affine @ np.linalg.inv(self.transform)
        return Geometry(self.geometry.shape, lps_from_shown @ moved, self.geometry.unit)


def finest(layer: Image | Labels) -> ArrayLike3D:
    """Return the array of a layer, of a multiscale one the finest level."""
    data: ArrayLike3D = layer.data[0] if layer.multiscale else layer.data
    return data


def check_image(layer: Image) -> None:
    """Raise `InputError` with one sentence when a layer cannot be segmented."""
    name = repr(layer.name)
    if getattr(layer, "rgb", False):
        raise InputError(f"{name} is a colour image; split it into channels and choose one.")
    if layer.ndim not in (2, 3):
        raise InputError(
            f"{name} has {layer.ndim} axes; split it so that one channel and time point with "
            "three (z, y, x) or two (y, x) axes remains."
        )
    array = finest(layer)
    if np.dtype(array.dtype).kind not in "buif":
        raise InputError(f"{name} holds {array.dtype} values; convert it to real numbers first.")
    if 0 in array.shape:
        raise InputError(f"{name} is empty; open an image with voxels.")


def check_stack(layer: Image, wanted: str) -> None:
    """Raise `InputError` when a layer is no volume; ``wanted`` says what needs one."""
    check_image(layer)
    if layer.ndim == 2:
        raise InputError(f"{layer.name!r} is one slice; {wanted}.")


def volume_of(layer: Image) -> Volume:
    """Return the layer's image as a `Volume`, its array not copied.

    Raises
    ------
    InputError
        The layer is RGB, has another number of axes, or holds no real numbers.
    """
    check_image(layer)
    geometry = geometry_of(layer)
    known = layer.metadata.get(KEY, {})
    levels: Sequence[Any] = layer.data[1:] if layer.multiscale else ()
    coarser = [volumetric(level) for level in levels]
    volume = Volume(
        volumetric(finest(layer)),
        geometry,
        modality=known.get("modality", "unknown"),
        name=layer.name,
        source=known.get("source") or _source(layer),
    )
    pyramid = tuple(replace(volume, array=a, geometry=geometry.resized(a.shape)) for a in coarser)
    return replace(volume, pyramid=pyramid)


def _source(layer: Image) -> Path | None:
    path = layer.source.path
    return None if path is None else Path(path)


def check_labels(labels: Labels, image: Image) -> None:
    """Raise `InputError` with one sentence when ``labels`` are not on the grid of ``image``."""
    name = repr(labels.name)
    shape = tuple(finest(labels).shape)
    if shape != tuple(finest(image).shape):
        raise InputError(
            f"The labels {name} have {shape} voxels but {image.name!r} has "
            f"{tuple(finest(image).shape)}; choose labels of the same image."
        )
    if labels.multiscale or not isinstance(labels.data, np.ndarray):
        raise InputError(
            f"The labels {name} are not held in memory; choose 'new labels' and merge later."
        )
    away = np.abs(transform_of(labels) - transform_of(image)).max()
    if away > 1e-3 * np.abs(np.linalg.norm(transform_of(image)[:3, :3], axis=0)).min():
        raise InputError(
            f"The labels {name} lie elsewhere than {image.name!r}: scale, translation or rotation "
            "differ; align the layers or choose 'new labels'."
        )
