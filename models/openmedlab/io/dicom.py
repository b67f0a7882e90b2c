"""DICOM series: pydicom for headers and geometry, SimpleITK (GDCM) for pixels of any syntax."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.volume import Volume
from openmedlab.io.checks import damaged
from openmedlab.io.itk import library
from openmedlab.io.note import modality

Float64 = npt.NDArray[np.float64]
_NOT_IMAGES = {"SEG", "RTDOSE", "PR", "SR", "RTSTRUCT", "KO"}
_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "Modality", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "RescaleSlope", "RescaleIntercept", "BitsStored", "PixelRepresentation",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice: which file and frame it is, where it stands, how its numbers are stored."""

    path: Path
    index: int
    header: Any
    position: Float64 | None
    orientation: Float64
    spacing: tuple[float, float]
    thickness: float
    size: tuple[int, int]
    storage: tuple[Any, ...]

    @property
    def depth(self) -> float:
        """Position along the slice normal."""
        return float(self.place @ np.cross(self.orientation[:3], self.orientation[3:]))

    @property
    def place(self) -> Float64:
        """Position of the first voxel; the zero point when the header states none."""
        return np.zeros(3) if self.position is None else self.position


def read(path: Path, *, series: str | None = None) -> Volume:
    """Read one series: a folder (searched through), or any one file of it.

    Gantry tilt becomes a sheared affine; stored values are rescaled (HU for CT).

    Raises
    ------
    InputError
        Several series and ``series`` is None; slices missing, doubled or irregular;
        colour; a film without positions; damaged files.
    """
    frames, alone = load_series(path, series)
    geometry = _geometry(frames, path)
    header = frames[0].header
    name = str(header.get("SeriesDescription", "") or "") or path.stem
    source = path if alone and path.is_dir() else frames[0].path
    kind = modality(str(header.get("Modality", "")))
    return Volume(_pixels(frames), geometry, kind, name, source)


def load_series(path: Path, series: str | None = None) -> tuple[list[Frame], bool]:
    """Return the slices of one series, sorted, and whether it is the only one there."""
    groups = _series(path)
    chosen = _chosen(groups, series, path)
    frames = [frame for file, header in groups[chosen] for frame in slices_of(file, header)]
    _check_alike(frames, path)
    return sorted(frames, key=lambda f: f.depth), len(groups) == 1


# ----------------------------------------------------------------------- finding files
def _series(path: Path) -> dict[str, list[tuple[Path, Any]]]:
    """Image files by SeriesInstanceUID; for a single file its own series only."""
    if path.is_dir():
        found = [(file, h) for file in sorted(path.rglob("*")) if (h := _header(file)) is not None]
    else:
        own = _header(path)
        if own is None:
            raise damaged(path, "not a DICOM file")
        found = [(path, own)]
        if "NumberOfFrames" not in own:
            beside = ((file, _header(file)) for file in sorted(path.parent.iterdir()))
            uid = own.get("SeriesInstanceUID")
            found = [(f, h) for f, h in beside if h and h.get("SeriesInstanceUID") == uid]
    images = [item for item in found if _is_image(item[1])]
    if not images:
        if any(header.get("Modality") == "SEG" for _, header in found):
            raise InputError(f"{path.name} is a DICOM segmentation; open it as labels.")
        if path.is_file():
            raise damaged(path, "no DICOM image in it")
        raise InputError(f"{path} holds no DICOM or other image files; choose a series' folder.")
    groups: dict[str, list[tuple[Path, Any]]] = {}
    for item in images:
        groups.setdefault(str(item[1].get("SeriesInstanceUID", "")), []).append(item)
    return groups


def _header(file: Path) -> Any:
    """Return the header fields of a DICOM file, None for anything else."""
    import pydicom

    if not file.is_file():
        return None
    with file.open("rb") as opened:
        magic = opened.read(132)[128:] == b"DICM"
    if not magic and file.suffix.lower() not in (".dcm", ".ima"):
        return None
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=not magic)
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise damaged(file, error) from error


def _is_image(header: Any) -> bool:
    return "Rows" in header and header.get("Modality") not in _NOT_IMAGES


def _chosen(groups: dict[str, list[tuple[Path, Any]]], series: str | None, path: Path) -> str:
    if series is None and len(groups) == 1:
        return next(iter(groups))
    described = {uid: str(i[0][1].get("SeriesDescription", "")) for uid, i in groups.items()}
    wanted = (series or "").casefold()
    hits = [u for u, words in described.items() if series and wanted in (u, words.casefold())]
    if len(hits) == 1:
        return hits[0]
    listed = "; ".join(
        f"{described[uid] or 'no description'!r} ({len(items)} files, {uid or 'no UID'})"
        for uid, items in groups.items()
    )
    count = f"{len(hits) or 'no'} series called {series!r} among" if series else "several series:"
    raise InputError(
        f"{path.name} holds {count} {listed}; choose one with series=UID or description."
    )


# --------------------------------------------------------------------------- geometry
def slices_of(path: Path, header: Any) -> list[Frame]:
    """Return the slices that one file holds, in its order."""
    if int(header.get("SamplesPerPixel", 1)) > 1:
        raise InputError(f"{path.name} is a colour image; convert it to grey values first.")
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if per_frame is None:
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            raise InputError(
                f"{path.name} is a film of {header.NumberOfFrames} frames without positions in "
                "space; only slices of a volume can be read."
            )
        return [_frame(path, 0, header, [header])]
    shared = list(header.get("SharedFunctionalGroupsSequence", []))
    groups = ([*_nested(frame), *(n for s in shared for n in _nested(s))] for frame in per_frame)
    return [_frame(path, k, header, [*places, header]) for k, places in enumerate(groups)]


