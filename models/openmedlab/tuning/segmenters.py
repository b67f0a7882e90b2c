"""STU-Net and PCT-Net on users' volumes: windows, all classes at once, deep supervision."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openmedlab.core import InputError, Volume
from openmedlab.misfm.frame import Frame
from openmedlab.misfm.pctnet import INPUT
from openmedlab.nn.device import autocast
from openmedlab.nn.resample import gather
from openmedlab.stunet.plan import Plan, released_plan
from openmedlab.stunet.preprocess import inside_mask, normalise, resample
from openmedlab.stunet.resample import nearest_operator
from openmedlab.stunet.structures import structures
from openmedlab.tuning.augment import augment, may_mirror
from openmedlab.tuning.cases import Case, Triple
from openmedlab.tuning.families import Family, Floats, Labels
from openmedlab.tuning.losses import scales_loss
from openmedlab.zoo.checkpoint import differences, listed
from openmedlab.zoo.errors import WeightsError
from openmedlab.zoo.registry import build_network, shapes
from openmedlab.zoo.store import WeightsStore
from openmedlab.zoo.tuned import tuned

TILES = 12


class SegmenterFamily(Family):
    """Networks with one output for every class; ``heads`` tells their tensors by name."""

    window: Triple
    heads: str

    def network(self) -> nn.Module:
        return build_network(self.card.network, len(self.names) + 1)

    def begin(self, network: Any, tensors: Mapping[str, Tensor], known: Sequence[str]) -> None:
        """Fill the network; outputs keep what they know of classes with the same name."""
        own = network.state_dict()
        heads = {name for name in own if re.search(self.heads, name)}
        expected = {n: s for n, s in shapes(network).items() if n not in heads}
        given = {n: t for n, t in tensors.items() if n not in heads}
        if lines := differences(given, expected):
            raise WeightsError(
                f"The weights to start from do not fit {self.card.name}: {listed(lines)}."
            )
        rows = {0: 0} if known else {}
        rows |= {self.names.index(n) + 1: k for k, n in enumerate(known, 1) if n in self.names}
        with torch.no_grad():
            for name in heads & tensors.keys():
                for mine, theirs in rows.items():
                    own[name][mine] = tensors[name][theirs]
        network.load_state_dict({**own, **given})

    @abstractmethod
    def scales(self, network: Any, x: Tensor) -> list[Tensor]:
        """Return logits at several resolutions, finest first."""

    def sample(self, network: Any, case: Case, random: np.random.Generator, device: str) -> Tensor:
        image, label = self._cut(case, case.draw(random, self.window))
        image, label = augment(random, image, label, mirror=may_mirror(self.names))
        return self._loss(network, image.to(device), label.to(device))

    def judge(self, network: Any, case: Case, device: str) -> tuple[float, dict[int, float]]:
        every = case.tiles(self.window)
        chosen = np.unique(np.linspace(0, len(every) - 1, TILES).astype(int))
        losses, sums = [], np.zeros((2, len(self.names) + 1))
        for start in (every[k] for k in chosen):
            image, label = (part.to(device) for part in self._cut(case, start))
            with autocast(torch.device(device)):
                scales = self.scales(network, image[None, None])
            losses.append(float(scales_loss(scales, label)))
            found = scales[0][0].argmax(0)
            for number in case.places:
                a, b = found == number, label == number
                sums[:, number] += int((a & b).sum()), int(a.sum()) + int(b.sum())
        dice = {n: 2 * sums[0, n] / sums[1, n] for n in case.places if sums[1, n]}
        return sum(losses) / len(losses), dice

    def probe(self, network: Any) -> Tensor:
        x, label = torch.zeros(1, 1, *self.window), torch.zeros(self.window, dtype=torch.uint8)
        return scales_loss(self.scales(network, x), label)

    def _cut(self, case: Case, start: Triple) -> tuple[Tensor, Tensor]:
        image, label = case.window(start, self.window, 0.0)
        return torch.from_numpy(image), torch.from_numpy(label)

    def _loss(self, network: Any, image: Tensor, label: Tensor) -> Tensor:
        with autocast(image.device):
            scales = self.scales(network, image[None, None])
        return scales_loss(scales, label)


class StuNetFamily(SegmenterFamily):
    """STU-Net, on the grid and in the grey values of the plans its weights came with."""

    rate = 2e-4
    scratch = True
    heads = r"^seg_outputs\."

    @cached_property
    def plans(self) -> dict[str, Any] | None:
        return WeightsStore().plans(self.card.name, self.weights)

    @cached_property
    def plan(self) -> Plan:
        """How the network wants its input."""
        return Plan.from_nnunet(self.plans) if self.plans else released_plan()

    @property
    def window(self) -> Triple:  # type: ignore[override]
        return self.plan.patch

    def begin(self, network: Any, tensors: Mapping[str, Tensor], known: Sequence[str]) -> None:
        outputs = next((len(t) for n, t in tensors.items() if re.search(self.heads, n)), 0)
        released = [s.label.name for s in structures().values()]
        known = known or (released if outputs == len(released) + 1 else ())
        super().begin(network, tensors, known)

    def encoder(self, network: Any) -> list[nn.Module]:
        return [network.conv_blocks_context]

    def scales(self, network: Any, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = network.deep_supervision(x)
        return found

    def prepare(self, volume: Volume, labels: Labels) -> tuple[Floats, Labels]:
        if volume.geometry.unit != "millimeter":
            raise InputError(
                f"{volume.name!r} is not in millimetres; STU-Net knows bodies, not specimens."
            )
        usual = volume.geometry.reorientation("SAR")
        array = usual.apply(volume.read())
        made = resample(array, usual.geometry.spacing, self.plan, torch.device("cpu"))
        inside = inside_mask(array, made) if self.plan.masked else None
        normalise(made.image, self.plan, inside)
        view = made.frame(usual.apply(labels))
        nearest = (
            nearest_operator(a, b).argmax(1) for a, b in zip(view.shape, made.shape, strict=True)
        )
        return made.image.numpy(), np.ascontiguousarray(gather(view, tuple(nearest)), np.uint8)


class PctNetFamily(SegmenterFamily):
    """PCT-Net, on the median voxel size of the volumes it first learned from."""

    rate = 3e-4
    window = INPUT
    heads = r"\.out_conv\d\.conv\.2\."

    def encoder(self, network: Any) -> list[nn.Module]:
        pyramid = network.pyramid_ct
        down = [pyramid.down3, pyramid.down4]
        stages = [pyramid.convtrans_e2, pyramid.convtrans_e3, pyramid.convtrans_e4]
        return [network.embeddings, *down, *stages]

    def scales(self, network: Any, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = network.multiscale(x)
        return found

    @cached_property
    def frame(self) -> dict[str, Any]:
        known: dict[str, Any] = tuned(self.weights).get("frame", {}) if self.weights else {}
        spacings = [pair.spacing for pair in self.cohort.pairs]
        return known or {"spacing": np.median(spacings, axis=0).round(4).tolist()}

    def prepare(self, volume: Volume, labels: Labels) -> tuple[Floats, Labels]:
        frame = Frame(tuple(self.frame["spacing"]))
        return frame.image(volume).numpy(), frame.labels(labels, volume.geometry)
