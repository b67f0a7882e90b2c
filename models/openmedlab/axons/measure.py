"""Axon lengths by region, a density map, and pieces by length, from a skeleton's graph.

Lengths are added up as whole picometres, so that sums do not depend on any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.axons.regions import MICROMETRES, Regions
from openmedlab.axons.skeleton import read_record
from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.region import _index3
from openmedlab.core.volume import Volume

PICO = 1e6
Columns = dict[str, npt.NDArray[Any]]
TENSOR = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


@dataclass(frozen=True)
class RegionRow:
    """Axons of one region; ``total`` columns hold its parts in the hierarchy too.

    Attributes
    ----------
    orientation_x, orientation_y, orientation_z
        Main direction of the fibres, LPS (its sign means nothing).
    coherence
        0 where fibres run all ways, 1 where all are parallel (fractional anisotropy).
    """

    region: int
    name: str
    acronym: str
    volume_mm3: float
    length_mm: float
    density_mm_per_mm3: float
    branch_points: int
    end_points: int
    mean_radius_um: float
    orientation_x: float
    orientation_y: float
    orientation_z: float
    coherence: float
    total_volume_mm3: float
    total_length_mm: float


@dataclass(frozen=True, eq=False)
class Measured:
    """What `measure_graph` found.

    Attributes
    ----------
    regions
        Rows in the order of their numbers; 0 holds what lies outside of all regions.
    components
        ``component``, ``length_um``, ``nodes``, ``branch_points``.
    density
        mm of axon in a mm³, on cells of the size asked for; None where not asked for.
    length_mm
        Of everything.
    """

    regions: tuple[RegionRow, ...]
    components: Columns
    density: Volume | None
    length_mm: float


def measure_graph(
    graph: Path,
    regions: Regions | None = None,
    *,
    cell_um: float | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Measured:
    """Measure the graph that `skeletonize_volume` made.

    Parameters
    ----------
    graph
        Its folder.
    regions
        By default the whole volume is one.
    cell_um
        Side of the density map's cells.

    Raises
    ------
    InputError
        No finished graph there.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    _, geometry = read_record(graph)
    regions = regions or Regions.whole(geometry)
    sums = _Sums({})
    pieces = _Pieces([])
    grid = None if cell_um is None else _Density.over(geometry, cell_um)
    files = node_files(graph)
    for done, nodes in enumerate(read_tables(files), 1):
        cancel.check()
        points = np.column_stack([nodes["x_um"], nodes["y_um"], nodes["z_um"]])
        length = np.rint(nodes["length_um"] * PICO).astype(np.int64)
        sums.add(regions.at(points), nodes, length)
        pieces.add(nodes, length)
        if grid is not None:
            grid.add(nodes["id"], length)
        progress.report(done, len(files), "Measuring")
    components = pieces.table()
    return Measured(
        tuple(sums.rows(regions, geometry)),
        components,
        None if grid is None else grid.volume(),
        float(sum(found["length"] for found in sums.by_region.values())) / PICO / 1000,
    )


def node_files(graph: Path) -> list[Path]:
    """Return the files of nodes, in the order of their blocks."""
    return sorted(graph.glob("nodes-*.parquet"))


def read_tables(files: Sequence[Path]) -> Iterator[Columns]:
    """Yield each Parquet file's columns."""
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise InputError("Measuring axons needs PyArrow: pip install pyarrow.") from error
    for file in files:
        table = parquet.read_table(file)
        yield {name: table[name].to_numpy() for name in table.column_names}


