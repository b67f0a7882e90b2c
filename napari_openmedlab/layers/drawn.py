"""Where a click was drawn on a slice that is not at right angles to its axis.

napari shows such slices without their out-of-plane rotation or shear, yet turns clicks
into data coordinates with all of it, so that a new point appears (and lies) away from the
cursor. `as_drawn` gives the voxel that was under the cursor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from napari.components import Dims
from napari.layers import Layer

from napari_openmedlab.layers.geometry import transform_of

Float64 = npt.NDArray[np.float64]


def is_oblique(layer: Layer, dims: Dims) -> bool:
    """Whether the displayed slice is tilted or sheared out of its plane."""
    if layer.ndim < 3 or dims.ndisplay == 3:
        return False
    shown, across = _axes(layer, dims)
    matrix = transform_of(layer)
    mixed = (
        np.abs(matrix[np.ix_(shown, across)]).max() + np.abs(matrix[np.ix_(across, shown)]).max()
    )
    return bool(mixed > 1e-6 * np.abs(matrix[:3, :3]).max())


def as_drawn(layer: Layer, dims: Dims, points: Float64) -> Float64:
    """Return the data coordinates (N, 3) of the voxels shown where ``points`` were clicked.

    Parameters
    ----------
    points
        (N, 3) data coordinates as napari made them from the cursor's world position.
    """
    shown, across = _axes(layer, dims)
    matrix = transform_of(layer)
    world = points @ matrix[:3, :3].T + matrix[:3, 3]
    inverse = np.linalg.inv(matrix)
    drawn = np.empty_like(points)
    flat = matrix[np.ix_(shown, shown)]
    drawn[:, shown] = np.linalg.solve(flat, (world[:, shown] - matrix[shown, 3]).T).T
    drawn[:, across] = world[:, across] @ inverse[np.ix_(across, across)].T + inverse[across, 3]
    return drawn


def _axes(layer: Layer, dims: Dims) -> tuple[list[int], list[int]]:
    first = dims.ndim - layer.ndim
    shown = [axis - first for axis in dims.displayed]
    return shown, [axis for axis in range(layer.ndim) if axis not in shown]
