"""Small layers of the SAM family, for planes and volumes alike."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of a channels-first map (B, C, ...), at each position."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        last = functional.layer_norm(
            x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.eps
        )
        return last.movedim(-1, 1)


class FeedForward(nn.Module):
    """Two linear layers with an activation between: (..., width) -> (..., width)."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lin2(self.activation(self.lin1(x)))
        return y


class Perceptron(nn.Module):
    """Three linear layers with ReLU between, none after: (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        widths = (inputs, hidden, hidden, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = functional.relu(layer(x))
        y: Tensor = self.layers[-1](x)
        return y


def neck(dimensions: int, inputs: int, outputs: int) -> nn.Sequential:
    """Return the encoder's last layers, (B, inputs, grid) -> (B, outputs, grid)."""
    conv = CONVOLUTION[dimensions]
    return nn.Sequential(
        conv(inputs, outputs, 1, bias=False),
        ChannelNorm(outputs),
        conv(outputs, outputs, 3, padding=1, bias=False),
        ChannelNorm(outputs),
    )


def to_depth(x: Tensor) -> Tensor:
    """Turn every 2x2x2 block of (B, C, z, y, x) into eight channels."""
    b, c, z, y, x_ = x.shape
    blocks = x.reshape(b, c, z // 2, 2, y // 2, 2, x_ // 2, 2)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, 8 * c, z // 2, y // 2, x_ // 2)


def to_space(x: Tensor) -> Tensor:
    """Undo `to_depth`, of one channel."""
    b, _, z, y, x_ = x.shape
    blocks = x.reshape(b, 2, 2, 2, z, y, x_).permute(0, 4, 1, 5, 2, 6, 3)
    return blocks.reshape(b, 1, 2 * z, 2 * y, 2 * x_)