@dataclass(frozen=True, eq=False)
class _Sums:
    """Whole-numbered sums by region."""

    by_region: dict[int, dict[str, Any]]

    def add(self, region: npt.NDArray[np.int64], nodes: Columns, length: Any) -> None:
        towards = np.column_stack([nodes[f"u{a}"] for a in "xyz"]).astype(np.float64)
        for number in np.unique(region).tolist():
            here = region == number
            u, own = towards[here], length[here]
            tensor = [np.rint(own * u[:, a] * u[:, b]).astype(np.int64).sum() for a, b in TENSOR]
            radius = np.rint(nodes["radius_um"][here].astype(float) * 1000).astype(np.int64)
            found = {
                "length": own.sum(),
                "branches": nodes["branch"][here].sum(),
                "ends": nodes["end"][here].sum(),
                "nodes": here.sum(),
                "radius": radius.sum(),
                "tensor": np.array(tensor),
            }
            before = self.by_region.get(number)
            self.by_region[number] = (
                found if before is None else {k: before[k] + v for k, v in found.items()}
            )

    def rows(self, regions: Regions, image: Geometry) -> Iterator[RegionRow]:
        volumes = regions.volumes_mm3(image)
        used = {*volumes, *self.by_region}
        above = {p for n in used for p in regions.named(n).parents}
        for number in sorted(used | above):
            parts = [n for n in used if n == number or number in regions.named(n).parents]
            yield self._row(number, regions, volumes, parts)

    def _row(
        self, number: int, regions: Regions, volumes: dict[int, float], parts: list[int]
    ) -> RegionRow:
        found = self.by_region.get(number)
        known, volume = regions.named(number), volumes.get(number, 0.0)
        length = self._length_mm(number)
        direction, coherence = _main_direction(None if found is None else found["tensor"])
        return RegionRow(
            number,
            known.name,
            known.acronym,
            volume,
            length,
            length / volume if volume else 0.0,
            int(found["branches"]) if found else 0,
            int(found["ends"]) if found else 0,
            float(found["radius"]) / 1000 / int(found["nodes"]) if found else 0.0,
            *direction,
            coherence,
            sum(volumes.get(n, 0.0) for n in sorted(parts)),
            sum(self._length_mm(n) for n in sorted(parts)),
        )

    def _length_mm(self, number: int) -> float:
        found = self.by_region.get(number)
        return float(found["length"]) / PICO / 1000 if found else 0.0


def _main_direction(tensor: Any) -> tuple[tuple[float, float, float], float]:
    """Return the first axis of a sum of u u^T, and its fractional anisotropy."""
    if tensor is None or not tensor.any():
        return (0.0, 0.0, 0.0), 0.0
    matrix = np.zeros((3, 3))
    for value, (a, b) in zip(tensor.tolist(), TENSOR, strict=True):
        matrix[a, b] = matrix[b, a] = value
    values, vectors = np.linalg.eigh(matrix / np.trace(matrix))
    spread = float(((values - values.mean()) ** 2).sum())
    x, y, z = (float(v) for v in vectors[:, -1])
    return (x, y, z), float(np.sqrt(1.5 * spread / (values**2).sum()))


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Sums by component, merged as they come."""

    found: list[npt.NDArray[np.int64]]

    def add(self, nodes: Columns, length: Any) -> None:
        rows = [nodes["component"].astype(np.int64), length, np.ones_like(length), nodes["branch"]]
        self.found.append(_grouped(np.column_stack(rows).astype(np.int64)))
        if len(self.found) > 64:
            self.found[:] = [_grouped(np.concatenate(self.found))]

    def table(self) -> Columns:
        rows = _grouped(np.concatenate([np.zeros((0, 4), np.int64), *self.found]))
        return {
            "component": rows[:, 0],
            "length_um": rows[:, 1] / PICO,
            "nodes": rows[:, 2],
            "branch_points": rows[:, 3],
        }


def _grouped(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the sums of all rows with the same first column."""
    keys, place = np.unique(rows[:, 0], return_inverse=True)
    sums = np.zeros((len(keys), rows.shape[1]), np.int64)
    np.add.at(sums, place, rows)
    sums[:, 0] = keys
    return sums


@dataclass(frozen=True, eq=False)
class _Density:
    """Length in cells of whole voxels."""

    image: Geometry
    factor: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]

    @classmethod
    def over(cls, image: Geometry, cell_um: float) -> _Density:
        spacing = np.asarray(image.spacing) * MICROMETRES[image.unit]
        factor = np.maximum(np.rint(cell_um / spacing), 1).astype(np.int64)
        return cls(image, factor, np.zeros(-(-np.asarray(image.shape) // factor), np.int64))

    def add(self, identity: Any, length: Any) -> None:
        place = np.stack(np.unravel_index(identity, self.image.shape), 1) // self.factor
        np.add.at(self.length, tuple(place.T), length)

    def volume(self) -> Volume:
        affine = self.image.affine.copy()
        affine[:3, :3] *= self.factor
        affine[:3, 3] = self.image.index_to_world((self.factor - 1) / 2)
        geometry = Geometry(_index3(self.length.shape), affine, self.image.unit)
        sides = [
            np.minimum(f, n - f * np.arange(count))
            for f, n, count in zip(self.factor, self.image.shape, self.length.shape, strict=True)
        ]
        voxels = sides[0][:, None, None] * sides[1][:, None] * sides[2]
        one = self.image.voxel_volume * (MICROMETRES[self.image.unit] / 1000) ** 3
        density = self.length / PICO / 1000 / (voxels * one)
        return Volume(density.astype(np.float32), geometry, "unknown", "axon density")
