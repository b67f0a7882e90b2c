"""Axons of a volume of any size: an OME-Zarr labels group, one number for each component."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.axons.methods import AxonSegmenter, SegmenterChoice, default_method, method
from openmedlab.axons.stages import EachByCrew, LabelStage, SegmentStage, finish_levels
from openmedlab.axons.statistics import VolumeStatistics
from openmedlab.blocks import (
    BlockGrid,
    Crew,
    ImageSource,
    Ledger,
    Multilevel,
    OnBlock,
    plan_levels,
    run_blocks,
)
from openmedlab.blocks.components import (
    BlockComponents,
    Joined,
    PairStage,
    Rules,
    facts_file,
    join,
)
from openmedlab.blocks.ledger import Facts, read_plan
from openmedlab.blocks.levels import Level, check_block
from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.region import Index3, _index3
from openmedlab.core.volume import Volume
from openmedlab.io.lazy import short_name
from openmedlab.io.note import Note
from openmedlab.zoo.store import WeightsStore

RUN = "openmedlab-run"
BLOCK = (256, 256, 256)
DECIDING = {
    "image": "another image",
    "method": "another method",
    "weights": "other weights",
    "rules": "other rules",
    "probabilities": "another choice of probabilities",
}


@dataclass(frozen=True)
class AxonRun:
    """What to do: everything here decides the result, save for ``block``.

    Attributes
    ----------
    source
        The image.
    method
        Name in `methods.METHODS`; by default the bundled network, without PyTorch the ridge
        filter.
    weights
        A weights file of the method's own network.
    threshold, smallest
        Lowest probability and fewest voxels of an axon; by default the method's.
    block
        Voxels along (z, y, x) that one task does, multiples of 16; made larger where the
        method's alignment asks for it (`fitted_block`).
    name
        Of the labels.
    out
        OME-Zarr to write; by default labels inside an OME-Zarr image, else a folder beside it.
    probabilities
        Whether to keep the probabilities too (uint8, 255 is certain).
    """

    source: ImageSource
    method: str = field(default_factory=default_method)
    weights: Path | None = None
    threshold: float | None = None
    smallest: int | None = None
    block: Index3 = BLOCK
    name: str = "axons"
    out: Path | None = None
    probabilities: bool = False

    @property
    def target(self) -> Path:
        """The labels group."""
        image = self.source.path
        if self.out is not None:
            return self.out
        if _is_zarr_group(image):
            return image / "labels" / self.name
        return image.with_name(f"{short_name(image)}.{self.name}.ome.zarr")

    @property
    def folder(self) -> Path:
        """What is known of an unfinished run; removed at its end."""
        return self.target.with_name(f".{self.target.name}.run")

    @property
    def inside(self) -> bool:
        """Whether the labels lie inside the image."""
        return self.target.parent == self.source.path / "labels"

    @property
    def probability_target(self) -> Path:
        """Where probabilities go."""
        beside = self.source.path if self.inside else self.target
        return beside.with_name(f"{short_name(beside)}.{self.name}_probability.ome.zarr")

    def resolved(self) -> AxonRun:
        """Return the same run with what workers elsewhere need: full paths, the voxel size."""
        out = None if self.out is None else self.out.expanduser().absolute()
        return replace(self, source=self.source.resolved(), out=out)

    def choice(self) -> SegmenterChoice:
        """Return the method."""
        return method(self.method)

    def rules(self) -> Rules:
        """Return which components stay."""
        choice = self.choice()
        if self.threshold is None:
            low, high = choice.threshold, choice.seed
        elif not 0 < self.threshold <= 1:
            raise InputError(f"A threshold lies between 0 and 1, not at {self.threshold}.")
        else:
            low = self.threshold
            high = low if choice.seed == choice.threshold else max(low, choice.seed)
        return Rules(low, high, choice.smallest if self.smallest is None else self.smallest)


@dataclass(frozen=True, eq=False)
class Segmented:
    """A finished run.

    Attributes
    ----------
    labels
        The labels group.
    components, voxels
        How many axon pieces, and their voxels.
    blocks, empty
        Blocks of the run, and those left out as empty.
    seconds
        Work of all workers by part: ``read``, ``infer``, ``label``, ``write``.
    kept
        Whether an earlier run had already made it.
    """

    labels: Path
    components: int
    voxels: int
    blocks: int
    empty: int
    seconds: dict[str, float]
    kept: bool = False


def segment_volume(
    run: AxonRun,
    crew: Crew,
    *,
    restart: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    on_block: OnBlock = lambda _: None,
) -> Segmented:
    """Segment a volume of any size; go on where an earlier run stopped.

    Labels of 1 appear block by block on all fine pyramid levels while the run goes on; at
    the end they become one number for each component.

    Parameters
    ----------
    run
        What to do.
    crew
        The workers.
    restart
        Begin anew, and replace a finished result.
    on_block
        Called with every `BlockEvent` of the stages ``segment`` and ``label``.

    Raises
    ------
    InputError
        The image, the method or the place cannot be used; another run's result stands there.
    BlocksFailed
        Some blocks could not be done; the next run does those alone.
    Cancelled
        What was finished is kept.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    check_block(run.block)
    volume = run.source.open()
    run = run.resolved()
    if restart:
        shutil.rmtree(run.folder, ignore_errors=True)
    elif (kept := finished(run)) is not None:
        return kept
    with progress.stage("prepare"):
        statistics = _statistics(run, volume, crew, progress, cancel)
        segmenter = run.choice().make(statistics, run.weights)
        block = fitted_block(run.block, segmenter.alignment)
        work = _Work.prepare(replace(run, block=block), volume, block, statistics)
    ledger = Ledger(run.folder / "journal.jsonl", work.plan)
    try:
        made = work.carry_out(segmenter, crew, ledger, progress, cancel, on_block)
    finally:
        ledger.close()
    shutil.rmtree(run.folder)
    return made


