"""Hypothesis strategies: grids as odd as real ones, and the small things on them."""

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from openmedlab.core import Box, Geometry, Lasso, Point, Scribble

small = st.integers(1, 7)
shapes = st.tuples(small, small, small)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def geometries(draw, shape=shapes):
    """Rotated, flipped, sheared, anisotropic grids far from the origin."""
    rng = np.random.default_rng(draw(seeds))
    matrix = Rotation.random(random_state=rng).as_matrix() if draw(st.booleans()) else np.eye(3)
    matrix = matrix[:, rng.permutation(3)] * rng.choice([-1, 1], 3)
    if draw(st.booleans()):
        shear = np.eye(3)
        shear[np.triu_indices(3, 1)] = rng.uniform(-0.4, 0.4, 3)
        matrix = matrix @ shear
    affine = np.eye(4)
    affine[:3, :3] = matrix * rng.uniform(0.2, 6, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    return Geometry(draw(shape), affine, draw(st.sampled_from(["millimeter", "micrometer"])))


@st.composite
def prompts(draw, shape):
    """One prompt of any drawn kind inside a grid of ``shape`` (at least 4 voxels an axis)."""
    inside = st.tuples(*(st.floats(-0.49, n - 0.51) for n in shape))
    positive = draw(st.booleans())
    kind = draw(st.sampled_from(["point", "box", "scribble", "lasso"]))
    if kind == "point":
        return Point(draw(inside), positive)
    if kind == "scribble":
        return Scribble.from_path(draw(st.lists(inside, min_size=1, max_size=4)), positive)
    a, b = [0, 0, 0], [n - 1 for n in shape]
    if kind == "box":
        return Box(a, b, positive)
    z = draw(st.integers(0, shape[0] - 1))
    corners = [(z, 0, 0), (z, b[1], 0), (z, b[1], b[2]), (z, 0, b[2])]
    return Lasso(tuple(corners), positive)
