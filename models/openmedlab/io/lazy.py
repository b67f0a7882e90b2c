"""Opening an image without reading it: OME-Zarr, TIFF stacks and series, HDF5 and N5.

Every array that comes out answers ``array[z, y, x]`` slices with numpy, and reads only the
chunks, tiles or strips that the slices touch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.volume import Volume
from openmedlab.io.checks import GeometryWarning, damaged, existing, pick
from openmedlab.io.formats import by_content, by_suffix, stem
from openmedlab.io.omezarr import SPACE

TIFF = (".tif", ".tiff")
HDF5 = (".h5", ".hdf5", ".ims")
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SpatialArray:
    """A (z, y, x) view of a stored array with further axes.

    Attributes
    ----------
    stored
        Whatever answers slices: zarr, h5py, TensorStore.
    axes
        Names of its axes in their order, of which ``z``, ``y`` and ``x`` stay.
    fixed
        Index along each of the other axes.
    """

    stored: Any
    axes: tuple[str, ...]
    fixed: dict[str, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        z, y, x = (self._along(self.stored.shape, name, 1) for name in SPACE)
        return z, y, x

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel."""
        kind = self.stored.dtype
        found: np.dtype[Any] = np.dtype(getattr(kind, "numpy_dtype", kind))
        return found

    @property
    def chunks(self) -> tuple[int, int, int] | None:
        """Voxels that are stored together, where that is known."""
        known = getattr(self.stored, "chunks", None)
        if known is None:
            return None
        z, y, x = (self._along(known, name, 1) for name in SPACE)
        return z, y, x

    def _along(self, values: Sequence[int], name: str, without: int) -> int:
        return int(values[self.axes.index(name)]) if name in self.axes else without

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        given = tuple(key) if isinstance(key, tuple) else (key,)
        wanted = dict(zip(SPACE, (*given, *(slice(None),) * (3 - len(given))), strict=True))
        found = self.stored[tuple(self.fixed.get(n, wanted.get(n)) for n in self.axes)]
        found = np.asarray(found.read().result() if hasattr(found, "read") else found)
        left = [n for n in self.axes if n in SPACE]
        ordered = found.transpose([left.index(n) for n in SPACE if n in left])
        return ordered if "z" in self.axes else ordered[None][wanted["z"]]


@dataclass(frozen=True, eq=False)
class Planes:
    """A series of one-plane files as a (z, y, x) array; a plane's strips or tiles are read."""

    files: tuple[Path, ...]
    plane: tuple[int, int]
    kind: np.dtype[Any]
    chunk: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        return len(self.files), self.plane[0], self.plane[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel."""
        return self.kind

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Voxels that are stored together."""
        return 1, self.chunk[0], self.chunk[1]

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        given: list[Any] = list(key) if isinstance(key, tuple) else [key]
        z, y, x = given + [slice(None)] * (3 - len(given))
        planes: slice = z
        return np.stack([self._read(file, (y, x)) for file in self.files[planes]])

    def _read(self, file: Path, where: tuple[slice, ...]) -> npt.NDArray[Any]:
        with _tiff(file) as opened:
            array = _strips(_first_series(opened, file))
            if tuple(array.shape) != self.plane or array.dtype != self.kind:
                raise InputError(
                    f"{file.name} holds {tuple(array.shape)} pixels of {array.dtype}, the first "
                    f"file of the series {self.plane} of {self.kind}; take it out of the folder."
                )
            return np.asarray(array[where])


def open_volume(
    path: str | Path,
    *,
    channel: int | str | None = None,
    time: int | None = None,
    dataset: str | None = None,
    spacing: Spacing | None = None,
) -> Volume:
    """Open an image of any size; nothing but its metadata is read.

    Parameters
    ----------
    path
        OME-Zarr folder, TIFF file, folder of one-plane TIFF files (in the order of their
        names), HDF5 or N5. Anything else is read whole by `read_volume`.
    channel, time
        Which one, where there are several.
    dataset
        Path of the array inside an HDF5 or N5 container.
    spacing
        Voxel size (z, y, x) in micrometres, where the file does not state it or is wrong.

    Raises
    ------
    InputError
        One sentence: missing, damaged, several arrays and none chosen, not three-dimensional.
    """
    found = existing(path)
    if spacing is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GeometryWarning)
            opened = open_volume(found, channel=channel, time=time, dataset=dataset)
        return _spaced(opened, spacing)
    name = found.name.lower()
    if found.is_dir() and (name.endswith(".n5") or _is_n5(found)):
        volume = _n5(found, dataset)
    elif name.endswith(HDF5):
        volume = _hdf5(found, dataset)
    elif name.endswith(TIFF) or (found.is_dir() and _tiffs(found)):
        volume = _tiff_volume(found, channel, time)
    elif (form := by_suffix(found) or by_content(found)) and form.name == "omezarr":
        volume = _omezarr(found, channel, time)
    else:
        from openmedlab.io.read import read_volume

        volume = read_volume(found, channel=channel, time=time)
    return volume


