"""`LabelPolicy`: how a mask enters a labelmap. One implementation for every viewer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt


class PolicyMode(StrEnum):
    """The five ways a mask can enter a labelmap."""

    REPLACE_OWN = "replace own"
    ONLY_BACKGROUND = "only background"
    PROTECT_LIST = "protect a list"
    ONLY_INSIDE = "only inside a mask"
    ALLOW_OVERLAP = "allow overlap"


@dataclass(frozen=True)
class LabelPolicy:
    """How a mask enters a labelmap.

    Attributes
    ----------
    mode
        - ``replace own`` (default): the object's old voxels give way to the new
          mask; every other label is protected.
        - ``only background``: adds to background, takes nothing away, not even own voxels.
        - ``protect a list``: like ``replace own``, but only ``labels`` (and locked
          objects) are protected; the rest may be taken over.
        - ``only inside a mask``: like ``replace own`` inside the voxels whose label
          is in ``labels`` (or is the object's own); nothing outside changes.
        - ``allow overlap``: the newest mask wins everywhere.
    labels
        The list that ``protect a list`` and ``only inside a mask`` refer to.
    """

    mode: PolicyMode = PolicyMode.REPLACE_OWN
    labels: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", PolicyMode(self.mode))
        object.__setattr__(self, "labels", frozenset(int(v) for v in self.labels))

    def merge(
        self,
        before: npt.NDArray[Any],
        mask: npt.NDArray[np.bool_],
        number: int,
        locked: Collection[int] = (),
    ) -> npt.NDArray[Any]:
        """Return the labels after ``mask`` entered ``before`` as object ``number``.

        Parameters
        ----------
        before
            Labels of a crop, any shape.
        mask
            The new mask on the same crop.
        number
            The object's label, not 0.
        locked
            Labels the user locked; like `protected`, only ``allow overlap`` may change them.

        Returns
        -------
        ndarray
            A new array of ``before``'s type.
        """
        own = before == number
        may_change = ~self.protected(before, number, locked)
        after = before.copy()
        if self.mode is not PolicyMode.ONLY_BACKGROUND:
            after[own & ~mask & may_change] = 0
        after[mask & may_change] = number
        return after

    def protected(
        self, before: npt.NDArray[Any], number: int, locked: Collection[int] = ()
    ) -> npt.NDArray[np.bool_]:
        """Return which voxels of ``before`` object ``number`` must leave as they are."""
        own = before == number
        if self.mode is PolicyMode.ALLOW_OVERLAP:
            return np.zeros(before.shape, bool)
        frozen = np.isin(before, sorted(set(locked) - {0}))
        if self.mode is PolicyMode.PROTECT_LIST:
            listed = np.isin(before, sorted(self.labels - {number}))
            return np.asarray((listed & (before != 0)) | frozen)
        if self.mode is PolicyMode.ONLY_INSIDE:
            inside = np.isin(before, sorted(self.labels))
            return np.asarray(~(inside | own) | frozen)
        return np.asarray(((before != 0) & ~own) | frozen)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the journal and the wire."""
        return {"mode": self.mode.value, "labels": sorted(self.labels)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabelPolicy:
        """Rebuild a policy written by `to_json`."""
        return cls(PolicyMode(data["mode"]), frozenset(data["labels"]))
