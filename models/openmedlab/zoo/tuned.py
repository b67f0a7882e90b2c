"""What travels with fine-tuned weights: their classes, their frame and their model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openmedlab.core.errors import InputError
from openmedlab.engine.home import home
from openmedlab.zoo.card import cards
from openmedlab.zoo.checkpoint import read_metadata
from openmedlab.zoo.files import writing


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


def outputs(path: Path) -> int | None:
    """Return how many classes, the background among them, fine-tuned weights tell apart."""
    names = class_names(path)
    return len(names) + 1 if names else None


def install_card(path: Path, name: str | None) -> str | None:
    """Make the model of fine-tuned weights known by its card; return its name.

    Parameters
    ----------
    path
        A weights file; of published weights nothing is installed and None comes back.
    name
        What to call it instead.

    Raises
    ------
    InputError
        A published model has that name.
    """
    import tomli_w

    fields: dict[str, Any] = tuned(path).get("card", {})
    if not fields:
        return None
    called: str = name or fields["name"]
    folder = home() / "cards"
    if called in cards() and not (folder / f"{called}.toml").is_file():
        raise InputError(
            f"{called!r} is a published model; give the fine-tuned one a name of its own with "
            "--name."
        )
    fields |= {"name": called, "files": [{"name": f"{called}.safetensors"}]}
    with writing(folder / f"{called}.toml") as partial:
        partial.write_text(tomli_w.dumps(fields), encoding="utf-8")
    return called


def forget_card(name: str) -> None:
    """Forget a fine-tuned model; cards of models that can be had elsewhere stay."""
    card = cards().get(name)
    if card is not None and not (card.fetchable or card.files[0].page):
        (home() / "cards" / f"{name}.toml").unlink(missing_ok=True)
