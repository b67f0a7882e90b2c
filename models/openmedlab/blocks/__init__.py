"""Work on volumes larger than memory: block by block, by several workers, resumable.

A stage is a picklable function of one block. `run_blocks` feeds it a bounded window of
blocks over `dask.distributed`; a `Ledger` remembers the finished ones; every block writes
whole chunks and whole shards of its own, so that no two tasks ever touch the same file.
"""

from openmedlab.blocks.crew import Crew, crew
from openmedlab.blocks.engine import BlockEvent, BlockState, OnBlock, each_block, run_blocks
from openmedlab.blocks.grid import BlockGrid
from openmedlab.blocks.ledger import Ledger
from openmedlab.blocks.levels import Level, plan_levels
from openmedlab.blocks.source import ImageSource, read_padded
from openmedlab.blocks.target import Multilevel, write_whole

__all__ = [
    "BlockEvent",
    "BlockGrid",
    "BlockState",
    "Crew",
    "ImageSource",
    "Ledger",
    "Level",
    "Multilevel",
    "OnBlock",
    "crew",
    "each_block",
    "plan_levels",
    "read_padded",
    "run_blocks",
    "write_whole",
]
