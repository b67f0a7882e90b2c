"""The whole-brain predictor's older network, a residual 3-D U-Net without learned norms."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BASE = 8


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _normed(x: Tensor) -> Tensor:
    return functional.leaky_relu(functional.instance_norm(x))


def _after_norm(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.InstanceNorm3d(inputs), nn.LeakyReLU(), _conv(inputs, outputs))


def _rise(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.InstanceNorm3d(inputs),
        nn.LeakyReLU(),
        nn.Upsample(scale_factor=2),
        _conv(inputs, outputs),
        nn.InstanceNorm3d(outputs),
        nn.LeakyReLU(),
    )


def _settle(width: int) -> nn.Sequential:
    return nn.Sequential(_conv(width, width), nn.InstanceNorm3d(width), nn.LeakyReLU())


class OlderNetwork(nn.Module):
    """Grey values (B, 1, z, y, x) to logits (B, classes, z, y, x).

    Sides must be multiples of 16, with more than one voxel left at a sixteenth. The
    checkpoint's classifier (``final_conv``, ``linear1``, ``bn``, ``linear2``) is kept and
    never run.
    """

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        b = BASE
        self.conv3d_c1_1 = _conv(1, b)
        self.conv3d_c1_2 = _conv(b, b)
        self.lrelu_conv_c1 = nn.Sequential(nn.LeakyReLU(), _conv(b, b))
        for level, width in enumerate((2 * b, 4 * b, 8 * b, 16 * b), start=2):
            setattr(self, f"conv3d_c{level}", _conv(width // 2, width, stride=2))
            setattr(self, f"norm_lrelu_conv_c{level}", _after_norm(width, width))
        self.norm_lrelu_upscale_conv_norm_lrelu_l0 = _rise(16 * b, 8 * b)
        self.conv3d_l0 = _conv(8 * b, 8 * b, 1)
        for level, width in enumerate((16 * b, 8 * b, 4 * b), start=1):
            setattr(self, f"conv_norm_lrelu_l{level}", _settle(width))
            setattr(self, f"conv3d_l{level}", _conv(width, width // 2, 1))
            name = f"norm_lrelu_upscale_conv_norm_lrelu_l{level}"
            setattr(self, name, _rise(width // 2, width // 4))
        self.conv_norm_lrelu_l4 = _settle(2 * b)
        self.conv3d_l4 = _conv(2 * b, classes, 1)
        self.ds2_1x1_conv3d = _conv(8 * b, classes, 1)
        self.ds3_1x1_conv3d = _conv(4 * b, classes, 1)
        self.final_conv = nn.Conv3d(64, 64, (1, 5, 5))
        self.linear1 = nn.Linear(8192, 1024)
        self.bn = nn.BatchNorm1d(1024)
        self.linear2 = nn.Linear(1024, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, skips = self._descended(x)
        y = self.norm_lrelu_upscale_conv_norm_lrelu_l0(y)
        y = _normed(self.conv3d_l0(y))
        sides = []
        for level in (1, 2, 3):
            y = getattr(self, f"conv_norm_lrelu_l{level}")(torch.cat([y, skips.pop()], 1))
            sides.append(y)
            y = getattr(self, f"conv3d_l{level}")(y)
            y = getattr(self, f"norm_lrelu_upscale_conv_norm_lrelu_l{level}")(y)
        y = self.conv3d_l4(self.conv_norm_lrelu_l4(torch.cat([y, skips.pop()], 1)))
        coarse = _double(self.ds2_1x1_conv3d(sides[1])) + self.ds3_1x1_conv3d(sides[2])
        out: Tensor = y + _double(coarse)
        return out

    def _descended(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the deepest map and the skips, finest first."""
        a = self.conv3d_c1_1(x)
        y = self.lrelu_conv_c1(self.conv3d_c1_2(functional.leaky_relu(a))) + a
        skips = [functional.leaky_relu(y)]
        y = _normed(y)
        for level in (2, 3, 4, 5):
            r = getattr(self, f"conv3d_c{level}")(y)
            twice = getattr(self, f"norm_lrelu_conv_c{level}")
            y = twice(twice(r)) + r
            if level < 5:
                y = _normed(y)
                skips.append(y)
        return y, skips


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2)