def short_name(path: Path) -> str:
    """Return a file or folder name without its ending."""
    for ending in (*(f".ome{t}" for t in TIFF), *TIFF, *HDF5, ".n5"):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return stem(path)


def _spaced(volume: Volume, spacing: Spacing) -> Volume:
    """Return the volume with this voxel size in micrometres; its pyramid keeps its factors."""
    if min(spacing) <= 0:
        raise InputError(f"A voxel size must be positive, not {spacing}.")
    geometry = Geometry.from_spacing(volume.shape, spacing, unit="micrometer")
    levels = [replace(v, geometry=geometry.resized(v.shape)) for v in volume.pyramid]
    return replace(volume, geometry=geometry, pyramid=tuple(levels))


def _omezarr(path: Path, channel: int | str | None, time: int | None) -> Volume:
    from openmedlab.io import omezarr

    scale = omezarr.opened(path)
    volume = omezarr.read(path, channel=channel, time=time)
    if isinstance(channel, str):
        channel = scale.channels.index(channel)
    chosen = {"c": channel or 0, "t": time or 0}
    fixed = {n: chosen.get(n, 0) for n in scale.axes if n not in SPACE}
    finest, *coarser = (
        replace(level, array=SpatialArray(array, scale.axes, fixed), pyramid=())
        for level, array in zip((volume, *volume.pyramid), scale.arrays, strict=True)
    )
    return replace(finest, pyramid=tuple(coarser))


def _tiffs(folder: Path) -> tuple[Path, ...]:
    files = (p for p in folder.iterdir() if p.suffix.lower() in TIFF and p.name[0] != ".")
    return tuple(sorted(files, key=lambda p: _natural(p.name)))


def _natural(name: str) -> list[Any]:
    """Sort key under which slice 2 comes before slice 10."""
    import re

    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _tiff_volume(path: Path, channel: int | str | None, time: int | None) -> Volume:
    files = _tiffs(path) if path.is_dir() else (path,)
    with _tiff(files[0]) as first:
        series = _first_series(first, files[0])
        spacing = _tiff_spacing(first)
        if path.is_dir() and len(files) > 1:
            shape = tuple(series.shape)
            if len(shape) != 2:
                raise InputError(f"{files[0].name} holds {shape} pixels, not one grey plane.")
            strips = _strips(series)
            array: Any = Planes(files, (shape[0], shape[1]), series.dtype, strips.chunks)
            return _volume(array, path, spacing)
    opened = _tiff(files[0])
    stored = _strips(opened.series[0])
    axes = _tiff_axes(opened.series[0].axes, len(stored.shape), path)
    if isinstance(channel, str):
        raise InputError(f"{path.name} names no channels; choose one by its number.")
    chosen = {"c": channel, "t": time}
    fixed = {
        n: pick(count, chosen.get(n), {"c": "channel", "t": "time"}.get(n, n), path)
        for n, count in zip(axes, stored.shape, strict=True)
        if n not in SPACE
    }
    return _volume(SpatialArray(stored, axes, fixed), path, spacing)


def _tiff_axes(letters: str, count: int, path: Path) -> tuple[str, ...]:
    """Axes by name; an axis that the file leaves unnamed is depth where no other is."""
    axes = [letter.lower() for letter in letters]
    if "z" not in axes:
        axes = ["z" if a in "qi" else a for a in axes]
    if len(axes) != count or sorted(a for a in axes if a in SPACE) not in (["x", "y", "z"], [
        "x", "y"]):  # fmt: skip
        raise InputError(f"{path.name} has axes {letters!r}; three (z, y, x) are needed.")
    return tuple(axes)


def _tiff(path: Path) -> Any:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except (tifffile.TiffFileError, OSError, ValueError) as error:
        raise InputError(f"{path.name} is no TIFF file that can be read ({error}).") from error


def _strips(series: Any) -> Any:
    """Return a series as a zarr array whose chunks are the file's strips or tiles."""
    import zarr

    return zarr.open_array(series.aszarr(level=0), mode="r")


def _first_series(file: Any, path: Path) -> Any:
    if not file.series:
        raise damaged(path, "no image in it")
    return file.series[0]


