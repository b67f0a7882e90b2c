"""``openmedlab view`` shows the image, its labels and the Segment widget."""

from __future__ import annotations

import napari
from typer.testing import CliRunner

from openmedlab.cli.app import app
from openmedlab.io import phantom, write_labels, write_volume


def test_view_shows_image_labels_and_widget(tmp_path, make_napari_viewer, monkeypatch):
    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda **_: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    volume, labels = phantom((12, 40, 50))
    image = write_volume(volume, tmp_path / "torso.nii.gz")
    organs = write_labels(labels, tmp_path / "organs.seg.nrrd")
    done = CliRunner().invoke(app, ["view", str(image), "--labels", str(organs)])
    assert done.exit_code == 0, done.output
    shown = {layer.name: type(layer).__name__ for layer in viewer.layers}
    assert shown["torso"] == "Image"
    assert shown["organs"] == "Labels"
    assert any("Segment" in name for name in viewer.window.dock_widgets)


def test_view_of_a_bad_file_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(napari, "Viewer", None)
    done = CliRunner().invoke(app, ["view", str(tmp_path / "none.nii.gz")])
    assert done.exit_code == 2
    assert "none.nii.gz" in done.stderr
