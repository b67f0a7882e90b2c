"""Arrays and their description on the wire: one packed array a body, JSON in a header.

The packed format is nnInteractive's (magic ``NNIA``, version 1): a header with dtype and
shape, then blosc2 chunks. `unpack` believes nothing that the sender says: sizes are
checked against the limit before memory is taken.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError

META = "X-Meta"
LEASE = "X-Lease-Token"
BINARY = "application/octet-stream"

MAGIC = b"NNIA"
VERSION = 1
CHUNK = 1 << 30
FRAME_HEADER = 32
MAX_AXES = 4
DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
_ZSTD = 1
_CODECS = frozenset({1, 2})
_START = struct.Struct("<4sBBBB")


class TooLargeError(InputError):
    """An array is larger than what is accepted here."""


def pack(array: npt.NDArray[Any], level: int = 1) -> bytes:
    """Return ``array`` as a self-describing compressed byte string.

    Parameters
    ----------
    array
        Any of `DTYPES`, at most four axes.
    level
        zstd's effort, 1 (quick) to 9.
    """
    import blosc2

    solid = np.ascontiguousarray(array).reshape(np.shape(array))
    if solid.dtype.byteorder == ">":
        solid = solid.astype(solid.dtype.newbyteorder("<"))
    name = solid.dtype.name.encode("ascii")
    width = solid.dtype.itemsize
    filters = [blosc2.Filter.SHUFFLE if width > 1 else blosc2.Filter.NOFILTER]
    raw = solid.reshape(-1).view(np.uint8).data
    parts = [
        _START.pack(MAGIC, VERSION, _ZSTD, solid.ndim, len(name)),
        name,
        struct.pack(f"<{solid.ndim}q", *solid.shape),
        struct.pack("<I", -(-raw.nbytes // CHUNK)),
    ]
    for start in range(0, raw.nbytes, CHUNK):
        piece = raw[start : start + CHUNK]
        frame = blosc2.compress2(
            piece, typesize=width, codec=blosc2.Codec.ZSTD, clevel=level, filters=filters
        )
        parts += [struct.pack("<QQ", len(piece), len(frame)), frame]
    return b"".join(parts)


def unpack(data: bytes, max_bytes: int) -> npt.NDArray[Any]:
    """Return the array in ``data``.

    Raises
    ------
    InputError
        The bytes are not a packed array.
    TooLargeError
        The array would take more than ``max_bytes``.
    """
    try:
        dtype, shape, offset = _header(data)
        size = dtype.itemsize
        for n in shape:
            size *= n
        if size > max_bytes:
            raise TooLargeError(
                f"The array has {size / 1e6:.0f} MB; at most {max_bytes / 1e6:.0f} MB are accepted."
            )
        return _payload(memoryview(data), offset, dtype, size).reshape(shape)
    except (struct.error, UnicodeDecodeError) as error:
        raise InputError("The packed array is cut short or damaged.") from error


def _header(data: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    magic, version, codec, axes, length = _START.unpack_from(data)
    if magic != MAGIC or version != VERSION or codec not in _CODECS:
        raise InputError("The body is not a packed array (NNIA, version 1).")
    offset = _START.size
    name = data[offset : offset + length].decode("ascii")
    if name not in DTYPES or axes > MAX_AXES:
        raise InputError(f"A packed array of {axes} axes of {name!r} is not taken.")
    offset += length
    shape = struct.unpack_from(f"<{axes}q", data, offset)
    if any(n < 0 for n in shape):
        raise InputError(f"The packed array claims a shape of {shape}.")
    return np.dtype(name), shape, offset + 8 * axes


def _payload(data: memoryview, offset: int, dtype: np.dtype[Any], size: int) -> npt.NDArray[Any]:
    (chunks,) = struct.unpack_from("<I", data, offset)
    offset += 4
    raw = np.empty(size, np.uint8)
    filled = 0
    for _ in range(chunks):
        full, packed = struct.unpack_from("<QQ", data, offset)
        offset += 16
        frame = data[offset : offset + packed]
        if not full or filled + full > size or full % dtype.itemsize or len(frame) != packed:
            raise InputError("The packed array's chunks do not fit its shape.")
        _inflate(frame, raw[filled : filled + full])
        filled += full
        offset += packed
    if filled != size or offset != len(data):
        raise InputError("The packed array's chunks do not fill its shape.")
    return raw.view(dtype)


def _inflate(frame: memoryview, target: npt.NDArray[np.uint8]) -> None:
    """Decompress one blosc2 frame that must hold exactly ``target.nbytes``."""
    import blosc2

    if len(frame) < FRAME_HEADER:
        raise InputError("A chunk of the packed array is cut short.")
    try:
        full, packed, _block = blosc2.get_cbuffer_sizes(frame)
        if full != target.nbytes or packed != len(frame):
            raise InputError("A chunk of the packed array has another size than it says.")
        blosc2.decompress2(frame, dst=target)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError("A chunk of the packed array is damaged.") from error


def meta_text(values: Mapping[str, Any]) -> str:
    """Return ``values`` as the compact JSON that travels in the `META` header."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False)


def read_meta(text: str | None) -> dict[str, Any]:
    """Return the JSON object of a `META` header; an absent one is empty.

    Raises
    ------
    InputError
        It is not a JSON object.
    """
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"The {META} header is not a JSON object.")
    return values
