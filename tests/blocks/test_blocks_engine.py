"""The block engine: order, resumption, cancel, failures."""

from __future__ import annotations

import errno
import importlib
import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from openmedlab.blocks import BlockGrid, Ledger, crew, each_block, run_blocks
from openmedlab.blocks.engine import BlocksFailed
from openmedlab.core import Cancelled, CancelToken, InputError
from openmedlab.core.progress import Progress

GRID = BlockGrid((40, 20, 20), (16, 16, 16))


@pytest.fixture(scope="module")
def here():
    """Workers in this process."""
    with crew(0) as workers:
        yield workers


@dataclass(frozen=True)
class Touch:
    """Leaves a file for every block; fails where told."""

    folder: Path
    bad: tuple[int, ...] = ()
    full: tuple[int, ...] = ()

    def __call__(self, index, region, *more):
        if index in self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "labels")
        if index in self.bad:
            raise InputError("chunk 3 is damaged")
        with (self.folder / str(index)).open("a") as file:
            file.write("x")
        return {"empty": True} if index % 2 else {"voxels": region.size, "more": list(more)}


def test_grid_covers_every_voxel_once():
    assert GRID.counts == (3, 2, 2)
    assert sum(GRID.region(k).size for k in range(len(GRID))) == 40 * 20 * 20
    pairs = {(k, other) for k in range(len(GRID)) for other, _ in GRID.neighbours(k)}
    assert len(pairs) == 3 * 6 + 2 * 16  # within a layer of 2 x 2, and between layers
    assert all(a < b for a, b in pairs)


def test_every_block_is_done_once_and_told(here, tmp_path):
    events = []
    results = run_blocks(
        "s", Touch(tmp_path), GRID, here, arguments=lambda k: (k,), on_block=events.append
    )
    assert sorted(results) == list(range(12))
    assert results[0] == {"voxels": 16**3, "more": [0]}
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {str(k): "x" for k in range(12)}
    ends = {e.index: e.state for e in events if e.state != "queued"}
    assert ends == {k: "empty" if k % 2 else "done" for k in range(12)}
    assert events[0].state == "queued"
    assert events[0].region == GRID.region(events[0].index)


def test_never_more_than_the_window_is_handed_out(here, tmp_path):
    out, most = 0, 0

    def watch(event):
        nonlocal out, most
        out += 1 if event.state == "queued" else -1
        most = max(most, out)

    run_blocks("s", Touch(tmp_path), GRID, here, on_block=watch)
    assert most == 2


def test_failed_blocks_are_told_in_a_sentence_and_done_by_the_next_run(here, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    ledger = Ledger(tmp_path / "j", {"a": 1})
    with pytest.raises(BlocksFailed, match=r"2 blocks .* block 2: chunk 3 is damaged\. 10 of 12"):
        run_blocks("s", Touch(files, bad=(2, 7)), GRID, here, ledger=ledger)
    ledger.close()
    again = Ledger(tmp_path / "j", {"a": 1})
    events, told = [], []
    progress = Progress(lambda done, total, _: told.append((done, total)))
    run_blocks(
        "s", Touch(files), GRID, here, ledger=again, on_block=events.append, progress=progress
    )
    again.close()
    assert told == [(10, 12), (11, 12), (12, 12)]
    assert {e.index for e in events if e.state == "kept"} == set(range(12)) - {2, 7}
    assert all(p.read_text() == "x" for p in files.iterdir())


def test_a_full_disk_stops_the_run(here, tmp_path):
    with pytest.raises(BlocksFailed, match=r"labels cannot be written, No space left"):
        run_blocks("s", Touch(tmp_path, full=(0,)), GRID, here)
    assert len(list(tmp_path.iterdir())) < 11


def test_blocks_can_be_taken_as_they_come(here, tmp_path):
    taken = each_block("s", Touch(tmp_path), GRID, here)
    first, facts = next(taken)
    assert facts == {"voxels": GRID.region(first).size, "more": []} or facts["empty"]
    assert len(list(tmp_path.iterdir())) < 12
    assert sorted([first, *(index for index, _ in taken)]) == list(range(12))


def test_other_errors_are_not_hidden(here, tmp_path):
    with pytest.raises(TypeError):
        run_blocks("s", Touch(tmp_path), GRID, here, arguments=lambda k: 5)


def test_cancel_keeps_what_is_finished(here, tmp_path):
    ledger = Ledger(tmp_path / "j", {})
    cancel = CancelToken()
    files = tmp_path / "files"
    files.mkdir()

    def after_three(event):
        if event.state in ("done", "empty") and len(ledger.done("s")) >= 3:
            cancel.cancel()

    with pytest.raises(Cancelled):
        run_blocks(
            "s", Touch(files), GRID, here, ledger=ledger, cancel=cancel, on_block=after_three
        )
    ledger.close()
    kept = Ledger(tmp_path / "j", {})
    assert 3 <= len(kept.done("s")) <= 6
    assert {int(p.name) for p in files.iterdir()} >= set(kept.done("s"))
    run_blocks("s", Touch(files), GRID, here, ledger=kept)
    assert set(kept.done("s")) == {int(p.name) for p in files.iterdir()} == set(range(12))
    kept.close()


def test_ledger_drops_a_torn_line_and_refuses_another_plan(tmp_path):
    ledger = Ledger(tmp_path / "run" / "j", {"threshold": 0.5})
    ledger.finish("s", 4, {"count": 2})
    ledger.close()
    with (tmp_path / "run" / "j").open("ab") as file:
        file.write(b'{"op": "block", "stage": "s", "ind')
    with pytest.raises(InputError, match="another threshold"):
        Ledger(tmp_path / "run" / "j", {"threshold": 0.6})
    again = Ledger(tmp_path / "run" / "j", {"threshold": 0.5})
    assert again.done("s") == {4: {"count": 2}}
    again.close()


@dataclass(frozen=True)
class DieOnce:
    """Kills its worker at one block, the first time or always."""

    folder: Path
    always: bool

    def __call__(self, index, region):
        mark = self.folder / "died"
        if index == 5 and (self.always or not mark.exists()):
            mark.touch()
            os._exit(9)
        return {}


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_a_deadly_block_reported(tmp_path):
    with crew(1) as workers:
        assert len(run_blocks("s", DieOnce(tmp_path, always=False), GRID, workers)) == 12
        with pytest.raises(BlocksFailed, match=r"Block 5 .* worker was ended .* 11 of 12"):
            run_blocks("s", DieOnce(tmp_path, always=True), GRID, workers)


def test_no_scheduler_is_one_sentence(monkeypatch):
    module = importlib.import_module("openmedlab.blocks.crew")
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    with (
        pytest.raises(InputError, match="No Dask scheduler answers at tcp://127"),
        crew(scheduler="tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_listen_on_the_loopback_alone(workers):
    own = psutil.Process()
    before = {c.laddr for c in own.net_connections() if c.status == "LISTEN"}
    with crew(workers):
        heard = [
            c.laddr
            for process in (own, *own.children(recursive=True))
            for c in process.net_connections()
            if c.status == "LISTEN" and c.laddr not in before
        ]
    assert heard
    assert {a.ip for a in heard} == {"127.0.0.1"}
