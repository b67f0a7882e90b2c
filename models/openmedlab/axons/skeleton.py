"""Skeletons of axon labels of any size: centre lines as labels, and as a graph in Parquet.

The volume is cut into cells of 256 voxels that are always the same; each is thinned with a
margin of 32 voxels. The result therefore depends neither on the workers nor on the blocks
of the segmentation. Against thinning the whole volume at once, only voxels near the borders
of cells can differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.axons.graph import REACH, Graph, block_graph, skeleton_of
from openmedlab.axons.segment import read_run
from openmedlab.axons.stages import finish_levels
from openmedlab.blocks import (
    BlockGrid,
    Crew,
    ImageSource,
    Ledger,
    Level,
    Multilevel,
    OnBlock,
    plan_levels,
    run_blocks,
)
from openmedlab.blocks.files import stamp
from openmedlab.blocks.ledger import Facts, read_plan
from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.region import Region
from openmedlab.core.volume import Volume
from openmedlab.io.atomic import replacing
from openmedlab.io.lazy import short_name
from openmedlab.io.note import Note

CELL = (256, 256, 256)
MARGIN = (32, 32, 32)
RECORD, JOURNAL = "graph.json", "journal.jsonl"


@dataclass(frozen=True, eq=False)
class Skeletonized:
    """What was made.

    Attributes
    ----------
    skeleton
        OME-Zarr labels: component numbers on the centre lines.
    graph
        Folder of ``nodes-*.parquet`` and ``edges-*.parquet`` (columns of `graph.Graph`).
    nodes
        Voxels of all centre lines.
    length_um
        Their length.
    """

    skeleton: Path
    graph: Path
    nodes: int
    length_um: float


def skeletonize_volume(
    labels: Path,
    crew: Crew,
    *,
    out: Path | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    on_block: OnBlock = lambda _: None,
) -> Skeletonized:
    """Thin axon labels of any size; go on where an earlier run stopped.

    Labels that were segmented or saved anew since are thinned anew.

    Parameters
    ----------
    labels
        OME-Zarr labels, as `segment_volume` makes them.
    crew
        The workers.
    out
        Folder for the graph; by default ``NAME_graph`` beside the labels (or their image).
        The centre lines become labels ``NAME_skeleton`` beside the labels.

    Raises
    ------
    InputError
        These are no labels, their segmentation has not finished, or ``out`` holds the graph
        of others.
    BlocksFailed, Cancelled
        What was finished is kept.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    source = ImageSource(labels.expanduser().absolute())
    volume = source.open()
    _check_labels(source.path, volume.dtype)
    skeleton, folder = _places(source.path, out)
    levels = plan_levels(volume, CELL)
    target = Multilevel(skeleton, tuple(v.factor for v in levels), sum(v.near for v in levels))
    made = read_run(source.path).get("result") or [list(times) for times in stamp(source.path)]
    plan = {"labels": source.to_json(), "run": made}
    if not _holds(folder, plan):
        _clear(folder)
        _make_output(target, levels, volume, _version(source.path))
    ledger = Ledger(folder / JOURNAL, plan)
    told: dict[str, Any] = {"progress": progress, "cancel": cancel}
    grid = BlockGrid(volume.shape, CELL)
    try:
        thin = ThinStage(source, target)
        run_blocks("thin", thin, grid, crew, ledger=ledger, on_block=on_block, **told)
        stage = GraphStage(source, target, folder, volume.geometry)
        facts = run_blocks("graph", stage, grid, crew, ledger=ledger, on_block=on_block, **told)
        finish_levels(levels, target, crew, **told)
    finally:
        ledger.close()
    if _inside(skeleton):
        from openmedlab.io.omezarr_write import _list_labels

        _list_labels(skeleton.parent.parent, skeleton.name, _version(source.path))
    length = sum(f.get("length_um", 0.0) for _, f in sorted(facts.items()))
    nodes = sum(f.get("nodes", 0) for f in facts.values())
    geometry = volume.geometry.to_json()
    record = {"labels": str(source.path), "skeleton": str(skeleton), "geometry": geometry}
    _write_record(folder, record)
    return Skeletonized(skeleton, folder, nodes, length)


