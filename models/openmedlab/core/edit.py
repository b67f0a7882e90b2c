"""`Edit`: a change of a labelmap. Undo, journal, network and layers all carry this."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.region import Region

Labels = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Edit:
    """The labels of a box before and after a change.

    Attributes
    ----------
    region
        Where, in the labelmap's index frame.
    before, after
        Label arrays of ``region.shape``; owned by the edit and read-only.
    """

    region: Region
    before: Labels
    after: Labels

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            array = np.ascontiguousarray(getattr(self, name))
            if array.flags.writeable:
                array = array.copy()
            if array.shape != self.region.shape:
                raise InputError(
                    f"Edit.{name} has shape {array.shape}, its region {self.region.shape}."
                )
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def between(cls, before: Labels, after: Labels, region: Region) -> Edit | None:
        """Return the smallest edit that turns ``before`` into ``after``; None when equal.

        Both arrays lie at ``region``; the edit's own region is trimmed to what changed.
        """
        changed = Region.of_mask(before != after)
        if changed is None:
            return None
        return cls(changed.shifted(region.start), before[changed.slices], after[changed.slices])

    @property
    def changed(self) -> int:
        """Number of voxels that differ."""
        return int(np.count_nonzero(self.before != self.after))

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return int(self.before.nbytes + self.after.nbytes)

    def indices(self) -> tuple[tuple[npt.NDArray[np.intp], ...], Labels]:
        """Return the changed voxels as index arrays (whole grid) and their new labels."""
        local = np.nonzero(self.before != self.after)
        where = tuple(a + o for a, o in zip(local, self.region.start, strict=True))
        return where, self.after[local]

    @cached_property
    def touched(self) -> frozenset[int]:
        """Labels that gained or lost voxels (background included); computed once."""
        where = self.before != self.after
        gained, lost = np.unique(self.after[where]), np.unique(self.before[where])
        return frozenset(gained.tolist()) | frozenset(lost.tolist())

    def inverse(self) -> Edit:
        """Return the edit that takes this one back."""
        back = Edit(self.region, self.after, self.before)
        back.__dict__["touched"] = self.touched
        return back

    def apply(self, labelmap: Labels) -> None:
        """Write `after` into ``labelmap`` where it differs from `before`."""
        target = labelmap[self.region.slices]
        np.copyto(target, self.after, where=self.before != self.after, casting="unsafe")

    # ------------------------------------------------------------------ JSON
    def to_json(self) -> dict[str, Any]:
        """Return plain values (arrays deflated, base64) that `from_json` restores exactly."""
        return {
            "start": list(self.region.start),
            "stop": list(self.region.stop),
            "dtype": self.before.dtype.str,
            "before": _pack(self.before),
            "after": _pack(self.after.astype(self.before.dtype, copy=False)),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Edit:
        """Rebuild an edit written by `to_json`."""
        region = Region(tuple(data["start"]), tuple(data["stop"]))
        dtype = np.dtype(data["dtype"])
        before, after = (_unpack(data[k], dtype, region) for k in ("before", "after"))
        return cls(region, before, after)


def _pack(array: Labels) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 1)).decode("ascii")


def _unpack(text: str, dtype: np.dtype[Any], region: Region) -> Labels:
    raw = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(raw, dtype).reshape(region.shape)
