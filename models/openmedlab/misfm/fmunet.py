"""FMU-Net: MIS-FM's residual pre-activation U-Net, names and shapes of the checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmedlab.misfm.layers import convolution, sides

WIDTHS = (32, 64, 128, 256, 512)
DROPOUT = 0.2
DEPTH = 2


class ResConv(nn.Module):
    """Residual units: instance norm, leaky ReLU, dropout, convolution."""

    def __init__(self, width: int, flat: bool, dropout: float) -> None:
        super().__init__()
        self.conv_list = nn.ModuleList(
            nn.Sequential(
                nn.InstanceNorm3d(width, affine=True),
                nn.LeakyReLU(),
                nn.Dropout(dropout),
                convolution(width, width, flat),
            )
            for _ in range(DEPTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.conv_list:
            x = x + unit(x)
        return x


class Down(nn.Module):
    """A unit whose convolution halves the grid (y and x alone where ``flat``)."""

    def __init__(self, inputs: int, outputs: int, flat: bool) -> None:
        super().__init__()
        conv = convolution(inputs, outputs, flat)
        conv.stride = sides(flat, 2)
        self.down = _unit(inputs, conv)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(x)
        return y


class UpCat(nn.Module):
    """A deep map narrowed and upsampled behind its skip, and a unit."""

    def __init__(self, inputs: int, outputs: int, flat: bool) -> None:
        super().__init__()
        self.up = _unit(inputs, nn.Conv3d(inputs, outputs, 1))
        self.conv = _unit(2 * outputs, convolution(2 * outputs, outputs, flat))
        self.factors = tuple(map(float, sides(flat, 2)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = functional.interpolate(
            self.up(x), scale_factor=self.factors, mode="trilinear", align_corners=True
        )
        y: Tensor = self.conv(torch.cat([skip, x], 1))
        return y


class Encoder(nn.Module):
    """Five levels down."""

    def __init__(self, flat: Sequence[bool]) -> None:
        super().__init__()
        for k, width in enumerate(WIDTHS):
            self.add_module(f"en_conv{k}", _level(k, width, flat))
        for k, (shallow, deep) in enumerate(pairwise(WIDTHS)):
            self.add_module(f"down{k}", Down(shallow, deep, flat[k]))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps of all levels, finest first."""
        maps = [self.get_submodule("en_conv0")(x)]
        for k in range(1, len(WIDTHS)):
            down, conv = self.get_submodule(f"down{k - 1}"), self.get_submodule(f"en_conv{k}")
            maps.append(conv(down(maps[-1])))
        return maps


class Decoder(nn.Module):
    """Five levels up."""

    def __init__(self, flat: Sequence[bool]) -> None:
        super().__init__()
        for k, (shallow, deep) in enumerate(pairwise(WIDTHS)):
            self.add_module(f"upcat{k}", UpCat(deep, shallow, flat[k]))
        for k, width in enumerate(WIDTHS):
            self.add_module(f"de_conv{k}", _level(k, width, flat))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the decoded maps of levels 0 to 3."""
        x, found = self.get_submodule("de_conv4")(maps[-1]), []
        for k in reversed(range(len(WIDTHS) - 1)):
            up, conv = self.get_submodule(f"upcat{k}"), self.get_submodule(f"de_conv{k}")
            x = conv(up(x, maps[k]))
            found.append(x)
        return found[::-1]


class FmuNet(nn.Module):
    """Image (B, inputs, z, y, x) to class logits (B, classes, z, y, x).

    Parameters
    ----------
    inputs, classes
        Image channels, and classes with the background.
    mode
        How many of the first levels are 2-D. Sides must be divisible by 16, z by 8 or 4 in
        modes 1 and 2, with more than one voxel at the deepest level.
    """

    def __init__(self, inputs: int = 1, classes: int = 2, mode: int = 0) -> None:
        super().__init__()
        flat = [k < mode for k in range(len(WIDTHS))]
        self.project = convolution(inputs, WIDTHS[0], flat[0])
        self.encoder = Encoder(flat)
        self.decoder = Decoder(flat)
        self.out_layers = nn.ModuleList(
            _unit(width, convolution(width, classes, flat[k]))
            for k, width in enumerate(WIDTHS[:-1])
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out_layers[0](self._decoded(x)[0])
        return logits

    def multiscale(self, x: Tensor) -> list[Tensor]:
        """Return the logits of the four decoder levels, finest first (deep supervision)."""
        return [out(d) for out, d in zip(self.out_layers, self._decoded(x), strict=True)]

    def _decoded(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.decoder(self.encoder(self.project(x)))
        return maps


def build_network(classes: int = 2) -> FmuNet:
    """Return the network of the published demo: one channel, all levels 3-D."""
    return FmuNet(classes=classes)


def _level(number: int, width: int, flat: Sequence[bool]) -> ResConv:
    return ResConv(width, flat[number], DROPOUT if number >= 2 else 0.0)


def _unit(inputs: int, layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.InstanceNorm3d(inputs, affine=True), nn.LeakyReLU(), layer)
