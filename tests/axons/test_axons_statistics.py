"""A volume's statistics: the same whoever measures and whatever is ready first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from axon_helpers import tubes, use_blur, write_image

from openmedlab.axons import ridge
from openmedlab.axons.methods import METHODS, method
from openmedlab.axons.segment import AxonRun, segment_volume
from openmedlab.axons.stages import EachByCrew
from openmedlab.axons.statistics import each_here
from openmedlab.blocks import ImageSource, crew
from openmedlab.blocks.engine import BlocksFailed
from openmedlab.core import Cancelled, CancelToken, InputError
from openmedlab.core.progress import Progress

NAMES = ["axon-small", "ridge"]
SHAPE = (40, 150, 270)  # 1 x 2 x 3 boxes of 128 voxels


@pytest.fixture(autouse=True)
def _many_small_boxes(monkeypatch):
    monkeypatch.setattr(ridge, "WHOLE", 0)
    monkeypatch.setattr(ridge, "SAMPLE", 30_000)
    monkeypatch.setattr(ridge, "SAMPLE_SIDE", 20)


@pytest.fixture(scope="module")
def here():
    with crew(0) as workers:
        yield workers


def last_first(*given, **told):
    return reversed(list(each_here(*given, **told)))


@pytest.mark.parametrize("name", NAMES)
def test_they_do_not_depend_on_what_is_ready_first(name):
    array = tubes(SHAPE)
    found = method(name).measure(array)
    assert method(name).measure(array, each=last_first) == found
    assert found.count == array.size
    assert len(found.responses) == (2 if name == "ridge" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_measure_what_this_process_measures(tmp_path, workers):
    array = tubes(SHAPE)
    source = ImageSource(write_image(tmp_path, array)).resolved()
    with crew(workers) as hands:
        each = EachByCrew(source, hands)
        for name in NAMES:
            choice = method(name)
            assert choice.measure(source.open().array, each=each) == choice.measure(array)


def test_a_run_measures_by_its_workers_and_tells_how_far(here, tmp_path, monkeypatch):
    use_blur(monkeypatch)
    as_ridge = replace(METHODS["blur"], measure=METHODS["ridge"].measure)
    monkeypatch.setitem(METHODS, "blur", as_ridge)
    told = []
    run = AxonRun(ImageSource(write_image(tmp_path)), method="blur", block=(64, 80, 96))
    segment_volume(run, here, progress=Progress(lambda *report: told.append(report)))
    for text in ("Measuring grey values", "Measuring edges", "Measuring ridges"):
        seen = [(done, total) for done, total, words in told if words == text]
        assert seen == [(k, seen[-1][1]) for k in range(seen[-1][1] + 1)]


def test_measuring_by_workers_is_cancelled_and_fails_in_a_sentence(here, tmp_path):
    path = write_image(tmp_path, tubes(SHAPE))
    source, cancel = ImageSource(path).resolved(), CancelToken()
    measure = method("ridge").measure

    def stop(done: int, total: int, text: str) -> None:
        if text == "Measuring edges" and done:
            cancel.cancel()

    with pytest.raises(Cancelled):
        measure(source.open().array, Progress(stop), cancel, each=EachByCrew(source, here))
    finest = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    finest.write_bytes(b"broken")
    with pytest.raises(BlocksFailed, match=r"brain\.ome\.zarr cannot be read at \(z, y, x\)"):
        measure(source.open().array, each=EachByCrew(source, here))


def test_voxels_of_no_number_are_refused():
    with pytest.raises(InputError, match="grey values is needed, not of bool"):
        method("axon-small").measure(np.zeros((4, 4, 4), bool))
