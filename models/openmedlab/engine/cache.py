"""Encodings kept: in memory (least recently used go first) and, where a model can, on disk."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from openmedlab.core.contracts import Encoding, LogitsPatch, Promptable
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.region import Region
from openmedlab.core.volume import Volume
from openmedlab.engine.home import home

Arrays = Mapping[str, npt.NDArray[Any]]
DEFAULT_MEMORY = 1 << 30
DEFAULT_DISK = 4 << 30


@runtime_checkable
class Storable(Protocol):
    """A promptable whose encodings are worth keeping on disk."""

    def pack(self, encoding: Encoding) -> Arrays:
        """Return what is encoded so far as plain arrays; more names once there is more."""
        ...

    def unpack(self, volume: Volume, region: Region, arrays: Arrays) -> Encoding:
        """Rebuild an encoding of ``volume`` from what `pack` returned."""
        ...


@runtime_checkable
class Prefetching(Protocol):
    """A promptable that encodes piece by piece and can work ahead."""

    def prefetch(self, encoding: Encoding, patch: LogitsPatch, cancel: CancelToken) -> None:
        """Encode what a click near ``patch``, its last answer, would need next."""
        ...


class EncodingCache:
    """Finds or makes encodings.

    Parameters
    ----------
    max_bytes
        Memory bound; the least recently used encodings are dropped beyond it.
    folder
        Where packed encodings are kept between runs; None keeps none.
    max_disk_bytes
        Bound of that folder; the files unused for longest are removed beyond it.
    """

    def __init__(
        self,
        max_bytes: int = DEFAULT_MEMORY,
        folder: Path | None = None,
        max_disk_bytes: int = DEFAULT_DISK,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_disk_bytes = max_disk_bytes
        self.folder = folder
        self._kept: OrderedDict[str, Encoding] = OrderedDict()
        self._stored: dict[str, frozenset[str]] = {}
        self._lock = threading.Lock()

    def encode(
        self,
        model: Promptable,
        volume: Volume,
        region: Region,
        progress: Progress,
        cancel: CancelToken,
    ) -> Encoding:
        """Return the encoding of ``region``, from memory, from disk, or made now."""
        key = self.key(model, volume, region)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        encoding = self._load(key, model, volume, region)
        if encoding is None:
            encoding = model.encode(volume, region, progress, cancel)
        self._keep(key, encoding)
        return encoding

    def store(self, model: Promptable, volume: Volume, region: Region) -> None:
        """Put on disk what is in memory, if anything was encoded since the last time."""
        key = self.key(model, volume, region)
        encoding = self._kept.get(key)
        if encoding is not None:
            self._save(key, model, encoding)

    def tend(
        self,
        model: Promptable,
        volume: Volume,
        region: Region,
        patch: LogitsPatch,
        cancel: CancelToken,
    ) -> None:
        """Use idle time after an answer: put what was encoded on disk, and work ahead."""
        self.store(model, volume, region)
        encoding = self._kept.get(self.key(model, volume, region))
        if encoding is not None and isinstance(model, Prefetching):
            model.prefetch(encoding, patch, cancel)
            self.store(model, volume, region)

    @staticmethod
    def key(model: Promptable, volume: Volume, region: Region) -> str:
        """Return the cache key: volume identity, region, model and its version."""
        parts = (volume.identity, region.start, region.stop, model.name, model.version)
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(e.nbytes for e in self._kept.values())

    def clear(self) -> None:
        """Forget what is in memory."""
        with self._lock:
            self._kept.clear()

    def _keep(self, key: str, encoding: Encoding) -> None:
        with self._lock:
            self._kept[key] = encoding
            self._kept.move_to_end(key)
            while self.nbytes > self.max_bytes and len(self._kept) > 1:
                self._kept.popitem(last=False)

    # ------------------------------------------------------------------ disk
    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}.npz"

    def _load(self, key: str, model: Promptable, volume: Volume, region: Region) -> Encoding | None:
        if self.folder is None or not isinstance(model, Storable):
            return None
        path = self._path(key)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                encoding = model.unpack(volume, region, dict(arrays))
                self._stored[key] = frozenset(arrays)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            path.unlink(missing_ok=True)
            return None
        return encoding

    def _save(self, key: str, model: Promptable, encoding: Encoding) -> None:
        """Write through a temporary name; a full or read-only disk only costs the cache."""
        if self.folder is None or not isinstance(model, Storable):
            return
        arrays, path = model.pack(encoding), self._path(key)
        if frozenset(arrays) == self._stored.get(key, frozenset()) and path.exists():
            return
        partial = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **dict(arrays))
            partial.replace(path)
            self._stored[key] = frozenset(arrays)
            self._trim()
        except OSError:
            partial.unlink(missing_ok=True)

    def _trim(self) -> None:
        assert self.folder is not None
        files = sorted(self.folder.glob("*.npz"), key=lambda f: f.stat().st_mtime)
        total = sum(f.stat().st_size for f in files)
        for file in files:
            if total <= self.max_disk_bytes:
                break
            total -= file.stat().st_size
            file.unlink(missing_ok=True)


@functools.cache
def shared_cache() -> EncodingCache:
    """Return the cache of this process, with its folder under `home`."""
    return EncodingCache(folder=home() / "encodings")
