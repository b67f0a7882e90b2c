"""Grids and small files that the tests of this room share."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from openmedlab.core import Geometry, Label, LabelVolume, Volume

LABELS = {
    1: Label("liver", (0.8, 0.4, 0.2), "10200004"),
    3: Label("lesion, left", (0.1, 0.9, 0.3)),
    300: Label("aorta", None, "15825003"),
}


def rotation(a: float, b: float, c: float) -> np.ndarray:
    def turn(axis: int, angle: float) -> np.ndarray:
        m = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        m[i, i] = m[j, j] = np.cos(angle)
        m[i, j], m[j, i] = -np.sin(angle), np.sin(angle)
        return m

    return turn(0, a) @ turn(1, b) @ turn(2, c)


@st.composite
def geometries(draw, sheared: bool = True) -> Geometry:
    """Oblique, flipped, anisotropic and (if asked) sheared grids."""
    angle = st.floats(-3.2, 3.2) | st.sampled_from([0.0, np.pi / 2, np.pi, 3.1415])
    direction = rotation(draw(angle), draw(angle), draw(angle))
    direction = direction * [draw(st.sampled_from([1, -1])) for _ in range(3)]
    direction = direction[:, draw(st.permutations(range(3)))]
    affine = np.eye(4)
    affine[:3, :3] = direction * [draw(st.floats(0.05, 8)) for _ in range(3)]
    if sheared and draw(st.booleans()):
        shear = np.eye(3)
        shear[0, 1], shear[1, 2] = draw(st.floats(-0.5, 0.5)), draw(st.floats(-0.5, 0.5))
        affine[:3, :3] = affine[:3, :3] @ shear
    affine[:3, 3] = [draw(st.floats(-2000, 2000)) for _ in range(3)]
    shape = tuple(draw(st.integers(2, 6)) for _ in range(3))
    unit = draw(st.sampled_from(["millimeter", "micrometer"]))
    return Geometry(shape, affine, unit)


def volume_on(geometry: Geometry, dtype: str = "int16") -> Volume:
    size = int(np.prod(geometry.shape))
    return Volume((np.arange(size) - 20).astype(dtype).reshape(geometry.shape), geometry, "CT", "v")


def labels_on(geometry: Geometry) -> LabelVolume:
    values = np.array([0, 1, 3, 300])
    array = values[np.arange(int(np.prod(geometry.shape))) % 4].reshape(geometry.shape)
    return LabelVolume(array, geometry, LABELS, "organs", "builtin")
