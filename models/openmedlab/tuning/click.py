"""openmedlab-click on users' volumes: the windows and the simulated hand of its own training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openmedlab.clicknet.load import BUNDLED
from openmedlab.clicknet.network import INPUTS, SIDE, ClickNet
from openmedlab.clicknet.simulate import Exercise, Labelled, exercise
from openmedlab.clicknet.task import ROUNDS, play
from openmedlab.core import Volume
from openmedlab.evaluation import metrics
from openmedlab.nn.device import autocast
from openmedlab.tuning.cases import Case
from openmedlab.tuning.families import Family, Floats, Labels
from openmedlab.tuning.losses import mask_loss
from openmedlab.zoo.card import CardFile, ModelCard

OPENINGS = 2

CARD = ModelCard(
    name="openmedlab-click",
    title="OpenMEDLab click network",
    task="promptable",
    prompts=("point", "box", "scribble", "lasso", "extreme points", "mask"),
    dimensionality=3,
    files=(CardFile(BUNDLED.name),),
    licence="CC-BY-4.0",
    licence_url="https://creativecommons.org/licenses/by/4.0/",
    citation="napari-openmedlab; OpenKBP: Babier A. et al., Medical Physics 48 (2021)",
    memory="0.01 GB of weights",
    network="openmedlab-click",
    notes="Bundled; trained on generated volumes and on OpenKBP.",
)


class ClickFamily(Family):
    """The bundled click network: one object in its window a sample, after none to three clicks."""

    batch = 4
    rate = 5e-4
    scratch = True
    task = "promptable"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._labelled: dict[str, Labelled] = {}
        self._openings: dict[tuple[str, int, int], Exercise] = {}

    def network(self) -> nn.Module:
        return ClickNet()

    def encoder(self, network: Any) -> list[nn.Module]:
        return [network.encoder]

    def prepare(self, volume: Volume, labels: Labels) -> tuple[Floats, Labels]:
        turn = volume.geometry.reorientation("SAR")
        image = np.ascontiguousarray(turn.apply(volume.read()), np.float32)
        return image, np.ascontiguousarray(turn.apply(labels), np.uint8)

    def sample(self, network: Any, case: Case, random: np.random.Generator, device: str) -> Tensor:
        made = exercise(random, self._volume(case))
        rounds = int(random.choice(len(ROUNDS), p=ROUNDS))
        network.eval()
        with autocast(torch.device(device)):
            logits = play(network, [made], rounds, random)
        return mask_loss(logits[0, 0], made.target.to(logits.device))

    def judge(self, network: Any, case: Case, device: str) -> tuple[float, dict[int, float]]:
        losses, dice = [], {}
        for number in case.places:
            found = []
            for k in range(OPENINGS):
                made = self._opening(case, number, k).copy()
                random = np.random.default_rng(k)
                for _ in range(2):
                    with autocast(torch.device(device)):
                        logits = play(network, [made], 0, random)[0, 0].float().cpu()
                    losses.append(float(mask_loss(logits, made.target)))
                    mask = logits > 0
                    made.correct(random, mask)
                found.append(metrics.dice(mask.numpy(), made.target.numpy()))
            dice[number] = float(np.mean(found))
        return float(np.mean(losses)), dice

    def probe(self, network: Any) -> Tensor:
        logits = network.eval()(torch.zeros(1, INPUTS, SIDE, SIDE, SIDE))
        return mask_loss(logits[0, 0], torch.zeros(SIDE, SIDE, SIDE))

    def _volume(self, case: Case) -> Labelled:
        if case.name not in self._labelled:
            self._labelled[case.name] = self._of(case, case.label)
        return self._labelled[case.name]

    def _opening(self, case: Case, number: int, k: int) -> Exercise:
        """Return a window around an object with its first prompt, the same every time."""
        key = (case.name, number, k)
        if key not in self._openings:
            alone = self._of(case, (case.label == number).astype(np.uint8))
            self._openings[key] = exercise(np.random.default_rng((number, k)), alone)
        return self._openings[key]

    def _of(self, case: Case, labels: Labels) -> Labelled:
        spacing = next(p.spacing for p in self.cohort.pairs if p.name == case.name)
        return Labelled(case.image, labels, spacing)
