"""How the networks of each kind learn: the one table that a further kind joins."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from openmedlab.core import Volume
from openmedlab.tuning.data import Cohort
from openmedlab.zoo.card import ModelCard
from openmedlab.zoo.recognise import require_fit
from openmedlab.zoo.registry import build_network, load_object, shapes

if TYPE_CHECKING:
    from openmedlab.tuning.cases import Case

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]

CLICK = "openmedlab-click"

FAMILIES = {
    CLICK: "openmedlab.tuning.click:ClickFamily",
    "sam-med3d": "openmedlab.tuning.sam_med3d:SamMed3DFamily",
    "stu-net-s": "openmedlab.tuning.segmenters:StuNetFamily",
    "stu-net-b": "openmedlab.tuning.segmenters:StuNetFamily",
    "stu-net-l": "openmedlab.tuning.segmenters:StuNetFamily",
    "stu-net-h": "openmedlab.tuning.segmenters:StuNetFamily",
    "pct-net-volf": "openmedlab.tuning.segmenters:PctNetFamily",
}


class Family(ABC):
    """How networks of one kind learn.

    Parameters
    ----------
    card
        Of the model to start from.
    names
        Labels to learn; number k + 1 of the prepared labels is ``names[k]``.
    cohort
        For what is measured on all of it, such as the voxel size.
    weights
        The file it starts from, for what comes with it; None for random weights.

    Attributes
    ----------
    batch, rate, average
        Samples of an update, the greatest learning rate, and the share of the weights' running
        average that survives an update, unless asked for otherwise.
    scratch
        Whether it makes sense to start from random weights.
    task
        Of the new model's card.
    kept_bytes
        What is remembered in few-shot mode.
    """

    batch = 2
    rate = 1e-4
    average = 0.99
    scratch = False
    task = "labels"
    kept_bytes = 0

    def __init__(
        self, card: ModelCard, names: Sequence[str], cohort: Cohort, weights: Path | None
    ) -> None:
        self.card, self.names, self.cohort, self.weights = card, tuple(names), cohort, weights

    def network(self) -> nn.Module:
        """Return the network with random weights, for as many classes as there are names."""
        return build_network(self.card.network)

    def begin(self, network: Any, tensors: Mapping[str, Tensor], known: Sequence[str]) -> None:
        """Fill the network from a checkpoint that knows the classes ``known``.

        Raises
        ------
        WeightsError
            It is of another network.
        """
        require_fit(tensors, self.card, shapes(network), "The checkpoint to start from")
        network.load_state_dict(tensors)

    @abstractmethod
    def encoder(self, network: Any) -> list[nn.Module]:
        """Return the parts that stay as they are in few-shot mode."""

    @abstractmethod
    def prepare(self, volume: Volume, labels: Labels) -> tuple[Floats, Labels]:
        """Return image and labels on the grid that windows are cut from."""

    @abstractmethod
    def sample(self, network: Any, case: Case, random: np.random.Generator, device: str) -> Tensor:
        """Return the loss of one sample of a case; ``random`` alone decides which."""

    @abstractmethod
    def judge(self, network: Any, case: Case, device: str) -> tuple[float, dict[int, float]]:
        """Return a case's loss, and its Dice by label number."""

    @abstractmethod
    def probe(self, network: Any) -> Tensor:
        """Return a loss like that of `sample` from made-up input, for measuring."""

    @property
    def frame(self) -> dict[str, Any]:
        """How the network wants its input, where that has to travel with the weights."""
        return {}

    @property
    def plans(self) -> dict[str, Any] | None:
        """nnU-Net's plans that have to travel with the weights, if any."""
        return None

    @property
    def fingerprint(self) -> str:
        """Changes whenever `prepare` would give something else."""
        return f"{self.card.network} {json.dumps(self.frame)} {json.dumps(self.plans)}"


def family(
    card: ModelCard, labels: Mapping[int, str], cohort: Cohort, weights: Path | None
) -> Family:
    """Return how networks of a card learn labels (names by number) of a cohort."""
    make = load_object(FAMILIES[card.network])
    made: Family = make(card, list(labels.values()), cohort, weights)
    return made
