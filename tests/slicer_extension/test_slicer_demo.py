"""``openmedlab demo --slicer``: Slicer's scene and views, drawn without a screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("trame_slicer", reason="needs trame-slicer for Slicer's views")


@pytest.mark.slow
def test_the_scene_is_drawn(tmp_path):
    import imageio.v3 as iio

    out = tmp_path / "demo"
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-m", "openmedlab.cli", "demo", "--slicer", "--sample", "phantom",
         "-o", str(out), "--json"],
        capture_output=True, text=True, env=environment, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dice"] > 0.5
    picture = iio.imread(out / "screenshot.png").astype(int)
    panes = [p for row in (picture[:420], picture[420:]) for p in (row[:, :560], row[:, 560:])]
    for pane in panes:
        assert pane.std() > 10
        red, green = pane[..., 0], pane[..., 1]
        assert (red - green > 60).sum() > 100
