"""SAM-Med3D on users' volumes: windows as its frame cuts them, clicks of a simulated user.

Wang et al., SAM-Med3D (ECCV workshops 2024), section 3.2: clicks go where the mask is wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openmedlab.core import Volume
from openmedlab.evaluation import metrics
from openmedlab.nn.device import autocast
from openmedlab.sam_med3d.clicks import next_click
from openmedlab.sam_med3d.frame import SIZE, Frame, normalised, window
from openmedlab.sam_med3d.network import GRID, LOW, WIDTH, upsample
from openmedlab.tuning.augment import augment
from openmedlab.tuning.cases import Case
from openmedlab.tuning.families import Family, Floats, Labels
from openmedlab.tuning.losses import mask_loss

ROUNDS = 3
JITTER = 16
PLACES = 4
KEPT = 512
CUBE = (SIZE, SIZE, SIZE)

Start = tuple[int, int, int]


class SamMed3DFamily(Family):
    """SAM-Med3D: one object a sample, up to three rounds of clicks.

    With a frozen encoder the windows come from a few fixed places of every object, so that
    their embeddings are computed once.
    """

    batch = 2
    rate = 5e-5
    task = "promptable"
    kept_bytes = KEPT * WIDTH * GRID**3 * 4

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._embeddings: OrderedDict[tuple[str, Start], Tensor] = OrderedDict()

    def encoder(self, network: Any) -> list[nn.Module]:
        return [network.image_encoder]

    def prepare(self, volume: Volume, labels: Labels) -> tuple[Floats, Labels]:
        frame = Frame(volume.geometry)
        image = np.empty(frame.geometry.shape, np.float32)
        depth, height, width = (range(0, n, SIZE) for n in image.shape)
        for start in product(depth, height, width):
            area = window(start).clipped(image.shape)
            part = frame.sample(volume, start)
            image[area.slices] = part[area.relative_to(window(start)).slices]
        return image, np.ascontiguousarray(frame.resample_label(labels), np.uint8)

    def sample(self, network: Any, case: Case, random: np.random.Generator, device: str) -> Tensor:
        number = int(random.choice(sorted(case.places)))
        frozen, place = _is_frozen(network), int(random.integers(PLACES))
        own = np.random.default_rng((number, place)) if frozen else random
        middle = own.choice(case.places[number]) + own.integers(-JITTER, JITTER + 1, 3)
        image, label = case.window(_around(middle), CUBE, 0.0)
        target = torch.from_numpy((label == number).T.copy())
        if frozen:
            embedding = self._embedding(network, (case.name, _around(middle)), image, device)
        else:
            changed, turned = augment(random, _to_network(image), target.byte(), mirror=True)
            target = turned.bool() if turned.any() else target
            embedding = _embed(network, changed if turned.any() else _to_network(image), device)
        rounds = 1 + int(random.integers(ROUNDS))
        losses, _ = _play(network, embedding, target, rounds, int(random.integers(2**31)))
        return losses.mean()

    def judge(self, network: Any, case: Case, device: str) -> tuple[float, dict[int, float]]:
        losses, dice = [], {}
        for number, places in case.places.items():
            middle = (places.min(0) + places.max(0)) / 2
            start = _around(places[((places - middle) ** 2).sum(1).argmin()])
            image, label = case.window(start, CUBE, 0.0)
            target = torch.from_numpy((label == number).T.copy())
            if _is_frozen(network):
                embedding = self._embedding(network, (case.name, start), image, device)
            else:
                embedding = _embed(network, _to_network(image), device)
            found, mask = _play(network, embedding, target, 2, number)
            losses.append(float(found[-1]))
            dice[number] = metrics.dice(mask.numpy(), target.numpy())
        return sum(losses) / len(losses), dice

    def probe(self, network: Any) -> Tensor:
        low = torch.zeros(1, 1, LOW, LOW, LOW)
        target = torch.zeros(SIZE, SIZE, SIZE, dtype=torch.bool)
        embedding = network.image_encoder(torch.zeros(1, 1, SIZE, SIZE, SIZE))
        losses = []
        for clicks in range(1, ROUNDS + 1):
            points, signs = torch.zeros(1, clicks, 3), torch.ones(1, clicks, dtype=torch.int64)
            logits = network.decode(embedding, points, signs, low)
            losses.append(mask_loss(upsample(logits)[0, 0], target))
        return torch.stack(losses).mean()

    def _embedding(
        self, network: Any, key: tuple[str, Start], image: Floats, device: str
    ) -> Tensor:
        """Return what a frozen encoder makes of a window; the newest `KEPT` are remembered."""
        if key not in self._embeddings:
            with torch.no_grad():
                self._embeddings[key] = _embed(network, _to_network(image), device).cpu()
            while len(self._embeddings) > KEPT:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(key)
        return self._embeddings[key].to(device)


def _play(
    network: Any, embedding: Tensor, target: Tensor, rounds: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Let a simulated user click ``rounds`` times; return every round's loss and the last mask."""
    stream = np.random.RandomState(seed)
    device = embedding.device
    wanted, mask = target.numpy(), torch.zeros_like(target)
    low = torch.zeros(1, 1, LOW, LOW, LOW, device=device)
    clicks: list[tuple[npt.NDArray[np.int64], bool]] = []
    losses = []
    for _ in range(rounds):
        clicks.append(next_click(mask.numpy(), wanted, "random", stream))
        points = torch.tensor(np.array([[point for point, _ in clicks]]), dtype=torch.float32)
        signs = torch.tensor([[int(positive) for _, positive in clicks]])
        with autocast(device):
            logits = network.decode(embedding, points.to(device), signs.to(device), low).float()
        low, fine = logits.detach(), upsample(logits)[0, 0]
        losses.append(mask_loss(fine, target.to(device)))
        mask = (fine.detach() > 0).cpu()
    return torch.stack(losses), mask


def _embed(network: Any, image: Tensor, device: str) -> Tensor:
    """Return the embedding of a normalised window (x, y, z)."""
    with autocast(torch.device(device)):
        embedding: Tensor = network.image_encoder(image[None, None].to(device)).float()
    return embedding


def _to_network(image: Floats) -> Tensor:
    """Return a raw window (z, y, x) as the network wants it: normalised, (x, y, z)."""
    return torch.from_numpy(normalised(image).T.copy())


def _around(middle: npt.NDArray[np.int64]) -> Start:
    z, y, x = (int(v) - SIZE // 2 for v in middle)
    return z, y, x


def _is_frozen(network: Any) -> bool:
    return not any(p.requires_grad for p in network.image_encoder.parameters())
