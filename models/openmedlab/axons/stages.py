"""What workers do with one block of axons: segment, number, reduce for the pyramid."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.axons.methods import AxonSegmenter
from openmedlab.axons.statistics import ArrayLike, Look, T
from openmedlab.blocks import (
    BlockGrid,
    Crew,
    ImageSource,
    Multilevel,
    each_block,
    run_blocks,
    write_whole,
)
from openmedlab.blocks.components import BlockComponents, Rules, facts_file, local_components
from openmedlab.blocks.ledger import Facts
from openmedlab.blocks.levels import Level
from openmedlab.core.region import Region, _index3


def finish_levels(levels: list[Level], target: Multilevel, crew: Crew, **told: Any) -> None:
    """Fill the coarse levels that blocks did not fill."""
    for number, level in enumerate(levels):
        if not level.near:
            grid = BlockGrid(level.geometry.shape, level.unit)
            run_blocks(f"pyramid {number}", ReduceStage(target, number), grid, crew, **told)


@dataclass(frozen=True)
class EachByCrew:
    """`statistics.Each` by workers, who open the image themselves."""

    source: ImageSource
    crew: Crew

    def __call__(
        self,
        text: str,
        look: Look[T],
        array: ArrayLike,
        grid: BlockGrid,
        boxes: Sequence[int],
        **told: Any,
    ) -> Iterator[T]:
        """Yield what was seen in each box, as they come."""
        stage = LookStage(self.source, look)
        for _, facts in each_block(text, stage, grid, self.crew, blocks=boxes, **told):
            yield facts["seen"]


@dataclass(frozen=True)
class LookStage:
    """Stage: what is to be seen in one box of the image."""

    source: ImageSource
    look: Look[Any]

    def __call__(self, index: int, region: Region) -> Facts:
        """Look."""
        return {"seen": self.look(self.source.open().array, region)}


@dataclass(frozen=True)
class SegmentStage:
    """Stage: probabilities, a provisional mask and local components of one block."""

    source: ImageSource
    segmenter: AxonSegmenter
    rules: Rules
    target: Multilevel
    probability: Multilevel | None
    folder: Path

    def __call__(self, index: int, region: Region) -> Facts:
        """Return the number of local components and seconds by part."""
        clock = _Clock()
        halo = self.segmenter.halo
        block = self.source.read(region, halo)
        inner = tuple(slice(h, n - h) for h, n in zip(halo, block.shape, strict=True))
        empty = self.segmenter.is_empty(block[inner])
        clock.lap("read")
        if empty:
            return {"empty": True, **clock.laps}
        found = np.asarray(self.segmenter.segment_block(block, halo), np.float32)
        clock.lap("infer")
        labels, components = local_components(
            found, region, _index3(self.source.open().shape), self.rules
        )
        clock.lap("label")
        self._write(index, region, found, labels, components)
        clock.lap("write")
        return {"count": int(components.size.size), **clock.laps}

    def _write(
        self,
        index: int,
        region: Region,
        found: npt.NDArray[np.float32],
        labels: npt.NDArray[np.uint32],
        components: BlockComponents,
    ) -> None:
        if self.probability is not None:
            self.probability.write(region, np.rint(found * 255).astype(np.uint8))
        if components.size.size:
            write_whole(_parts(self.folder), region, labels)
            components.save(facts_file(self.folder / "facts", index))
            self.target.write(region, (labels > 0).astype(np.uint32))


@dataclass(frozen=True)
class LabelStage:
    """Stage: final numbers in place of one block's local ones."""

    target: Multilevel
    folder: Path

    def __call__(self, index: int, region: Region, numbers: npt.NDArray[np.uint32]) -> Facts:
        """Write the block."""
        table = np.concatenate([np.zeros(1, np.uint32), numbers])
        self.target.write(region, table[_parts(self.folder)[region.slices]])
        return {}


@dataclass(frozen=True)
class ReduceStage:
    """Stage: part of a coarse pyramid level."""

    target: Multilevel
    level: int

    def __call__(self, index: int, region: Region) -> Facts:
        """Write the part."""
        self.target.reduce(self.level, region)
        return {}


def _parts(folder: Path) -> Any:
    return Multilevel(folder / "components", ((1, 1, 1),), 1).array()


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to ``name``."""
        now = time.perf_counter()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._last, 4)
        self._last = now
