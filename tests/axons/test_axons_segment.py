"""Axons of whole volumes: the same for any blocks and workers, resumable, never half done."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from axon_helpers import tubes, use_blur, write_image
from skimage.measure import label

from openmedlab.axons import methods
from openmedlab.axons.methods import components, method, segment_array
from openmedlab.axons.segment import AxonRun, read_run, segment_volume
from openmedlab.axons.skeleton import skeletonize_volume
from openmedlab.blocks import ImageSource, crew
from openmedlab.blocks.engine import BlocksFailed
from openmedlab.core import Cancelled, CancelToken, InputError
from openmedlab.io.lazy import open_volume
from openmedlab.io.omezarr import opened
from openmedlab.zoo.checkpoint import read_checkpoint, write_safetensors

BLOCKS = [(16, 16, 16), (32, 48, 32), (64, 80, 96)]


@pytest.fixture(autouse=True)
def _blur(monkeypatch):
    use_blur(monkeypatch)


@pytest.fixture(scope="module")
def here():
    with crew(0) as workers:
        yield workers


def whole() -> np.ndarray:
    """What one block of the whole volume gives, numbered in order."""
    image, choice = tubes(), method("blur")
    made = choice.make(choice.measure(image, None, None), None)
    return label(components(segment_array(image, made), choice), connectivity=3)


def run(path: Path, **options) -> AxonRun:
    return AxonRun(ImageSource(path), method="blur", **{"block": (32, 32, 32), **options})


@pytest.mark.parametrize("block", BLOCKS)
def test_labels_are_those_of_the_whole_volume_for_any_block(here, tmp_path, block):
    path = write_image(tmp_path)
    truth = whole()
    assert truth.max() > 3
    made = segment_volume(run(path, block=block, probabilities=True), here)
    assert made.labels == path / "labels" / "axons"
    labels = open_volume(made.labels)
    np.testing.assert_array_equal(labels.read(), truth)
    assert (made.components, made.voxels) == (truth.max(), (truth > 0).sum())
    assert np.allclose(labels.geometry.affine, open_volume(path).geometry.affine)
    kept = open_volume(tmp_path / "brain.axons_probability.ome.zarr").read()
    assert ((kept >= 0.21 * 255) <= (kept > 0)).all()
    assert (truth[kept == 0] == 0).all()
    assert zarr.open_group(str(path / "labels")).attrs["ome"]["labels"] == ["axons"]
    assert [p.name for p in (path / "labels").iterdir() if p.name[0] == "."] == []


def test_levels_show_every_component_and_match_the_image(here, tmp_path):
    path = write_image(tmp_path, tubes((40, 60, 280)))
    segment_volume(run(path), here)
    image, labels = opened(path), opened(path / "labels" / "axons")
    assert [a.shape for a in labels.arrays] == [a.shape for a in image.arrays]
    assert labels.arrays[1][:].any()


def test_empty_blocks_are_left_out_and_change_nothing(here, tmp_path, monkeypatch):
    path = write_image(tmp_path)
    made = segment_volume(run(path, block=(16, 16, 16)), here)
    assert made.empty >= made.blocks // 8
    from axon_helpers import Blur

    monkeypatch.setattr(Blur, "is_empty", lambda self, block: False)
    again = segment_volume(run(path, block=(16, 16, 16), name="all"), here)
    assert again.empty == 0
    np.testing.assert_array_equal(open_volume(made.labels).read(), open_volume(again.labels).read())


def test_cancelled_run_goes_on_and_a_finished_one_is_kept(here, tmp_path):
    path = write_image(tmp_path)
    cancel, seen = CancelToken(), []

    def stop(event):
        seen.append(event)
        if event.state in ("done", "empty") and len(seen) > 8:
            cancel.cancel()

    with pytest.raises(Cancelled):
        segment_volume(run(path), here, cancel=cancel, on_block=stop)
    assert (path / "labels" / ".axons.run").is_dir()
    assert read_run(path / "labels" / "axons") == {}
    with pytest.raises(InputError, match="another rules"):
        segment_volume(run(path, threshold=0.5), here)
    seen.clear()
    made = segment_volume(run(path), here, on_block=seen.append)
    assert {e.state for e in seen[:3]} == {"kept"}
    np.testing.assert_array_equal(open_volume(made.labels).read(), whole())
    seen.clear()
    assert segment_volume(run(path), here, on_block=seen.append).kept
    assert seen == []
    with pytest.raises(InputError, match="made with other rules; give"):
        segment_volume(run(path, smallest=50), here)
    assert segment_volume(run(path, smallest=50), here, restart=True).components < made.components


def test_a_new_run_of_other_blocks_sees_its_own_arrays_in_the_same_workers(here, tmp_path):
    path = write_image(tmp_path)
    for block in BLOCKS:
        made = segment_volume(run(path, block=block), here, restart=True)
        np.testing.assert_array_equal(open_volume(made.labels).read(), whole())
        thin = skeletonize_volume(made.labels, here)
        assert thin.nodes == (open_volume(thin.skeleton).read() > 0).sum()


def test_an_image_file_that_was_replaced_is_another_run(here, tmp_path):
    path = tmp_path / "b.tif"
    tifffile.imwrite(path, tubes())
    ours = replace(run(path), source=ImageSource(path, spacing=(3.0, 1.5, 1.5)))
    segment_volume(ours, here)
    assert segment_volume(ours, here).kept
    tifffile.imwrite(path, tubes(seed=2))
    with pytest.raises(InputError, match="made with another image; give"):
        segment_volume(ours, here)


def test_other_weights_are_another_run_wherever_they_lie(here, tmp_path, monkeypatch):
    image = np.zeros((32, 32, 64), np.uint16)
    image[10:20, 16, 8:56] = 4000
    path = write_image(tmp_path, image + 100)
    small = AxonRun(ImageSource(path), "axon-small", block=(64, 64, 64))
    segment_volume(small, here)
    moved = shutil.copy(methods.BUNDLED, tmp_path / "moved.safetensors")
    assert segment_volume(replace(small, weights=moved), here).kept
    other = {k: v + 0.01 for k, v in read_checkpoint(moved).items() if v.is_floating_point()}
    write_safetensors({**read_checkpoint(moved), **other}, tmp_path / "new.safetensors", {})
    monkeypatch.setattr(methods, "BUNDLED", tmp_path / "new.safetensors")
    with pytest.raises(InputError, match="made with other weights; give"):
        segment_volume(small, here)


def test_a_damaged_chunk_is_told_and_mended(here, tmp_path):
    path = write_image(tmp_path)
    chunk = path / "s0" / "c" / "0" / "0" / "1"
    chunk = chunk if chunk.exists() else path / "0" / "c" / "0" / "0" / "1"
    good = chunk.read_bytes()
    chunk.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"brain\.ome\.zarr cannot be read at \(z, y, x\) 0:"):
        segment_volume(run(path), here)
    chunk.write_bytes(good)
    assert segment_volume(run(path), here).components == whole().max()


def test_a_full_disk_is_told_and_the_run_goes_on(here, tmp_path, monkeypatch):
    from openmedlab.axons import stages

    path, real, calls = write_image(tmp_path), stages.write_whole, []

    def full(*given):
        calls.append(given)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", "labels")
        real(*given)

    monkeypatch.setattr(stages, "write_whole", full)
    with pytest.raises(BlocksFailed, match="No space left on device"):
        segment_volume(run(path), here)
    made = segment_volume(run(path), here)
    np.testing.assert_array_equal(open_volume(made.labels).read(), whole())


def test_input_that_is_no_zarr_gets_labels_beside_it(here, tmp_path):
    tifffile.imwrite(tmp_path / "b.tif", tubes())
    source = ImageSource(tmp_path / "b.tif", spacing=(3.0, 1.5, 1.5))
    made = segment_volume(replace(run(tmp_path), source=source), here)
    assert made.labels == tmp_path / "b.axons.ome.zarr"
    np.testing.assert_array_equal(open_volume(made.labels).read(), whole())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from axon_helpers import use_blur
from openmedlab.axons.segment import AxonRun, segment_volume
from openmedlab.blocks import ImageSource, crew
import pytest

if __name__ == "__main__":
    use_blur(pytest.MonkeyPatch())
    done = []

    def told(event):
        done.append(event.state in ("done", "empty"))
        if {kill} and sum(done) == 20:
            os.kill(os.getpid(), signal.SIGKILL)

    with crew(2) as workers:
        task = AxonRun(ImageSource(Path({image!r})), method="blur", block=(16, 32, 32))
        segment_volume(task, workers, on_block=told)
    print(sum(done))
"""


@pytest.mark.slow
def test_two_workers_killed_midway_and_resumed_equal_an_undisturbed_run(tmp_path):
    path = write_image(tmp_path)

    def start(kill: bool) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "run.py"
        tests = str(Path(__file__).parent)
        script.write_text(KILLED.format(tests=tests, kill=kill, image=str(path)))
        return subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
        )

    assert start(kill=True).returncode == -signal.SIGKILL
    assert (path / "labels" / ".axons.run").is_dir()
    resumed = start(kill=False)
    assert resumed.returncode == 0, resumed.stderr
    np.testing.assert_array_equal(open_volume(path / "labels" / "axons").read(), whole())
