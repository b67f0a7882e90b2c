"""Tables as CSV or Parquet, and fibres as SWC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.axons.measure import Columns, RegionRow, node_files, read_tables
from openmedlab.axons.skeleton import read_record
from openmedlab.core.errors import InputError
from openmedlab.io.atomic import replacing

AXON = 2


def region_columns(rows: Sequence[RegionRow]) -> Columns:
    """Return rows as columns."""
    records = [asdict(row) for row in rows]
    return {name: np.array([r[name] for r in records]) for name in records[0]} if records else {}


def write_table(columns: Columns, path: Path) -> Path:
    """Write columns as ``.csv`` or ``.parquet``.

    Raises
    ------
    InputError
        Another ending, or the place cannot be written to.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    writers = {".csv": csv.write_csv, ".parquet": parquet.write_table}
    write = writers.get(path.suffix.lower())
    if write is None:
        raise InputError(f"{path.name}: tables end in .csv or .parquet.")
    with replacing(path) as temporary:
        write(pa.table(columns), str(temporary))
    return path


def write_swc(graph: Path, folder: Path, components: Sequence[int]) -> list[Path]:
    """Write one SWC file for each component: x, y, z (LPS) and radius in micrometres.

    A tree has no loops, so each loop is cut once. A piece is rooted at one of its ends.

    Returns
    -------
    list of Path
        ``axon_000123.swc``, in the order of ``components``.
    """
    read_record(graph)
    wanted = np.unique(np.asarray(components, np.int64))
    nodes = _of(graph, "nodes", wanted)
    edges = _of(graph, "edges", wanted)
    written = []
    for number in (int(c) for c in components):
        mine, own = nodes["component"] == number, edges["component"] == number
        if not mine.any():
            continue
        lines = _tree(
            {name: values[mine] for name, values in nodes.items()},
            np.column_stack([edges["a"][own], edges["b"][own]]),
        )
        with replacing(folder / f"axon_{number:06d}.swc") as temporary:
            temporary.write_text("\n".join(["# id type x y z radius parent", *lines, ""]))
        written.append(folder / f"axon_{number:06d}.swc")
    return written


def _of(graph: Path, kind: str, wanted: npt.NDArray[np.int64]) -> Columns:
    """Return the rows of the wanted components from all blocks."""
    files = [f.with_name(f.name.replace("nodes-", f"{kind}-")) for f in node_files(graph)]
    parts = []
    for table in read_tables(files):
        here = np.isin(table["component"], wanted)
        parts.append({name: values[here] for name, values in table.items()})
    if not parts:
        raise InputError(f"{graph} holds no fibres.")
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _tree(nodes: Columns, edges: npt.NDArray[Any]) -> list[str]:
    """Return the SWC lines of one component, parents first."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    order = np.argsort(nodes["id"])
    identity = nodes["id"][order]
    degree = nodes["degree"][order].astype(np.int64)
    ends = np.searchsorted(identity, edges)
    count = len(identity)
    joined = coo_array((np.ones(len(ends), bool), tuple(ends.T)), shape=(count, count)).tocsr()
    _, piece = connected_components(joined, directed=False)
    lines: list[str] = []
    number = np.zeros(count, np.int64)
    for part in range(int(piece.max()) + 1):
        own = np.flatnonzero(piece == part)
        root = own[np.argmin(np.where(degree[own] == 1, 0, 1))]
        reached, before = breadth_first_order(joined, root, directed=False)
        for node in reached.tolist():
            number[node] = len(lines) + 1
            row = order[node]
            spot = " ".join(f"{nodes[f'{a}_um'][row]:.3f}" for a in "xyz")
            parent = -1 if before[node] < 0 else number[before[node]]
            radius = float(nodes["radius_um"][row])
            lines.append(f"{number[node]} {AXON} {spot} {radius:.3f} {parent}")
    return lines
