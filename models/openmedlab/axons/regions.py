"""Regions of the brain: any labelled volume, or an atlas, looked up by world coordinates."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry

MICROMETRES = {"micrometer": 1.0, "millimeter": 1000.0}
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RegionName:
    """What a number of the annotation means; ``parents`` from the root down, without itself."""

    name: str
    acronym: str = ""
    parents: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Regions:
    """An annotation, at its own (coarse) resolution.

    Attributes
    ----------
    array
        (z, y, x) region numbers; 0 is outside.
    geometry
        Its grid, in the same world as the image.
    names
        By number; numbers without a name are called by it.
    """

    array: npt.NDArray[Any]
    geometry: Geometry
    names: Mapping[int, RegionName] = field(default_factory=dict)

    @classmethod
    def whole(cls, image: Geometry) -> Regions:
        """Return a single region, 1, that is the whole image."""
        grid = image.resized((1, 1, 1))
        return cls(np.ones((1, 1, 1), np.uint8), grid, {1: RegionName("whole volume")})

    @classmethod
    def read(cls, path: Path, names: Path | None = None) -> Regions:
        """Read a labelled volume, and names from a CSV (id, name, acronym, parent).

        Raises
        ------
        InputError
            Not labels, or a table without id and name.
        """
        from openmedlab.io import read_labels

        labels = read_labels(path)
        known = {n: RegionName(label.name) for n, label in labels.labels.items()}
        return cls(labels.array, labels.geometry, known if names is None else _names(names))

    @classmethod
    def of_atlas(cls, name: str) -> Regions:
        """Return a BrainGlobe atlas, for an image that was registered to it.

        One that is on this computer is taken as it is; another one is downloaded, and what
        BrainGlobe says of that goes to stderr.

        Raises
        ------
        InputError
            ``brainglobe-atlasapi`` is not installed, knows no such atlas, or cannot fetch it.
        """
        try:
            from brainglobe_atlasapi import BrainGlobeAtlas
        except ModuleNotFoundError as error:
            raise InputError(
                "An atlas needs BrainGlobe: pip install brainglobe-atlasapi."
            ) from error
        try:
            with redirect_stdout(sys.stderr):
                atlas = BrainGlobeAtlas(name, check_latest=False)
                array = np.asarray(atlas.annotation)
        except (ValueError, OSError) as error:
            told = f"{error}".strip().rstrip(".")
            raise InputError(f"The BrainGlobe atlas {name!r} cannot be had ({told}).") from error
        z, y, x = (float(s) for s in atlas.resolution)
        geometry = Geometry.from_spacing(array.shape, (z, y, x), unit="micrometer")
        names = {
            int(s["id"]): RegionName(
                s["name"], s["acronym"], tuple(int(p) for p in s["structure_id_path"][:-1])
            )
            for s in atlas.structures.values()
        }
        return cls(array, geometry, names)

    def at(self, points_um: Floats) -> Ints:
        """Return the region number at LPS world points (N, 3) in micrometres; 0 outside."""
        factor = MICROMETRES[self.geometry.unit]
        index = np.rint(self.geometry.world_to_index(points_um / factor)).astype(np.int64)
        inside = ((index >= 0) & (index < self.geometry.shape)).all(axis=1)
        found = np.zeros(len(points_um), np.int64)
        found[inside] = self.array[tuple(index[inside].T)]
        return found

    def volumes_mm3(self, image: Geometry) -> dict[int, float]:
        """Return the volume of every region inside the image's field of view."""
        ours, theirs = MICROMETRES[self.geometry.unit], MICROMETRES[image.unit]
        counts: dict[int, int] = {}
        plane = np.moveaxis(np.indices(self.array.shape[1:]), 0, -1).reshape(-1, 2)
        for z in range(self.array.shape[0]):
            index = np.column_stack([np.full(len(plane), z), plane])
            world = self.geometry.index_to_world(index) * ours / theirs
            inside = image.contains(image.world_to_index(world))
            values, number = np.unique(self.array[z].ravel()[inside], return_counts=True)
            for value, count in zip(values.tolist(), number.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + count
        one = self.geometry.voxel_volume * (ours / 1000) ** 3
        return {value: count * one for value, count in sorted(counts.items()) if value}

    def named(self, number: int) -> RegionName:
        """Return what a number means."""
        known = self.names.get(number)
        return known or RegionName("outside" if number == 0 else f"region {number}")


def _names(path: Path) -> dict[int, RegionName]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        names = {
            int(r["id"]): RegionName(r["name"], r.get("acronym") or "", _parent(r)) for r in rows
        }
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path.name} is no table of regions; it needs the columns id and name, and may have "
            "acronym and parent."
        ) from error
    return {n: replace(v, parents=_path(n, names)) for n, v in names.items()}


def _parent(row: Mapping[str, str]) -> tuple[int, ...]:
    return (int(row["parent"]),) if row.get("parent") else ()


def _path(number: int, names: Mapping[int, RegionName]) -> tuple[int, ...]:
    found: list[int] = []
    above = names[number].parents
    while above and above[0] not in found and above[0] != number:
        found.insert(0, above[0])
        above = names[above[0]].parents if above[0] in names else ()
    return tuple(found)
