"""Skeletons and lengths of finished axon labels, and the skeleton as a points layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Points

from napari_openmedlab.layers.geometry import grid_of
from openmedlab.axons.measure import Measured, measure_graph, node_files, read_tables
from openmedlab.axons.regions import MICROMETRES
from openmedlab.axons.skeleton import Skeletonized, read_record, skeletonize_volume
from openmedlab.blocks import crew
from openmedlab.core import CancelToken, Progress

MOST_POINTS = 200_000


@dataclass(frozen=True, eq=False)
class Traced:
    """A skeleton, its measures, and as many of its points as a viewer can show.

    Attributes
    ----------
    points
        (N, 3) voxel indices (z, y, x) of the labels, of the longest pieces.
    pieces
        The piece of every point.
    """

    skeleton: Skeletonized
    measured: Measured
    points: npt.NDArray[np.float64]
    pieces: npt.NDArray[np.int64]

    @property
    def longest(self) -> list[tuple[int, float, int]]:
        """Piece, length in micrometres and branch points, the longest first."""
        table = self.measured.components
        order = np.argsort(-table["length_um"], kind="stable")
        return [
            (
                int(table["component"][k]),
                float(table["length_um"][k]),
                int(table["branch_points"][k]),
            )
            for k in order
        ]

    def words(self) -> str:
        """Say how much axon there is."""
        whole = self.measured.regions
        branches = sum(row.branch_points for row in whole)
        volume = sum(row.volume_mm3 for row in whole)
        density = self.measured.length_mm / volume if volume else 0.0
        pieces = len(self.measured.components["component"])
        return (
            f"{self.measured.length_mm:.2f} mm of axon in {pieces:,} pieces, "
            f"{density:.1f} mm/mm³, {branches:,} branch points"
        )


def trace(labels: Path, workers: int, progress: Progress, cancel: CancelToken) -> Traced:
    """Thin and measure finished labels.

    Raises
    ------
    InputError
        The labels have not finished, or a part is missing.
    Cancelled
        What was finished is kept.
    """
    progress.report(0, 0, "Starting the workers")
    with crew(workers) as hands:
        made = skeletonize_volume(labels, hands, progress=progress, cancel=cancel)
    measured = measure_graph(made.graph, progress=progress, cancel=cancel)
    points, pieces = _points(made.graph, _shown(measured))
    return Traced(made, measured, points, pieces)


def _shown(measured: Measured) -> npt.NDArray[Any]:
    """Return the longest pieces whose nodes fit into a layer."""
    table = measured.components
    order = np.argsort(-table["length_um"], kind="stable")
    fit = np.cumsum(table["nodes"][order]) <= MOST_POINTS
    return np.asarray(table["component"][order][fit])


def _points(
    graph: Path, wanted: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    _, geometry = read_record(graph)
    places, pieces = [np.empty((0, 3))], [np.empty(0, np.int64)]
    for nodes in read_tables(node_files(graph)):
        here = np.isin(nodes["component"], wanted)
        places.append(np.column_stack([nodes[f"{a}_um"] for a in "xyz"])[here])
        pieces.append(nodes["component"][here].astype(np.int64))
    world = np.concatenate(places) / MICROMETRES[geometry.unit]
    return geometry.world_to_index(world), np.concatenate(pieces)


def skeleton_layer(traced: Traced, image: Image) -> Points:
    """Return the skeleton's points on the grid of its image, a colour for each piece."""
    return Points(
        traced.points,
        name=f"{image.name} skeletons",
        size=2,
        border_width=0,
        features={"piece": traced.pieces},
        face_color="piece",
        face_colormap="hsv",
        **grid_of(image),
    )