def _tiff_spacing(file: Any) -> Spacing | None:
    """Voxel size in micrometres, where OME or ImageJ metadata state one."""
    if file.ome_metadata:
        import tifffile

        described = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        pixels = (described[0] if isinstance(described, list) else described)["Pixels"]
        sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
        units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
        known = {"µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "mm": 1e3}
        if all(sizes[1:]) and all(u in known for u in units):
            z, y, x = (float(s or 1) * known[u] for s, u in zip(sizes, units, strict=True))
            return z, y, x
    facts = file.imagej_metadata or {}
    resolution = file.pages[0].tags.get("XResolution")
    if str(facts.get("unit", "")) in ("um", "µm", "micron", "\\u00B5m") and resolution:
        across, per = resolution.value
        return float(facts.get("spacing", 1.0)), per / across, per / across
    return None


def _volume(array: Any, path: Path, spacing: Spacing | None) -> Volume:
    if spacing is None:
        spacing = (1.0, 1.0, 1.0)
        warnings.warn(
            f"{path.name} states no voxel size; voxels of 1 µm were assumed.",
            GeometryWarning,
            stacklevel=4,
        )
    geometry = Geometry.from_spacing(array.shape, spacing, unit="micrometer")
    return Volume(array, geometry, "LS", short_name(path), path)


def _hdf5(path: Path, dataset: str | None) -> Volume:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path.name} is no HDF5 file that can be read ({error}).") from error
    found: dict[str, Any] = {}
    file.visititems(lambda n, o: _note_array(found, n, o) if isinstance(o, h5py.Dataset) else None)
    stored = _chosen(found, dataset, path)
    size = stored.attrs.get("element_size_um")
    spacing = None if size is None else (float(size[0]), float(size[1]), float(size[2]))
    return _volume(_three(stored, path), path, spacing)


def _note_array(found: dict[str, Any], name: str, item: Any) -> None:
    if item.ndim >= 3 and item.dtype.kind in "uifb":
        found[name] = item


def _chosen(found: dict[str, Any], dataset: str | None, path: Path) -> Any:
    if dataset is None and len(found) == 1:
        return next(iter(found.values()))
    if dataset is None or dataset.strip("/") not in found:
        names = ", ".join(sorted(found)[:8]) or "none with three axes"
        wrong = "several arrays" if dataset is None else f"no array {dataset!r}"
        raise InputError(f"{path.name} holds {wrong}; name one as the dataset: {names}.")
    return found[dataset.strip("/")]


def _three(stored: Any, path: Path) -> SpatialArray:
    """Return an array of unnamed axes, of which the last three are (z, y, x)."""
    extra = len(stored.shape) - 3
    if any(n != 1 for n in stored.shape[:extra]):
        raise InputError(
            f"{path.name} holds an array of {tuple(stored.shape)}; only three axes may be "
            "longer than 1."
        )
    before = tuple(f"axis {k}" for k in range(extra))
    return SpatialArray(stored, (*before, *SPACE), dict.fromkeys(before, 0))


def _is_n5(folder: Path) -> bool:
    return (folder / "attributes.json").is_file()


def _n5(path: Path, dataset: str | None) -> Volume:
    try:
        import tensorstore
    except ModuleNotFoundError as error:
        raise InputError("Reading N5 needs TensorStore: pip install tensorstore.") from error
    import json

    folders = {
        str(p.parent.relative_to(path)): p
        for p in path.rglob("attributes.json")
        if "dimensions" in json.loads(p.read_text(encoding="utf-8"))
    }
    attributes = folders.get(".") if dataset is None else None
    attributes = attributes or _chosen(folders, dataset, path)
    where = {"driver": "file", "path": str(attributes.parent)}
    try:
        stored = tensorstore.open({"driver": "n5", "kvstore": where, "open": True}).result()
    except ValueError as error:
        raise InputError(f"{path.name} is no N5 array that can be read ({error}).") from error
    facts = json.loads(attributes.read_text(encoding="utf-8"))
    return _volume(_three(stored.T, path), path, _n5_spacing(facts))


def _n5_spacing(facts: dict[str, Any]) -> Spacing | None:
    """Voxel size that N5 viewers write as (x, y, z), in micrometres."""
    stated = facts.get("pixelResolution", facts.get("resolution"))
    sizes = stated.get("dimensions") if isinstance(stated, dict) else stated
    unit = stated.get("unit", "um") if isinstance(stated, dict) else "um"
    factor = {"um": 1.0, "µm": 1.0, "nm": 1e-3, "mm": 1e3}.get(str(unit))
    if not sizes or factor is None or len(sizes) < 3:
        return None
    x, y, z = (float(s) * factor for s in sizes[:3])
    return z, y, x
