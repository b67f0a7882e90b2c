"""Templates laid over a query: cosine similarity at three scales, and its maximum.

Lei et al., MedLSAM (2025), section 3.1.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from openmedlab.medlam.network import PATCH, SCALES

Features = tuple[Tensor, Tensor, Tensor]


def normalised(features: Sequence[Tensor]) -> Features:
    """Return features (B, C, ...) of unit length over the channels."""
    f0, f1, f2 = (functional.normalize(f, dim=1) for f in features)
    return f0, f1, f2


def middles(features: Sequence[Tensor]) -> Features:
    """Return the templates (B, C, k, k, k) in the middle of patches: k = 2, 4, 8 voxels."""
    cut = []
    for f, scale in zip(features, SCALES, strict=True):
        radius, middle = 4 // scale, f.shape[-1] // 2
        span = slice(middle - radius, middle + radius)
        cut.append(f[..., span, span, span])
    return cut[0], cut[1], cut[2]


def similarity(template: Tensor, features: Tensor) -> Tensor:
    """Return the mean product of a template (C, k, k, k) with every place of features (C, n, n, n).

    Equal to a convolution with padding k/2 divided by k^3: (n+1, n+1, n+1). Done as a
    convolution along x alone that has every (z, y) of the template as an output channel, and
    k^2 shifted sums: all work is in a matrix product of a good shape.
    """
    channels, k = template.shape[:2]
    n, half = features.shape[-1], k // 2
    rows = template.permute(1, 2, 0, 3).reshape(k * k, channels, 1, 1, k)
    products = functional.conv3d(features[None], rows, padding=(0, 0, half))[0]
    out = features.new_zeros((n + k, n + k, n + 1))
    for row, product in enumerate(products):
        z, y = k - 1 - row // k, k - 1 - row % k
        out[z : z + n, y : y + n] += product
    trim = slice(half - 1, half + n)
    return out[trim, trim] / k**3


def to_patch(similarity: Tensor) -> Tensor:
    """Bring a similarity map to the patch's grid, trilinearly."""
    size = (PATCH, PATCH, PATCH)
    return functional.interpolate(
        similarity[None, None], size, mode="trilinear", align_corners=False
    )[0, 0]


@dataclass(frozen=True)
class Match:
    """Where a template fits best in a patch.

    Attributes
    ----------
    offset
        From the patch's middle, 3 mm voxels (z, y, x).
    value
        1 + the sum of the three similarities there.
    """

    offset: tuple[int, int, int]
    value: float


def best_match(template: Sequence[Tensor], features: Sequence[Tensor]) -> Match:
    """Return the best place of one template in one patch, the first of equals in raster order.

    Parameters
    ----------
    template
        (C, 2, 2, 2), (C, 4, 4, 4), (C, 8, 8, 8).
    features
        Normalised, (C, 16, 16, 16), (C, 32, 32, 32), (C, 64, 64, 64).
    """
    return peak(similarity_maps(template, features))


def similarity_maps(template: Sequence[Tensor], features: Sequence[Tensor]) -> list[Tensor]:
    """Return the similarity at each scale on the patch's grid."""
    pairs = zip(template, features, strict=True)
    return [to_patch(similarity(t, f)) for t, f in pairs]


def peak(maps: Sequence[Tensor]) -> Match:
    """Return the maximum of the summed maps."""
    total = summed(maps)
    place = int(total.argmax())
    z, rest = divmod(place, PATCH * PATCH)
    y, x = divmod(rest, PATCH)
    middle = PATCH // 2 - 1
    return Match((z - middle, y - middle, x - middle), float(total.flatten()[place]))


def summed(maps: Sequence[Tensor]) -> Tensor:
    """Return 1 plus the maps."""
    return 1 + maps[0] + maps[1] + maps[2]
