"""What comes in over the wire becomes our words, or one sentence."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from openmedlab.client.wire import unpack
from openmedlab.core import (
    Box,
    Geometry,
    InputError,
    Prompt,
    PromptError,
    Region,
    Volume,
    prompt_from_json,
)
from openmedlab.core.volume import Modality
from openmedlab.server.service import Service

MODALITIES: tuple[Modality, ...] = ("CT", "MR", "PT", "US", "LS", "unknown")
MAX_PROMPTS = 10_000
LABEL_BYTES = 2
UNUSABLE = (TypeError, ValueError, KeyError, OverflowError, RecursionError)


async def read_array(request: Request, limit: int) -> npt.NDArray[Any]:
    """Return the packed array that is the body, of at most ``limit`` bytes."""
    body = await request.body()
    return await run_in_threadpool(unpack, body, limit)


def read_geometry(data: Any, shape: tuple[int, ...]) -> Geometry:
    """Return the geometry that ``data`` describes; it must fit ``shape``."""
    try:
        geometry = Geometry.from_json(data)
    except UNUSABLE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "The geometry needs shape [z, y, x], a 4x4 affine (z, y, x to LPS) and a unit."
        ) from error
    if geometry.shape != shape:
        raise InputError(f"The geometry says {geometry.shape} voxels, the array has {shape}.")
    return geometry


def as_volume(
    array: npt.NDArray[Any], geometry: Geometry, modality: Any = "unknown", name: Any = "volume"
) -> Volume:
    """Return a volume of real, finite voxels.

    Raises
    ------
    InputError
        There is a voxel that is not a finite number.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind == "f":
        if array.dtype != np.float32:
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise InputError(
                "The image has voxels that are not finite float32 numbers; replace them."
            )
    kind: Modality = modality if modality in MODALITIES else "unknown"
    return Volume(array, geometry, kind, str(name)[:200] or "volume")


def read_prompts(rows: Sequence[Mapping[str, Any]], geometry: Geometry) -> list[Prompt]:
    """Return the prompts in ``rows``, each inside the volume.

    Raises
    ------
    PromptError
        One of them cannot be used.
    """
    if len(rows) > MAX_PROMPTS:
        raise PromptError(f"More than {MAX_PROMPTS} prompts for one object are not taken.")
    return [_read_prompt(row, geometry) for row in rows]


def _read_prompt(row: Mapping[str, Any], geometry: Geometry) -> Prompt:
    try:
        if row.get("kind") == "mask":
            _check_mask(row, geometry)
        prompt = prompt_from_json(dict(row))
    except UNUSABLE as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(f"A prompt of kind {row.get('kind')!r} has unusable values.") from error
    prompt.check(geometry)
    if not isinstance(getattr(prompt, "positive", True), bool):
        raise PromptError("A prompt is positive or not: true or false.")
    return prompt


def _check_mask(row: Mapping[str, Any], geometry: Geometry) -> None:
    """Look at a mask's size before it is inflated."""
    region = Region(tuple(row["start"]), tuple(row["stop"]))
    if not region or not geometry.region.contains(region):
        raise PromptError("The mask given as a prompt is empty or sticks out of the volume.")
    wanted = (region.size + 7) // 8
    inflater = zlib.decompressobj()
    try:
        bits = inflater.decompress(base64.b64decode(row["bits"], validate=True), wanted + 1)
    except zlib.error as error:
        raise PromptError("The mask given as a prompt is damaged.") from error
    if len(bits) != wanted or not inflater.eof:
        raise PromptError("The mask given as a prompt has another size than its box.")


def volume_limit(service: Service) -> int:
    """Bytes that an image may have now, its labelmap not counted."""
    return service.free_bytes


def read_start(
    box: Any, shape: tuple[int, ...], whole: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Return where a crop of ``shape`` lies in an array of shape ``whole``.

    ``box`` is ``[[first, last + 1], ...]``, or None for a crop that is the whole.
    """
    try:
        region = Region.whole(whole)
        if box is not None:
            (a, b), (c, d), (e, f) = box
            region = Region((a, c, e), (b, d, f))
    except UNUSABLE as error:
        raise InputError("A box is three pairs of whole numbers [first, last + 1].") from error
    if not region or region.shape != tuple(shape) or not Region.whole(whole).contains(region):
        raise InputError(
            f"The drawing has {list(shape)} voxels from {region.start} to {region.stop}; that "
            f"does not fit the image of {list(whole)}."
        )
    return region.start


def read_roi(values: Any) -> Box:
    """Return the box of MONAI Label's ``[i0, i1, j0, j1, k0, k1]``."""
    a, b, c, d, e, f = values
    return Box((e, c, a), (f, d, b))
