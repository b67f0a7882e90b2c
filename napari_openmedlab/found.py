"""What the *Localize* widget knows of one scan: organs, their boxes, what was decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_openmedlab.layers.boxes import OrganBox
from openmedlab.core import ExtremePoints, Localization
from openmedlab.localization.result import LOW_CONFIDENCE
from openmedlab.localization.review import Decision

Float64 = npt.NDArray[np.float64]
SURE, LOW, DONE = "#3ddc84", "#ff9f43", "#4dabf7"


@dataclass
class FoundOrgan:
    """One organ of the open scan.

    Attributes
    ----------
    organ, code
        Name and SNOMED CT code.
    located
        What the localizer said; None where it found nothing.
    lower, upper
        Box in index coordinates (z, y, x), both ends included, as the user left it.
    decision
        What was decided; None before.
    masked
        Whether its mask is in the labelmap.
    """

    organ: str
    code: str
    located: Localization | None
    lower: Float64
    upper: Float64
    decision: Decision | None = None
    masked: bool = False

    @classmethod
    def of(cls, organ: str, code: str, located: Localization | None) -> FoundOrgan:
        """Start from what the localizer said."""
        index = located.points.positions() if located is not None else np.full((1, 3), np.nan)
        return cls(organ, code, located, index.min(0), index.max(0))

    @property
    def confidence(self) -> float:
        """What the localizer said, 0 where it found nothing."""
        return self.located.confidence if self.located is not None else 0.0

    @property
    def low(self) -> bool:
        """Whether the box deserves a look before anything else."""
        return self.confidence < LOW_CONFIDENCE

    @property
    def moved(self) -> bool:
        """Whether the box is no longer where the localizer put it."""
        if self.located is None:
            return False
        index = self.located.points.positions()
        box = np.stack([self.lower, self.upper])
        return not np.allclose(box, [index.min(0), index.max(0)], atol=0.01)

    @property
    def points(self) -> ExtremePoints:
        """The six points: those found, each drawn to the side of the box that was moved."""
        assert self.located is not None
        index = self.located.points.positions()
        first, last = index.argmin(0), index.argmax(0)
        for axis in range(3):
            index[first[axis], axis] = self.lower[axis]
            index[last[axis], axis] = self.upper[axis]
        inside = np.clip(index, self.lower, self.upper)
        return ExtremePoints(tuple((float(z), float(y), float(x)) for z, y, x in inside))

    def take(self, points: ExtremePoints) -> None:
        """Put the box round these points."""
        index = points.positions()
        self.lower, self.upper = index.min(0), index.max(0)

    def box(self) -> OrganBox | None:
        """Return what the layer shows; nothing of a box that was rejected or never found."""
        if self.located is None or self.decision == "rejected":
            return None
        color = DONE if self.decision else LOW if self.low else SURE
        doubt = "?" if self.low and not self.decision else ""
        label = f"{self.organ.replace('_', ' ')} {self.confidence:.2f}{doubt}"
        return OrganBox(self.lower.copy(), self.upper.copy(), label, color)
