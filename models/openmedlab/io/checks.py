"""Checks every reader shares, each failing with one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError


class GeometryWarning(UserWarning):
    """Something about where the voxels stand had to be assumed; the text says what."""


class ChoiceNeeded(InputError):  # noqa: N818 - names the state
    """The file holds several images; the caller chooses one."""


def existing(path: str | Path) -> Path:
    """Return ``path``, which must exist and not be empty."""
    found = Path(path).expanduser()
    if not found.exists():
        raise InputError(f"{found}: there is no such file or folder; check the path.")
    if not os.access(found, os.R_OK):
        raise InputError(f"{found} cannot be opened: permission denied.")
    empty = not any(found.iterdir()) if found.is_dir() else found.stat().st_size == 0
    if empty:
        raise InputError(f"{found} is empty; nothing can be read from it.")
    return found


def damaged(path: Path, reason: object = "") -> InputError:
    """Return the error for a file that ends early or does not parse."""
    words = " ".join(str(reason).split())
    detail = f" ({words[:160]})" if words else ""
    return InputError(f"{path.name} is truncated or damaged{detail}; copy or export it again.")


def finite(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """Return ``array`` in native byte order; refuse NaN and infinity."""
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{path.name} holds {array.dtype} voxels (colour, vector or complex); "
            "convert it to one grey value per voxel."
        )
    if array.dtype.kind == "f":
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise InputError(
                f"{path.name} holds {bad} voxels that are NaN or infinite; replace them, "
                "for example by the background value, and save it again."
            )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def whole_numbers(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """Return label values in the smallest unsigned type; refuse fractions and negatives."""
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise InputError(
            f"{path.name} holds fractions, so it is an image or a probability map, not labels; "
            "open it as an image or threshold it first."
        )
    if array.size and array.min() < 0:
        raise InputError(f"{path.name} holds negative values; labels start at 0 (background).")
    return smallest_unsigned(array)


def smallest_unsigned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``array`` (whole numbers from 0) in the smallest unsigned type that holds it."""
    return array.astype(np.min_scalar_type(int(array.max(initial=0))), copy=False)


def extents(array: npt.NDArray[Any]) -> dict[int, tuple[slice, slice, slice]]:
    """Return the bounding slices of every label present in an unsigned ``array``."""
    from scipy import ndimage

    return {n: box for n, box in enumerate(ndimage.find_objects(array), 1) if box}


def pick(count: int, choice: int | None, axis: str, path: Path, names: str = "") -> int:
    """Return the index to take along a channel or time axis of ``count`` entries."""
    if choice is None and count == 1:
        return 0
    if choice is None or not 0 <= choice < count:
        wrong = "" if choice is None else f" {axis}={choice} is not one of them;"
        raise ChoiceNeeded(
            f"{path.name} holds {count} {axis}s{names};{wrong} choose one with {axis}=0 "
            f"to {axis}={count - 1}."
        )
    return choice