def fitted_block(block: Index3, alignment: Index3) -> Index3:
    """Return the block, made larger where the method's alignment asks for it."""
    steps = [math.lcm(16, a) for a in alignment]
    return _index3(-(-size // step) * step for size, step in zip(block, steps, strict=True))


def _statistics(
    run: AxonRun, volume: Volume, crew: Crew, progress: Progress, cancel: CancelToken
) -> VolumeStatistics:
    """Return the volume's statistics, those of an unfinished run where there is one."""
    plan = read_plan(run.folder / "journal.jsonl")
    if plan is not None:
        return VolumeStatistics.from_json(plan["statistics"])
    each = EachByCrew(run.source, crew)
    return run.choice().measure(volume.array, progress, cancel, each=each)


@dataclass(frozen=True, eq=False)
class _Work:
    """A prepared run: its grid, levels and places on disk."""

    run: AxonRun
    grid: BlockGrid
    levels: list[Level]
    target: Multilevel
    probability: Multilevel | None
    plan: dict[str, Any]

    @classmethod
    def prepare(
        cls, run: AxonRun, volume: Volume, block: Index3, statistics: VolumeStatistics
    ) -> _Work:
        """Make empty outputs for a new run; open those of an unfinished one."""
        grid = BlockGrid(volume.shape, block)
        levels = plan_levels(volume, block)
        plan = _plan(run, statistics)
        factors = tuple(v.factor for v in levels)
        near = sum(v.near for v in levels)
        target = Multilevel(run.target, factors, near)
        probability = (
            Multilevel(run.probability_target, factors, near) if run.probabilities else None
        )
        work = cls(run, grid, levels, target, probability, plan)
        if read_plan(run.folder / "journal.jsonl") is None:
            try:
                work._make_outputs(volume)
            except OSError as error:
                raise InputError(
                    f"{run.target} cannot be written: {error.strerror or error}."
                ) from error
        return work

    def _make_outputs(self, volume: Volume) -> None:
        run = self.run
        shutil.rmtree(run.folder, ignore_errors=True)
        (run.folder / "facts").mkdir(parents=True)
        version = _version(run)
        note = Note(volume.geometry, method=run.method)
        meaning: dict[str, Any] = {"source": {"image": "../../"}} if run.inside else {}
        Multilevel.create(
            self.target.path,
            self.levels,
            np.uint32,
            version=version,
            note=note,
            name=run.name,
            extra={"image-label": meaning},
        )
        self.target.remember(RUN, {"state": "running", **self.plan})
        if self.probability is not None:
            Multilevel.create(
                self.probability.path,
                self.levels,
                np.uint8,
                version=version,
                note=Note(volume.geometry, "LS"),
                name=f"{run.name} probability",
            )
        Multilevel.create(
            run.folder / "components",
            self.levels[:1],
            np.uint32,
            version="0.5",
            note=note,
            name="components",
        )

    def carry_out(
        self,
        segmenter: AxonSegmenter,
        crew: Crew,
        ledger: Ledger,
        progress: Progress,
        cancel: CancelToken,
        on_block: OnBlock,
    ) -> Segmented:
        told: dict[str, Any] = {"progress": progress, "cancel": cancel}
        stage = SegmentStage(
            self.run.source,
            segmenter,
            self.run.rules(),
            self.target,
            self.probability,
            self.run.folder,
        )
        done = run_blocks(
            "segment", stage, self.grid, crew, ledger=ledger, on_block=on_block, **told
        )
        joined = self._join(done, crew, told)
        run_blocks(
            "label",
            LabelStage(self.target, self.run.folder),
            self.grid,
            crew,
            ledger=ledger,
            blocks=sorted(joined.numbers),
            arguments=lambda index: (joined.numbers[index],),
            on_block=on_block,
            **told,
        )
        finish_levels(self.levels, self.target, crew, **told)
        if self.probability is not None:
            finish_levels(self.levels, self.probability, crew, **told)
        return self._finish(done, joined)

    def _join(self, done: dict[int, Facts], crew: Crew, told: dict[str, Any]) -> Joined:
        facts = self.run.folder / "facts"
        filled = sorted(index for index, known in done.items() if known.get("count"))
        stage = PairStage(facts, self.grid, frozenset(filled))
        pairs = run_blocks("join", stage, self.grid, crew, blocks=filled, **told)
        blocks = {b: BlockComponents.load(facts_file(facts, b), faces=False) for b in filled}
        return join(blocks, {b: found["pairs"] for b, found in pairs.items()}, self.run.rules())

    def _finish(self, done: dict[int, Facts], joined: Joined) -> Segmented:
        run = self.run
        parts = ("read", "infer", "label", "write")
        result: dict[str, Any] = {
            "components": int(joined.size.size),
            "voxels": int(joined.size.sum()),
            "blocks": len(self.grid),
            "empty": sum(bool(f.get("empty")) for f in done.values()),
            "seconds": {p: round(sum(f.get(p, 0.0) for f in done.values()), 3) for p in parts},
        }
        self.target.remember(RUN, {"state": "finished", **self.plan, "result": result})
        if run.inside:
            from openmedlab.io.omezarr_write import _list_labels

            _list_labels(run.source.path, run.name, _version(run))
        return Segmented(run.target, **result)


def _plan(run: AxonRun, statistics: VolumeStatistics) -> dict[str, Any]:
    """What decides the result, as plain values."""
    file = run.choice().file(run.weights)
    plan: dict[str, Any] = {
        "image": run.source.to_json(),
        "method": run.method,
        "weights": None if file is None else WeightsStore().sha256(file),
        "rules": asdict(run.rules()),
        "block": run.block,
        "probabilities": run.probabilities,
        "statistics": statistics.to_json(),
    }
    return dict(json.loads(json.dumps(plan)))


def finished(run: AxonRun) -> Segmented | None:
    """Return the finished result of this run where it stands already.

    Raises
    ------
    InputError
        What stands there was made by another run, or is no result of one.
    """
    run = run.resolved()
    if run.folder.exists() or not run.target.exists():
        return None
    record = read_run(run.target)
    if not record:
        raise InputError(
            f"{run.target} is there already and is no result of such a run; give another name, or "
            "begin anew (--restart) to replace it."
        )
    wanted = _plan(run, VolumeStatistics.from_json(record["statistics"]))
    other = next((t for part, t in DECIDING.items() if record.get(part) != wanted[part]), "")
    if other:
        raise InputError(
            f"{run.target} is there already, made with {other}; give another name, or begin anew "
            "(--restart) to replace it."
        )
    return Segmented(run.target, **record["result"], kept=True)


def read_run(labels: Path) -> dict[str, Any]:
    """Return the record of the run that made a finished labels group; empty where none did."""
    import zarr

    try:
        group = zarr.open_group(str(labels), mode="r", use_consolidated=False)
    except (FileNotFoundError, ValueError):
        return {}
    record: Any = group.attrs.get(RUN, {})
    return dict(record) if record.get("state") == "finished" else {}


def _is_zarr_group(path: Path) -> bool:
    return any((path / n).exists() for n in ("zarr.json", ".zgroup", ".zattrs"))


def _version(run: AxonRun) -> str:
    if not run.inside:
        return "0.5"
    from openmedlab.io.omezarr import opened

    return opened(run.source.path).version
