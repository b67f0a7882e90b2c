"""What travels with fine-tuned weights: their classes, their frame and their model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openmedlab.zoo.checkpoint import read_metadata


def tuned(path: Path) -> dict[str, Any]:
    """Return what fine-tuning wrote into a weights file; empty for published weights.

    Returns
    -------
    dict
        ``classes`` (names of the outputs after the background; none for a click model),
        ``frame`` (how the network wants its input, where its kind needs that) and ``card``
        (fields of a model card).
    """
    from safetensors import SafetensorError

    if path.suffix != ".safetensors":
        return {}
    try:
        text = read_metadata(path).get("tuned")
    except (SafetensorError, OSError):  # whoever reads the tensors says what is wrong
        return {}
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def class_names(path: Path) -> tuple[str, ...]:
    """Return the class names that came with fine-tuned weights; none for published ones."""
    return tuple(tuned(path).get("classes", ()))
