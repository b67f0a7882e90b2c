"""``openmedlab view``: napari with the image and the Segment widget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PLUGIN = "napari-openmedlab"


def view(
    image: Annotated[Path, typer.Argument(help="An image file or folder.")],
    labels: Annotated[Path | None, typer.Option(help="A labelmap to show on it.")] = None,
) -> None:
    """Open IMAGE in napari with the Segment widget beside it."""
    import napari

    from openmedlab.io.checks import existing

    paths = [existing(path) for path in (image, labels) if path is not None]
    viewer = napari.Viewer(title="OpenMEDLab")
    viewer.open([str(paths[0])], plugin=PLUGIN, layer_type="image")
    for path in paths[1:]:
        viewer.open([str(path)], plugin=PLUGIN, layer_type="labels")
    viewer.window.add_plugin_dock_widget(PLUGIN, "Segment")
    napari.run()
