"""``openmedlab view``: napari with the image and the Segment widget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    image: Annotated[Path, typer.Argument(help="An image file or folder.")],
    labels: Annotated[Path | None, typer.Option(help="A labelmap to show on it.")] = None,
) -> None:
    """Open IMAGE in napari with the Segment widget beside it."""
    import napari
    from napari.layers import Layer

    from napari_openmedlab.readers import image_layer, label_layer
    from openmedlab.io import read_labels, read_volume

    shown = [image_layer(read_volume(image))]
    if labels is not None:
        shown.append(label_layer(read_labels(labels), labels))
    viewer = napari.Viewer(title="OpenMEDLab")
    for layer in shown:
        viewer.add_layer(Layer.create(*layer))
    viewer.window.add_plugin_dock_widget("napari-openmedlab", "Segment")
    napari.run()
