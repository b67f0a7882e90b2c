"""MedLAM's network: a patch in, where it lies in the body, and features for matching.

Lei et al., MedLSAM: Localize and segment anything model for 3D CT images (Medical Image
Analysis, 2025), section 3.1. Names and shapes are those of the published checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 64
WIDTH = 24
CLASSES = 3
SCALES = (4, 2, 1)
"""Voxels of the patch per voxel of features 0, 1 and 2."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoder leaves: the blocks before each pooling, and the bottleneck."""

    skips: tuple[Tensor, Tensor, Tensor, Tensor]
    bottleneck: Tensor


class Unit(nn.Module):
    """A convolution, each channel of each patch normalised, cut below 0.

    The normalisation takes away any constant, so the convolution's bias is not added.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        convolution = nn.ModuleDict({"Conv": nn.Conv3d(inputs, outputs, 3, padding=1)})
        self.model = nn.ModuleDict({"conv1_1": convolution})

    def forward(self, x: Tensor) -> Tensor:
        weight = self.get_parameter("model.conv1_1.Conv.weight")
        y = functional.conv3d(x, weight, padding=1)
        return functional.relu_(functional.instance_norm(y))


class MedLamNetwork(nn.Module):
    """MedLAM's network.

    Parameters
    ----------
    width
        Unit of the channel numbers (24 in the published network).
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        w = width
        self.conv0_1, self.conv0_2 = Unit(1, 2 * w), Unit(2 * w, 2 * w)
        self.conv1_1, self.conv1_2 = Unit(2 * w, 2 * w), Unit(2 * w, 2 * w)
        self.conv2_1, self.conv2_2 = Unit(2 * w, 2 * w), Unit(2 * w, 4 * w)
        self.conv3_1, self.conv3_2 = Unit(4 * w, 4 * w), Unit(4 * w, 8 * w)
        self.conv4_1, self.conv4_2 = Unit(8 * w, 8 * w), Unit(8 * w, 16 * w)
        self.conv5_1, self.conv5_2 = Unit(24 * w, 8 * w), Unit(8 * w, 8 * w)
        self.conv6_1, self.conv6_2 = Unit(12 * w, 4 * w), Unit(4 * w, 4 * w)
        self.conv7_1, self.conv7_2 = Unit(6 * w, 4 * w), Unit(4 * w, 4 * w)
        self.conv8_1, self.conv8_2 = Unit(6 * w, 4 * w), Unit(4 * w, 4 * w)
        self.classification = nn.Sequential(nn.Conv3d(4 * w, CLASSES, 1))
        self.fc1 = nn.Linear((PATCH // 16) ** 3 * 16 * w, 8 * w)
        self.fc2 = nn.Linear(8 * w, 4 * w)
        self.fc3 = nn.Linear(4 * w, 3)

    def encode(self, x: Tensor) -> Encoded:
        """Encode patches (B, 1, z, y, x) in 0..1 whose sides are multiples of 16."""
        skips = []
        for level in range(5):
            if level:
                x = functional.max_pool3d(x, 2)
            x = self._pair(level, x)
            skips.append(x)
        return Encoded((skips[0], skips[1], skips[2], skips[3]), x)

    def code(self, encoded: Encoded) -> Tensor:
        """Return the place in the body (B, 3) of patches of 64^3, in (z, y, x).

        Only the difference of two codes means anything (`displacement`).
        """
        code: Tensor = self.fc3(self.fc2(self.fc1(encoded.bottleneck.flatten(1))))
        return code

    def features(self, encoded: Encoded) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features for matching (B, 96, ...) at 1/4, 1/2 and the full grid."""
        x, found = encoded.bottleneck, []
        for level, skip in zip((5, 6, 7, 8), reversed(encoded.skips), strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = self._pair(level, torch.cat([x, skip], 1))
            found.append(x)
        return found[1], found[2], found[3]

    def forward(self, x: Tensor) -> Tensor:
        """Return the class probabilities (B, 3, z, y, x), which localising does not use."""
        probability: Tensor = self.classification(self.features(self.encode(x))[2]).sigmoid()
        return probability

    def _pair(self, level: int, x: Tensor) -> Tensor:
        for k in (1, 2):
            x = self.get_submodule(f"conv{level}_{k}")(x)
        return x


def build_network() -> MedLamNetwork:
    """Return the published network: 44 tensors, 15,067,878 parameters."""
    return MedLamNetwork()