def _holds(folder: Path, plan: dict[str, Any]) -> bool:
    """Tell whether the folder holds a graph of these very labels, finished or not."""
    known = read_plan(folder / JOURNAL)
    if known is not None and known["labels"] != plan["labels"]:
        raise InputError(
            f"{folder} holds the graph of {known['labels']['path']}; give another folder."
        )
    return known == plan


def _clear(folder: Path) -> None:
    """Make the folder; the graph that its journal tells of goes, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / JOURNAL).exists():
        for pattern in (RECORD, "nodes-*.parquet", "edges-*.parquet", JOURNAL):
            for file in folder.glob(pattern):
                file.unlink()


def _make_output(target: Multilevel, levels: list[Level], volume: Volume, version: str) -> None:
    inside = _inside(target.path)
    Multilevel.create(
        target.path,
        levels,
        volume.dtype,
        version=version,
        note=Note(volume.geometry, method="skeleton"),
        name=target.path.name,
        extra={"image-label": {"source": {"image": "../../"}}} if inside else {},
    )


def _check_labels(path: Path, dtype: np.dtype[Any]) -> None:
    import zarr

    from openmedlab.axons.segment import RUN

    state: Any = zarr.open_group(str(path), mode="r", use_consolidated=False).attrs.get(RUN, {})
    if state.get("state") == "running":
        raise InputError(f"{path} is not finished; repeat its segmentation to go on first.")
    if dtype.kind not in "ub":
        raise InputError(f"{path} holds {dtype} values; labels are unsigned whole numbers.")


def _places(labels: Path, out: Path | None) -> tuple[Path, Path]:
    name = short_name(labels)
    if not _inside(labels):
        skeleton = labels.with_name(f"{name}_skeleton.ome.zarr")
        return skeleton, out or labels.with_name(f"{name}_graph")
    image = labels.parent.parent
    beside = image.with_name(f"{short_name(image)}.{name}_graph")
    return labels.with_name(f"{name}_skeleton"), out or beside


def _inside(labels: Path) -> bool:
    return labels.parent.name == "labels"


def _version(path: Path) -> str:
    from openmedlab.io.omezarr import opened

    return opened(path).version


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    import json

    with replacing(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def read_record(folder: Path) -> tuple[Path, Geometry]:
    """Return labels and grid of a graph folder.

    Raises
    ------
    InputError
        The folder holds no finished graph.
    """
    import json

    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Path(record["labels"]), Geometry.from_json(record["geometry"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} holds no finished graph; make one with: openmedlab axons skeletonize."
        ) from error


@dataclass(frozen=True)
class ThinStage:
    """Stage: the centre lines of one cell."""

    source: ImageSource
    target: Multilevel

    def __call__(self, index: int, region: Region) -> Facts:
        """Write the cell, unless it holds no label."""
        around = region.padded(MARGIN).clipped(self.source.open().shape)
        labels = self.source.read(around)
        inner = region.relative_to(around).slices
        if not labels[inner].any():
            return {"empty": True}
        self.target.write(region, skeleton_of(labels, inner))
        return {}


@dataclass(frozen=True)
class GraphStage:
    """Stage: the graph of one cell, when all centre lines are there."""

    source: ImageSource
    target: Multilevel
    folder: Path
    geometry: Geometry

    def __call__(self, index: int, region: Region) -> Facts:
        """Write the cell's nodes and edges, unless it has none."""
        around = region.padded(REACH).clipped(self.geometry.shape)
        skeleton = np.asarray(self.target.array()[around.slices])
        if not skeleton[region.relative_to(around).slices].any():
            return {"empty": True}
        mask = self.source.read(around) > 0
        graph = block_graph(skeleton, mask, around, region, self.geometry)
        write_graph(self.folder, index, graph)
        length = float(graph.nodes["length_um"].sum())
        return {"nodes": len(graph.nodes["id"]), "length_um": length}


def write_graph(folder: Path, index: int, graph: Graph) -> None:
    """Write one cell's Parquet files, each whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    for name, columns in (("nodes", graph.nodes), ("edges", graph.edges)):
        with replacing(folder / f"{name}-{index:07d}.parquet") as temporary:
            parquet.write_table(pa.table(columns), temporary)