def _nested(group: Any) -> list[Any]:
    """The items inside a functional group: plane position, orientation, measures, rescale."""
    return [item for element in group if element.VR == "SQ" for item in element.value]


def _frame(path: Path, index: int, header: Any, places: Sequence[Any]) -> Frame:
    def value(*names: str, default: Any = None) -> Any:
        found = (place.get(name) for name in names for place in places)
        return next((v for v in found if v not in (None, "")), default)

    try:
        position = value("ImagePositionPatient")
        row, column = value("PixelSpacing", "ImagerPixelSpacing", default=(1.0, 1.0))
        orientation = value("ImageOrientationPatient", default=(1, 0, 0, 0, 1, 0))
        return Frame(
            path,
            index,
            header,
            None if position is None else np.array(position, float).reshape(3),
            np.array(orientation, float).reshape(6),
            (float(row), float(column)),
            abs(float(value("SpacingBetweenSlices", "SliceThickness", default=1.0))) or 1.0,
            (int(header.Rows), int(header.Columns)),
            (
                float(value("RescaleSlope", default=1)),
                float(value("RescaleIntercept", default=0)),
                header.get("BitsStored"),
                header.get("PixelRepresentation"),
            ),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise damaged(path, error) from error


def _check_alike(frames: Sequence[Frame], path: Path) -> None:
    first = frames[0]
    for frame in frames:
        if frame.size != first.size or not np.allclose(frame.spacing, first.spacing, atol=1e-4):
            raise InputError(
                f"{path.name}: slices of one series differ in size or pixel spacing "
                f"({first.path.name}, {frame.path.name}); keep those of one acquisition."
            )
        if not np.allclose(frame.orientation, first.orientation, atol=1e-3):
            raise InputError(
                f"{path.name}: slices of one series face different directions "
                f"({first.path.name}, {frame.path.name}); keep those of one acquisition."
            )
    if len(frames) > 1 and any(frame.position is None for frame in frames):
        raise InputError(f"{path.name}: some slices state no position, so they cannot be stacked.")


def _geometry(frames: Sequence[Frame], path: Path) -> Geometry:
    first = frames[0]
    row, column = first.orientation[:3], first.orientation[3:]
    step = np.cross(row, column) * first.thickness
    if len(frames) > 1:
        _check_gaps(frames, path)
        step = (frames[-1].place - first.place) / (len(frames) - 1)
        _check_line(frames, step, path)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = column * first.spacing[0]
    affine[:3, 2] = row * first.spacing[1]
    affine[:3, 3] = first.place
    return Geometry((len(frames), *first.size), affine)


def _check_gaps(frames: Sequence[Frame], path: Path) -> None:
    gaps = np.diff([frame.depth for frame in frames])
    usual = float(np.median(gaps))
    doubled = int(np.count_nonzero(gaps < 1e-3))
    if doubled:
        k = int(np.argmax(gaps < 1e-3))
        raise InputError(
            f"{path.name}: {doubled + 1} slices share a position with another, for example "
            f"{frames[k].path.name} and {frames[k + 1].path.name}; the series holds several "
            "acquisitions or time points, so keep the files of one of them."
        )
    wrong = np.flatnonzero(np.abs(gaps - usual) > max(0.02, 0.02 * usual))
    if wrong.size:
        k = int(wrong[0])
        between = f"{frames[k].path.name} and {frames[k + 1].path.name}"
        missing = round(float(gaps[k]) / usual) - 1
        guess = f" ({missing} missing)" if missing > 0 else ""
        more = f", and {wrong.size - 1} more such places" if wrong.size > 1 else ""
        raise InputError(
            f"{path.name}: slices are {usual:.4g} mm apart, but {gaps[k]:.4g} mm lie between "
            f"{between}{guess}{more}; add the missing files or resample the series."
        )


def _check_line(frames: Sequence[Frame], step: Float64, path: Path) -> None:
    straight = frames[0].place + np.arange(len(frames))[:, None] * step
    off = np.linalg.norm(np.array([f.place for f in frames]) - straight, axis=1)
    if off.max() > max(0.1, 0.1 * float(np.linalg.norm(step))):
        k = int(off.argmax())
        raise InputError(
            f"{path.name}: slice {frames[k].path.name} stands {off[k]:.3g} mm off the line of the "
            "others; the series cannot be stacked into one volume."
        )


# ----------------------------------------------------------------------------- pixels
def _pixels(frames: Sequence[Frame]) -> npt.NDArray[Any]:
    """Rescaled voxels (z, y, x): int16 where exact, wider or float32 where not."""
    files = [(p, list(g)) for p, g in groupby(range(len(frames)), lambda k: frames[k].path)]
    for file, places in files:
        if len({frames[k].storage[:2] for k in places}) > 1:
            raise InputError(
                f"{file.name}: its frames are rescaled differently; export it as single slices."
            )
    first = _decoded(frames[0].path)
    uniform = len({frame.storage for frame in frames}) == 1
    exact = uniform and first.dtype.kind in "iu"
    out = np.empty((len(frames), *frames[0].size), first.dtype if exact else np.float32)

    def fill(item: tuple[Path, list[int]]) -> None:
        values = _decoded(item[0])
        if values.shape[1:] != out.shape[1:]:
            raise damaged(item[0], "colour or an unexpected size")
        for k in item[1]:
            out[k] = values[frames[k].index]

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, files))
    small = np.iinfo(np.int16)
    if exact and out.dtype.itemsize > 2 and small.min <= out.min() and out.max() <= small.max:
        return out.astype(np.int16)
    return out


def _decoded(path: Path) -> npt.NDArray[Any]:
    sitk = library()
    try:
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    except RuntimeError as error:
        raise damaged(path, "its pixels cannot be decoded") from error
