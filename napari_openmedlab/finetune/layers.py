"""Open layers as further volumes of a cohort's folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_openmedlab.layers.geometry import check_labels, volume_of
from napari_openmedlab.writers import write_image, write_labels
from openmedlab.core import InputError

Write = Callable[[], object]


def labelled_images(viewer: ViewerModel) -> list[tuple[Image, Labels]]:
    """Return the images with a Labels layer on their grid, the uppermost where there are several.

    Raises
    ------
    InputError
        There is none.
    """
    images = [layer for layer in viewer.layers if isinstance(layer, Image) and layer.ndim == 3]
    found = {}
    for labels in (layer for layer in viewer.layers if isinstance(layer, Labels)):
        for image in images:
            if _fits(labels, image):
                found[image] = labels
    if not found:
        raise InputError(
            "No open volume has a Labels layer on its grid with something labelled; label one in "
            "Segment or Whole body, or open a labelmap with its image."
        )
    return list(found.items())


def _fits(labels: Labels, image: Image) -> bool:
    try:
        volume_of(image)
        check_labels(labels, image)
    except InputError:
        return False
    return bool(np.any(labels.data))


def writing(pairs: list[tuple[Image, Labels]], folder: Path) -> tuple[list[str], Write]:
    """Return the volumes' names in a folder, and what writes them there on any thread.

    The labels are copied, so that the user may paint on.

    Raises
    ------
    InputError
        The folder has a volume of that name.
    """
    names, calls = [], []
    for image, labels in pairs:
        name = re.sub(r"[^\w.-]+", "_", image.name).strip("_.") or "volume"
        if any(folder.glob(f"{name}_image.*")) or name in names:
            raise InputError(
                f"{folder.name} holds a volume {name} already; rename the layer {image.name!r} or "
                "remove the file."
            )
        names.append(name)
        data, known, _ = image.as_layer_data_tuple()
        calls.append(partial(write_image, str(folder / f"{name}_image.nii.gz"), data, known))
        painted, meaning, _ = labels.as_layer_data_tuple()
        calls.append(
            partial(write_labels, str(folder / f"{name}_label.nii.gz"), painted.copy(), meaning)
        )

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for call in calls:
            call()

    return names, write
