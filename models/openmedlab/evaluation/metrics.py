"""How alike two masks are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openmedlab.core import InputError, Region

Mask = npt.NDArray[np.bool_]


def dice(a: Mask, b: Mask) -> float:
    """Return the Dice coefficient of two masks; 1 when both are empty.

    Dice 1945, "Measures of the amount of ecologic association between species".
    """
    _same_shape(a, b)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0


def surface_dice(a: Mask, b: Mask, spacing: Sequence[float], tolerance: float = 2.0) -> float:
    """Return the normalised surface Dice (NSD): the share of both surfaces within ``tolerance``.

    Parameters
    ----------
    a, b
        Boolean masks (z, y, x) of one shape.
    spacing
        Voxel size along (z, y, x) in mm.
    tolerance
        Distance in mm up to which surfaces count as the same.

    Returns
    -------
    float
        0..1; 1 when both masks are empty, 0 when one is.

    Notes
    -----
    Nikolov et al. 2021, J Med Internet Res 23(7):e26151, with the surface taken as the
    mask's voxels that have a face neighbour outside (or lie on the border of the volume).
    """
    from scipy import ndimage as ndi

    _same_shape(a, b)
    boxes = [Region.of_mask(m) for m in (a, b)]
    if boxes[0] is None or boxes[1] is None:
        return 1.0 if boxes[0] is boxes[1] else 0.0
    area = boxes[0].union(boxes[1])
    edges = []
    for mask in (a, b):
        crop = mask[area.slices]
        edges.append(crop & ~ndi.binary_erosion(crop))
    near = 0
    for edge, other in (edges, edges[::-1]):
        distance = ndi.distance_transform_edt(~other, sampling=spacing)
        near += int(np.count_nonzero(distance[edge] <= tolerance))
    return near / sum(int(np.count_nonzero(e)) for e in edges)


def normalised_auc(values: Sequence[float]) -> float:
    """Return the area under ``values`` by the trapezoid rule over equal steps, scaled to 0..1."""
    v = np.asarray(values, float)
    return float(v[0]) if len(v) == 1 else float(((v[1:] + v[:-1]) / 2).mean())


def _same_shape(a: Mask, b: Mask) -> None:
    if a.shape != b.shape:
        raise InputError(f"Masks to compare must have one shape, not {a.shape} and {b.shape}.")
