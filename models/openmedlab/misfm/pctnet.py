"""PCT-Net: a pyramid of parallel convolution and transformer stages.

Wang G. et al., MIS-FM (2023), arXiv 2306.16925, section 3. Names and shapes of the
published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from openmedlab.misfm.layers import ConvBlock, Down, Out, Up, convolution
from openmedlab.misfm.swin import SwinStage

WIDTHS = (24, 48, 128, 256, 512)
DROPOUT = (0.0, 0.0, 0.2, 0.2, 0.2)
HEADS = (4, 8, 16)
INPUT = (64, 128, 128)


class Stem(nn.Module):
    """Two convolutional levels; the first ``flat`` ones are 2-D."""

    def __init__(self, inputs: int, flat: int) -> None:
        super().__init__()
        level = [k < flat for k in range(2)]
        self.proj = convolution(inputs, WIDTHS[0], level[0])
        self.conv0 = ConvBlock(WIDTHS[0], level[0], DROPOUT[0])
        self.conv1 = ConvBlock(WIDTHS[1], level[1], DROPOUT[1])
        self.down1 = Down(WIDTHS[0], WIDTHS[1], level[0], level[1])
        self.down2 = Down(WIDTHS[1], WIDTHS[2], level[1], False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features of levels 0 and 1, and the pyramid's input."""
        e0 = self.conv0(self.proj(x))
        e1 = self.conv1(self.down1(e0))
        return e0, e1, self.down2(e1)


class Stage(nn.Module):
    """Convolutions and attention side by side, added up."""

    def __init__(self, level: int, grid: Sequence[int]) -> None:
        super().__init__()
        width = WIDTHS[level]
        self.conv = ConvBlock(width, False, DROPOUT[level])
        self.trans = SwinStage(width, HEADS[level - 2], grid)
        self.norm_layer = nn.LayerNorm(width)  # in the checkpoints, never used

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) + self.trans(x)
        return y


class Pyramid(nn.Module):
    """Levels 2, 3 and 4, down and up again."""

    def __init__(self, classes: int, grid: Sequence[int]) -> None:
        super().__init__()
        grids = [grid, [n // 2 for n in grid], [n // 4 for n in grid]]
        self.down3 = Down(WIDTHS[2], WIDTHS[3], False, False)
        self.down4 = Down(WIDTHS[3], WIDTHS[4], False, False)
        self.up3 = Up(WIDTHS[3], WIDTHS[2], False)
        self.up4 = Up(WIDTHS[4], WIDTHS[3], False)
        self.convtrans_e2 = Stage(2, grids[0])
        self.convtrans_d2 = Stage(2, grids[0])
        self.convtrans_e3 = Stage(3, grids[1])
        self.convtrans_d3 = Stage(3, grids[1])
        self.convtrans_e4 = Stage(4, grids[2])
        self.out_conv2 = Out(WIDTHS[2], classes)
        self.out_conv3 = Out(WIDTHS[3], classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's features of levels 2 and 3."""
        e2 = self.convtrans_e2(x)
        e3 = self.convtrans_e3(self.down3(e2))
        e4 = self.convtrans_e4(self.down4(e3))
        d3 = self.convtrans_d3(self.up4(e4, e3))
        return self.convtrans_d2(self.up3(d3, e2)), d3


class Head(nn.Module):
    """Levels 1 and 0 of the decoder."""

    def __init__(self, classes: int, flat: int) -> None:
        super().__init__()
        level = [k < flat for k in range(2)]
        self.up1 = Up(WIDTHS[1], WIDTHS[0], level[0])
        self.up2 = Up(WIDTHS[2], WIDTHS[1], level[1])
        self.conv0 = ConvBlock(WIDTHS[0], level[0], DROPOUT[0])
        self.conv1 = ConvBlock(WIDTHS[1], level[1], DROPOUT[1])
        self.out_conv0 = Out(WIDTHS[0], classes)
        self.out_conv1 = Out(WIDTHS[1], classes)

    def forward(self, d2: Tensor, e1: Tensor, e0: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's features of levels 0 and 1."""
        d1 = self.conv1(self.up2(d2, e1))
        return self.conv0(self.up1(d1, e0)), d1


class PctNet(nn.Module):
    """Image (B, inputs, z, y, x) to class logits (B, classes, z, y, x).

    Parameters
    ----------
    inputs, classes
        Image channels, and classes with the background.
    input_size
        The grid it is made for (z, y, x); z divisible by 16, 8 or 4 (modes 0, 1, 2), y and x
        by 16.
    mode
        How many of the first levels are 2-D: 0 for isotropic images, 1, or 2 for thick slices.
        Checkpoints hold stems and heads of all three modes.
    """

    def __init__(
        self,
        inputs: int = 1,
        classes: int = 2,
        input_size: Sequence[int] = INPUT,
        mode: int = 1,
    ) -> None:
        super().__init__()
        self.mode = mode
        z, y, x = input_size
        grid = (z // 2 ** (2 - mode), y // 4, x // 4)
        self.embeddings = nn.ModuleList(Stem(inputs, flat) for flat in range(3))
        self.pyramid_ct = Pyramid(classes, grid)
        self.pred_heads = nn.ModuleList(Head(classes, flat) for flat in range(3))

    def decoded(self, x: Tensor) -> list[Tensor]:
        """Return the decoder's features, finest first."""
        e0, e1, e2 = self.embeddings[self.mode](x)
        d2, d3 = self.pyramid_ct(e2)
        d0, d1 = self._head(d2, e1, e0)
        return [d0, d1, d2, d3]

    @property
    def _head(self) -> Head:
        head = self.pred_heads[self.mode]
        assert isinstance(head, Head)
        return head

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self._head.out_conv0(self.decoded(x)[0])
        return logits

    def multiscale(self, x: Tensor) -> list[Tensor]:
        """Return logits at full, 1/2, 1/4 and 1/8 resolution (deep supervision)."""
        head, pyramid = self._head, self.pyramid_ct
        layers = (head.out_conv0, head.out_conv1, pyramid.out_conv2, pyramid.out_conv3)
        return [out(d) for out, d in zip(layers, self.decoded(x), strict=True)]


def build_network(classes: int = 2) -> PctNet:
    """Return the network of the published demo: one channel, 64 x 128 x 128, mode 1."""
    return PctNet(classes=classes)
