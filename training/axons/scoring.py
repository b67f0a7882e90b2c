"""Scores of centre lines with a tolerance, which thin and uncertain labels call for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openmedlab.axonseg.annotate import skeleton

TOLERANCE = 2
Mask = npt.NDArray[np.bool_]


@dataclass
class Score:
    """Counts of skeleton voxels, added over blocks."""

    found: int = 0
    right: int = 0
    wanted: int = 0
    reached: int = 0

    def add(self, mask: Mask, truth: Mask, lines: Mask, unknown: Mask | None = None) -> None:
        """Add one block; what is found where nothing is known does not count."""
        found = skeleton(mask) if mask.any() else mask
        if unknown is not None:
            found &= ~unknown
        self.found += int(found.sum())
        self.right += int((found & near(truth)).sum())
        self.wanted += int(lines.sum())
        self.reached += int((lines & near(mask)).sum())

    @property
    def values(self) -> tuple[float, float, float]:
        """Precision, recall and their harmonic mean."""
        precision, recall = self.right / max(self.found, 1), self.reached / max(self.wanted, 1)
        return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def near(mask: Mask) -> Mask:
    """Return the voxels within the tolerance of a mask."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask) <= TOLERANCE
