"""A template: an organ marked by six points on one scan, and its ``template.toml``."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core import ExtremePoints, Geometry, InputError, Modality, Volume
from openmedlab.io.atomic import replacing
from openmedlab.io.note import modality
from openmedlab.localization.points import DIRECTIONS, checked_points, to_grid

FILE = "template.toml"


@dataclass(frozen=True, eq=False)
class VolumeReference:
    """Where a template's scan lies, and its grid.

    Attributes
    ----------
    path
        Relative to the library's folder where the scan lies inside, else absolute.
    geometry, modality
        Of the scan.
    reading
        What `openmedlab.io.read_volume` needs besides the path (``series``, ``prefer`` ...).
    """

    path: Path
    geometry: Geometry
    modality: Modality = "unknown"
    reading: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Template:
    """An organ marked on one scan.

    Attributes
    ----------
    organ
        Name, e.g. ``"kidney_left"``.
    code
        SNOMED CT code, or empty.
    scan
        `Volume.identity` of the scan.
    points
        (6, 3) float64, LPS millimetres (x, y, z): the organ's most inferior, anterior,
        right, superior, posterior and left point (`DIRECTIONS`). On the canonical grid,
        whose (z, y, x) grow to superior, posterior and left, that is
        [min z, min y, min x, max z, max y, max x].
    parts
        (n, 6, 3): the same six points of the organ's slabs from inferior to superior, for
        methods that look for parts; none where the organ was marked by six points alone.
    annotator
        Who marked it.
    date
        When.
    volume
        Where the scan lies.
    name
        Its folder in the library.
    """

    organ: str
    code: str
    scan: str
    points: npt.NDArray[np.float64]
    annotator: str
    date: dt.date
    volume: VolumeReference
    name: str = ""
    parts: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 6, 3)))

    def __post_init__(self) -> None:
        if not self.organ.strip():
            raise InputError("A template needs the name of its organ.")
        points = checked_points(self.points)
        parts = np.array([checked_points(part) for part in self.parts]).reshape(-1, 6, 3)
        for name, array in (("points", points), ("parts", parts)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def extreme_points(self) -> ExtremePoints:
        """The six points on the grid of the template's own scan."""
        return to_grid(self.points, self.volume.geometry)

    def outside(self) -> bool:
        """Whether a point lies outside the scan."""
        geometry = self.volume.geometry
        return not bool(geometry.contains(geometry.world_to_index(self.points)).all())


def read_template(folder: Path) -> Template:
    """Read the template in ``folder``.

    Raises
    ------
    InputError
        The file is missing, not TOML, or lacks a value.
    """
    path = folder / FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        volume = data["volume"]
        return Template(
            organ=str(data["organ"]),
            code=str(data.get("code", "")),
            scan=str(data["scan"]),
            points=np.array([data["points"][d] for d in DIRECTIONS], np.float64),
            annotator=str(data.get("annotator", "")),
            date=_date(data["date"]),
            volume=VolumeReference(
                path=Path(volume["path"]),
                geometry=Geometry.from_json(volume),
                modality=modality(volume.get("modality")),
                reading=dict(volume.get("reading", {})),
            ),
            name=folder.name,
            parts=np.array(data.get("parts", ()), np.float64),
        )
    except KeyError as error:
        raise InputError(f"{path} lacks the entry {error}; mark the organ again.") from error
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be used: {error}.") from error


def write_template(template: Template, folder: Path) -> None:
    """Write ``template.toml`` into ``folder``, whole or not at all."""
    import tomli_w

    text = tomli_w.dumps(_plain(template))
    with replacing(folder / FILE) as partial:
        partial.write_text(text, encoding="utf-8")


def reference(volume: Volume, library: Path, reading: Mapping[str, str | int]) -> VolumeReference:
    """Return how a template in ``library`` refers to ``volume``, which came from a file."""
    if volume.source is None:
        raise InputError(f"{volume.name} does not come from a file, so nothing can refer to it.")
    path, folder = volume.source.expanduser().resolve(), library.expanduser().resolve()
    place = path.relative_to(folder) if path.is_relative_to(folder) else path
    return VolumeReference(place, volume.geometry, volume.modality, dict(reading))


def _plain(template: Template) -> dict[str, Any]:
    volume = template.volume
    return {
        "organ": template.organ,
        "code": template.code,
        "scan": template.scan,
        "annotator": template.annotator,
        "date": template.date,
        "points": dict(zip(DIRECTIONS, template.points.tolist(), strict=True)),
        "parts": template.parts.tolist(),
        "volume": {
            "path": volume.path.as_posix(),
            "modality": volume.modality,
            **volume.geometry.to_json(),
            "reading": dict(volume.reading),
        },
    }


def _date(value: Any) -> dt.date:
    if isinstance(value, dt.datetime):
        return value.date()
    if not isinstance(value, dt.date):
        raise ValueError(f"the date {value!r} is not a date")
    return value
