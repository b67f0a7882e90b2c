"""What the *Axons* widget asks of layers, methods and files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from napari.layers import Image

from napari_openmedlab.layers.geometry import KEY, check_stack
from openmedlab.axons.methods import SegmenterChoice


def missing(choice: SegmenterChoice) -> str:
    """Say what a method lacks; empty when it can run."""
    if choice.needs and importlib.util.find_spec("torch") is None:
        return f"{choice.title} runs on PyTorch; pip install 'napari-openmedlab[local]'."
    if choice.needs == "weights":
        from openmedlab.zoo import WeightsStore

        if WeightsStore().find(choice.name) is None:
            return f"{choice.title} needs its weights; import them in the Models widget."
    return ""


def source_of(layer: Image) -> Path | None:
    """Return the file or folder that a layer shows."""
    known = layer.metadata.get(KEY, {}).get("source") or layer.source.path
    return Path(known) if known else None


def check_volume(image: Image) -> None:
    """Raise `InputError` for a layer that is no volume."""
    check_stack(image, "axons are followed through a volume")


def levels_of(target: Path) -> list[Any]:
    """Return the pyramid of labels on disk, as far as it is there."""
    import zarr

    found: list[Any] = []
    while (target / str(len(found))).is_dir():
        found.append(zarr.open_array(str(target / str(len(found))), mode="r"))
    return found
