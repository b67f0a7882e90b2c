"""Running the network on tiles: features first, class probabilities plane by plane."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from openmedlab.nn.device import autocast
from openmedlab.stunet.cpu import OpenVinoFeatures
from openmedlab.stunet.network import StuNetwork


class Predictor:
    """A network on its device.

    The last layer has many more outputs than inputs, so only features are kept of a
    tile and turned into probabilities a few planes at a time.

    Parameters
    ----------
    network
        With its weights.
    device
        Where it runs.
    mirror
        Average over all eight mirrored views of a tile (eight times slower).
    batch
        Tiles at once.
    openvino
        Run on the CPU through OpenVINO.
    """

    def __init__(
        self,
        network: StuNetwork,
        device: torch.device,
        mirror: bool = False,
        batch: int = 1,
        openvino: bool = False,
    ) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.device = device
        self.batch = batch
        self._mirror = mirror
        self._features = OpenVinoFeatures(network) if openvino else self.network.features
        axes = (2, 3, 4)
        self.views = [v for n in range(4 if mirror else 1) for v in combinations(axes, n)]
        self._weight = network.head.weight.detach().float().flatten(1)
        bias = network.head.bias
        assert bias is not None
        self._bias = bias.detach().float()[:, None]
        self.classes = len(self._weight)

    def moved(self, device: torch.device) -> Predictor:
        """Return the same on a device, one tile at a time; this one is of no use any more."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return Predictor(self.network, device, self._mirror)

    def features(self, tiles: Tensor) -> Iterator[Tensor]:
        """Yield what `probabilities` takes, (B, F, z, y, x), one for every mirrored view."""
        for axes in self.views:
            with autocast(self.device):
                found = self._features(tiles.flip(axes) if axes else tiles)
            yield found.flip(axes) if axes else found

    def probabilities(self, features: Tensor) -> Tensor:
        """Return one view's share of the class probabilities, (F, ...) -> (classes, ...)."""
        logits = torch.addmm(self._bias, self._weight, features.float().flatten(1))
        logits -= logits.amax(0)
        logits.exp_()  # far quicker than torch.softmax along the first axis
        logits /= logits.sum(0) * len(self.views)
        return logits.unflatten(1, features.shape[1:])
