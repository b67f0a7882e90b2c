"""Values kept in memory up to a number of bytes, and arrays kept in files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from openmedlab.core import InputError
from openmedlab.io.atomic import replacing

Arrays = Mapping[str, npt.NDArray[Any]]
T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key, up to ``max_bytes`` in all; the least recently used go first.

    Parameters
    ----------
    max_bytes
        The newest value is kept even when it is larger.
    nbytes
        Size of a value.
    """

    def __init__(self, max_bytes: int, nbytes: Callable[[T], int]) -> None:
        self.max_bytes = max_bytes
        self._nbytes = nbytes
        self._kept: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of ``key``, made now if it is not kept."""
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(map(self._nbytes, self._kept.values())) > self.max_bytes:
            self._kept.popitem(last=False)
        return self._kept[key]

    def forget(self, key: str) -> None:
        """Drop a value, if it is kept."""
        self._kept.pop(key, None)


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays in an npz file; None where it is missing, damaged or pickled."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def save_arrays(arrays: Arrays, path: Path) -> None:
    """Write arrays as npz, whole or not at all; a full or read-only disk only costs the file."""
    try:
        with replacing(path) as partial:
            np.savez(partial, allow_pickle=False, **dict(arrays))
    except InputError:
        return
