"""Prompts as they are written on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.cli.console import read_json
from openmedlab.core import (
    Box,
    ExtremePoints,
    Geometry,
    Lasso,
    MaskPrompt,
    Point,
    Prompt,
    PromptError,
    Scribble,
    prompt_from_json,
)

Position = tuple[float, float, float]
Place = Callable[[Sequence[float]], Position]


@dataclass(frozen=True)
class Given:
    """The texts of the prompt options, as typed."""

    point: Sequence[str] = ()
    box: Sequence[str] = ()
    extreme: Sequence[str] = ()
    scribble: Sequence[str] = ()
    lasso: Sequence[str] = ()
    mask: Path | None = None
    prompts: Path | None = None
    world: bool = False


def parse(given: Given, geometry: Geometry) -> list[Prompt]:
    """Return the prompts in index coordinates: the coarse ones first, points last.

    Raises
    ------
    PromptError
        Something is malformed, or nothing was given.
    """
    place = _placer(geometry, given.world)
    prompts: list[Prompt] = []
    if given.mask is not None:
        prompts.append(_mask(given.mask, geometry))
    prompts += [_box(text, place) for text in given.box]
    if given.extreme:
        prompts.append(ExtremePoints(tuple(_path(" ".join(given.extreme), "--extreme", place))))
    for text in given.lasso:
        path, positive = _sign(text)
        prompts.append(Lasso(tuple(_path(path, "--lasso", place)), positive))
    for text in given.scribble:
        path, positive = _sign(text)
        prompts.append(Scribble.from_path(_path(path, "--scribble", place), positive))
    for text in given.point:
        position, positive = _sign(text)
        prompts.append(Point(place(_numbers(position, 3, "--point")), positive))
    if given.prompts is not None:
        prompts += _saved(given.prompts)
    if not prompts:
        raise PromptError(
            "No prompt was given; use --point, --box, --extreme, --scribble, --lasso, --mask "
            "or --prompts."
        )
    return prompts


def _placer(geometry: Geometry, world: bool) -> Place:
    def index(values: Sequence[float]) -> Position:
        a, b, c = (float(v) for v in values)
        return a, b, c

    def from_world(values: Sequence[float]) -> Position:
        return index(geometry.world_to_index(np.asarray(values, float)).tolist())

    return from_world if world else index


def _sign(text: str) -> tuple[str, bool]:
    """Split a trailing ``:-`` or ``:+`` off; positive without one."""
    for ending, positive in ((":-", False), (":+", True)):
        if text.rstrip().endswith(ending):
            return text.rstrip()[: -len(ending)], positive
    return text, True


def _numbers(text: str, count: int, option: str) -> list[float]:
    try:
        values = [float(v) for v in text.split(",")]
    except ValueError:
        raise PromptError(
            f"{option} {text!r}: write numbers separated by commas, {_example(option)}."
        ) from None
    if len(values) != count:
        raise PromptError(
            f"{option} {text!r} has {len(values)} numbers, not {count}; write {_example(option)}."
        )
    return values


def _example(option: str) -> str:
    return {
        "--point": "like 12,80.5,64, with :- behind it for a negative one",
        "--box": "like 10,40,40,30,90,90",
    }.get(option, "like '12,80,64 12,85,70'")


def _box(text: str, place: Place) -> Box:
    values = _numbers(text, 6, "--box")
    return Box(place(values[:3]), place(values[3:]))


def _path(text: str, option: str, place: Place) -> list[Position]:
    """Return the vertices written as ``a,b,c a,b,c ...``, or kept in a JSON file."""
    if text.strip().lower().endswith(".json"):
        data = read_json(Path(text.strip()))
        try:
            return [place(vertex) for vertex in data]
        except (TypeError, ValueError):
            raise PromptError(
                f"{text} must hold a list of points, each three numbers, like "
                "[[12, 80, 64], [12, 85, 70]]."
            ) from None
    return [place(_numbers(vertex, 3, option)) for vertex in text.split()]


def _mask(path: Path, geometry: Geometry) -> MaskPrompt:
    from openmedlab.io import read_labels

    labels = read_labels(path)
    if not labels.geometry.almost_equal(geometry, tolerance=0.01):
        raise PromptError(
            f"{path.name} lies on another grid than the image ({labels.geometry.shape} against "
            f"{geometry.shape} voxels, or other spacing or place); give a mask of this image."
        )
    return MaskPrompt.from_array(labels.array)


def _saved(path: Path) -> list[Prompt]:
    """Read a list of prompts, or a manifest of a run with one object."""
    data = read_json(path)
    if isinstance(data, dict):
        data = data.get("prompts")
    if isinstance(data, dict):
        if len(data) != 1:
            raise PromptError(f"{path} holds prompts of {len(data)} objects; keep one of them.")
        (data,) = data.values()
    if not isinstance(data, list):
        raise PromptError(f"{path} holds no list of prompts.")
    return [prompt_from_json(_object(entry, path)) for entry in data]


def _object(entry: Any, path: Path) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise PromptError(f"{path}: each prompt must be an object with a kind, not {entry!r}.")
    return entry
