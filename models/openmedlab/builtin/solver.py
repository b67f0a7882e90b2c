"""Random walker with priors: smooth a probability along edges of the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]


def random_walker(
    image: Float,
    spacing: npt.ArrayLike,
    prior: Float,
    trust: Float | float,
    seeds: npt.NDArray[np.int8],
    beta: float = 40.0,
    tolerance: float = 2e-2,
    check: Callable[[], None] | None = None,
) -> Float:
    """Return the probability of foreground that is smooth except across image edges.

    Minimises ``sum_ij w_ij (x_i - x_j)^2 + sum_i trust_i (x_i - prior_i)^2`` with
    ``w_ij = exp(-beta (I_i - I_j)^2) / h_ij^2``, by conjugate gradients.

    Parameters
    ----------
    image
        (z, y, x), scaled so that a difference of about 1 spans the object's contrast.
    spacing
        Cell size along (z, y, x).
    prior, trust
        What is believed beforehand, 0..1, and how strongly.
    seeds
        1 foreground, -1 background, 0 free.
    check
        Called between iterations (cancel).

    Notes
    -----
    Grady 2005, "Multilabel random walker image segmentation using prior models", CVPR, eq. 11.
    """
    from scipy.sparse import dia_array
    from scipy.sparse.linalg import LinearOperator, cg

    shape, n = image.shape, image.size
    free = seeds == 0
    known = (seeds > 0).astype(np.float32)
    step = np.asarray(spacing, float)
    scale = step / step.min()
    bands, offsets = [], []
    diagonal = np.where(free, trust, 1).astype(np.float32)
    right = np.where(free, trust * prior, known).astype(np.float32)
    for axis, jump in enumerate((shape[1] * shape[2], shape[2], 1)):
        if shape[axis] == 1:
            continue
        here = tuple(slice(0, -1) if k == axis else slice(None) for k in range(3))
        there = tuple(slice(1, None) if k == axis else slice(None) for k in range(3))
        edge = (np.exp(-beta * (image[here] - image[there]) ** 2) + 1e-4) / scale[axis] ** 2
        band = np.zeros(shape, np.float32)
        band[here] = edge * (free[here] & free[there])
        for side, other in ((here, there), (there, here)):
            diagonal[side] += edge * free[side]
            right[side] += edge * known[other] * free[side]
        bands += [-band.ravel(), -np.roll(band.ravel(), jump)]
        offsets += [-jump, jump]
    system = dia_array((np.stack([*bands, diagonal.ravel()]), [*offsets, 0]), shape=(n, n))
    inverse = 1 / diagonal.ravel()
    jacobi = LinearOperator((n, n), matvec=lambda v: v * inverse, dtype=np.float32)

    def watch(_: object) -> None:
        if check is not None:
            check()

    start = np.where(free, prior, known).ravel().astype(np.float32)
    limit = tolerance * float(np.sqrt((diagonal[free] ** 2).sum()))
    solution, _ = cg(
        system, right.ravel(), x0=start, rtol=0, atol=limit, maxiter=200, M=jacobi, callback=watch
    )
    return np.clip(solution, 0, 1).reshape(shape).astype(np.float32)
