"""The demo on the phantom: by itself, and in a real napari on a virtual screen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openmedlab.io import phantom, read_labels


def test_demo_without_a_viewer(cli, tmp_path):
    out = tmp_path / "demo"
    done = cli("demo", "--no-viewer", "--sample", "phantom", "--organ", "spleen", "-o", out)
    assert done.code == 0, done.err
    last = done.out.strip().splitlines()[-1]
    assert last.startswith("Dice 0.")
    mask = read_labels(out / "mask.nii.gz")
    assert mask.geometry.almost_equal(phantom()[0].geometry)
    manifest = json.loads((out / "mask.nii.gz.manifest.json").read_text())
    assert manifest["prompts"]["spleen"][0]["kind"] == "extreme points"


def test_demo_of_an_unknown_organ_names_the_known_ones(cli, tmp_path):
    done = cli("demo", "--no-viewer", "--sample", "phantom", "--organ", "tail", "-o", tmp_path)
    assert done.code == 2
    assert "spleen" in done.err


def test_no_screen_and_no_xvfb_is_one_sentence(monkeypatch):
    from openmedlab.cli.screen import virtual_screen
    from openmedlab.core import InputError

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(InputError, match="Xvfb"), virtual_screen():
        pass


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_demo_in_napari(tmp_path: Path):
    import imageio.v3 as iio

    out = tmp_path / "demo"
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "QT_QPA_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-m", "openmedlab.cli", "demo", "--sample", "phantom", "-o", str(out),
         "--json"],
        capture_output=True, text=True, env=environment, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["dice"] > 0.5
    assert set(record["seconds"]) == {"queue", "prepare", "infer", "write"}
    assert (read_labels(out / "mask.nii.gz").array > 0).sum() == record["voxels"]
    manifest = json.loads(Path(record["manifest"]).read_text())
    (given,) = manifest["prompts"]["kidney_left"]
    truth = phantom()[1]
    kidney = next(n for n, v in truth.labels.items() if v.name == "kidney_left")
    clicked = np.rint(given["points"]).astype(int)
    assert (truth.array[tuple(clicked.T)] == kidney).mean() >= 5 / 6
    picture = iio.imread(out / "screenshot.png")
    assert min(picture.shape[:2]) > 400
    assert picture[..., :3].std() > 10
