"""`ModelCard`: what is known about a published model, read from a TOML file beside its system."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import openmedlab
from openmedlab.core.errors import InputError
from openmedlab.engine.home import home


@dataclass(frozen=True)
class CardFile:
    """One published checkpoint file.

    Attributes
    ----------
    name
        File name as published.
    url
        Direct address; empty where only a browser gets the file.
    page
        Page for a person: where the file is offered.
    size
        Bytes, exact; 0 where not known.
    about
        Bytes, where only a rounded figure is published.
    sha256, md5
        Hex digests; empty where not known (the store pins one on first verified use).
    """

    name: str
    url: str = ""
    page: str = ""
    size: int = 0
    about: int = 0
    sha256: str = ""
    md5: str = ""


@dataclass(frozen=True)
class ModelCard:
    """A published model.

    Attributes
    ----------
    name
        Stable word, used on the command line, in menus and manifests (``"sam-med3d"``).
    title
        What a menu shows.
    task
        ``"promptable"``, ``"labels"``, ...
    prompts
        Kinds taken natively (`Prompt.kind` words).
    dimensionality
        3 for volumes, 2 for slices.
    files
        Checkpoint files; the first is the weights.
    licence, licence_url
        Of the weights, accepted once before they are fetched.
    citation
        What to cite.
    memory
        What it needs, in words.
    network
        Key of `registry.NETWORKS`.
    classes
        Names by label number, for models with fixed classes.
    notes
        What a user should know.
    """

    name: str
    title: str
    task: str
    prompts: tuple[str, ...]
    dimensionality: int
    files: tuple[CardFile, ...]
    licence: str
    licence_url: str
    citation: str
    memory: str
    network: str
    classes: tuple[str, ...] = ()
    notes: str = ""

    @property
    def size(self) -> int:
        """Bytes to download, perhaps rounded; 0 where not known."""
        return sum(f.size or f.about for f in self.files)

    @property
    def fetchable(self) -> bool:
        """Whether every file has a direct address."""
        return all(f.url for f in self.files)


def read_card(path: Path) -> ModelCard:
    """Read one card.

    Raises
    ------
    InputError
        The file is not TOML, or a field is missing, unknown or of the wrong type.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is not a readable model card: {error}.") from error
    known = {f.name for f in fields(ModelCard)}
    if unknown := sorted(set(data) - known):
        raise InputError(f"{path} has fields that no model card has: {', '.join(unknown)}.")
    try:
        files = tuple(CardFile(**f) for f in data.pop("files", ()))
        card = ModelCard(**{k: _frozen(v) for k, v in data.items()}, files=files)
    except TypeError as error:
        raise InputError(f"{path} is not a complete model card: {error}.") from error
    if not card.files:
        raise InputError(f"{path} names no checkpoint file.")
    return card


def cards() -> dict[str, ModelCard]:
    """Return all cards by name: those shipped, then a site's own in ``OPENMEDLAB_HOME/cards``.

    A site's card replaces a shipped one of the same name, which is how weights are
    taken from a mirror.
    """
    found = dict(_shipped())
    for path in sorted((home() / "cards").glob("*.toml")):
        card = read_card(path)
        found[card.name] = card
    return found


@cache
def _shipped() -> Mapping[str, ModelCard]:
    return {card.name: card for card in map(read_card, _shipped_paths())}


def _shipped_paths() -> Iterator[Path]:
    for root in openmedlab.__path__:
        yield from sorted(Path(root).glob("*/cards/*.toml"))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
