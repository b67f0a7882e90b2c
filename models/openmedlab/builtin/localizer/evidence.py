"""What one aligned template says of an organ: its points in the query, and its evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.localizer.align import Alignment
from openmedlab.builtin.localizer.match import CELL
from openmedlab.core import Geometry

Points = npt.NDArray[np.float64]

AXES = "SPL"
AXIS = (2, 1, 0, 2, 1, 0)
SIGN = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Guess:
    """An organ as one template places it.

    Attributes
    ----------
    points
        (6, 3) LPS mm on the organ's surface in the query: most inferior, anterior, right,
        superior, posterior, left.
    bits
        Mean bits by which the codes in the organ's box differ, 0..64.
    cut
        Share of the six points that lie at the faces of the template's field of view.
    score
        Correlation of the coarse translation.
    """

    points: Points
    bits: float
    cut: float
    score: float


def surface(points: Points, geometry: Geometry) -> Points:
    """Move a template's points (6, 3) from the centres of its outermost voxels to their faces."""
    half = np.asarray(geometry.reorientation(AXES).geometry.spacing) / 2
    moved = np.array(points, np.float64)
    for row, (axis, sign) in enumerate(zip(AXIS, SIGN, strict=True)):
        moved[row, axis] += sign * half[2 - axis]
    return moved


def guess(alignment: Alignment, marked: Points) -> Guess:
    """Carry an organ's surface points (6, 3) in LPS mm into the query, and weigh them."""
    points = alignment.carry(marked)
    index = alignment.template.index(marked)
    low, high = index.min(0), index.max(0)
    first = np.clip((low - alignment.map.start) // CELL, 0, None).astype(int)
    last = ((high - alignment.map.start) // CELL).astype(int) + 1
    inside = tuple(slice(int(a), int(max(b, a + 1))) for a, b in zip(first, last, strict=True))
    weight, bits = alignment.matched.weight[inside], alignment.matched.bits[inside]
    end = np.asarray(alignment.template.image.shape) - 1
    at_face = (index < 0.5) | (index > end - 0.5)
    return Guess(
        points=points,
        bits=float((weight * bits).sum() / weight.sum()) if weight.size else 64.0,
        cut=float(at_face.any(1).mean()),
        score=alignment.score,
    )
