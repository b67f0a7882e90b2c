"""Which model a checkpoint belongs to, told by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from openmedlab.core.errors import OpenMedLabError
from openmedlab.zoo.card import ModelCard, cards
from openmedlab.zoo.checkpoint import Tensors, differences, listed, read_checkpoint
from openmedlab.zoo.errors import AmbiguousError, WeightsError
from openmedlab.zoo.registry import Signature, shapes, signature

if TYPE_CHECKING:
    from torch import nn

N = TypeVar("N", bound="nn.Module")


def recognise(tensors: Tensors, file: Path, digests: Mapping[str, str]) -> ModelCard:
    """Return the card that a hand-downloaded checkpoint belongs to.

    Several cards can share one network (SAM and MedSAM); then the published digest decides,
    then the published file name.

    Raises
    ------
    WeightsError
        No known network has these tensors; the nearest is named with the differences.
    AmbiguousError
        The choice between several cards is left to the user.
    """
    fitting = _fitting(tensors)
    if not fitting:
        raise WeightsError(_unknown(tensors, file))
    for told in (
        [c for c in fitting if _published(c, digests)],
        [c for c in fitting if file.name.lower() in {f.name.lower() for f in c.files}],
        fitting,
    ):
        if len(told) == 1:
            return told[0]
    names = [card.name for card in fitting]
    raise AmbiguousError(
        f"{file.name} fits several models that share one network: {', '.join(names)}; say which "
        "it is, as in: openmedlab models import FILE --name NAME.",
        names,
    )


def require_fit(tensors: Tensors, card: ModelCard, expected: Signature, file: str) -> None:
    """Raise `WeightsError` unless the tensors are exactly those ``expected`` by the card's network.

    The message names the model they do belong to, or lists the differences.
    """
    lines = differences(tensors, expected)
    if not lines:
        return
    if others := _fitting(tensors):
        names = " or ".join(other.name for other in others)
        raise WeightsError(f"{file} is a checkpoint of {names}, not of {card.name}.")
    raise WeightsError(f"{file} does not fit {card.name}: {listed(lines)}.")


def filled(network: N, path: Path, title: str) -> N:
    """Return one of our own networks with a file's weights.

    Raises
    ------
    WeightsError
        The file cannot be read or belongs to another network.
    """
    tensors = read_checkpoint(path)
    if lines := differences(tensors, shapes(network)):
        raise WeightsError(f"{path.name} does not fit {title}: {listed(lines)}.")
    network.load_state_dict(tensors)
    return network


def _published(card: ModelCard, digests: Mapping[str, str]) -> bool:
    known = {d for f in card.files for d in (f.sha256, f.md5) if d}
    return not known.isdisjoint(digests.values())


def _fitting(tensors: Tensors) -> list[ModelCard]:
    names = {n for n, s in _signatures().items() if not differences(tensors, s)}
    return [card for card in cards().values() if card.network in names]


def _signatures() -> dict[str, Signature]:
    found = {}
    for network in sorted({card.network for card in cards().values()}):
        try:
            found[network] = signature(network)
        except OpenMedLabError:  # its package is not installed: it cannot be meant
            continue
    return found


def _unknown(tensors: Tensors, file: Path) -> str:
    best: tuple[float, str, list[str]] = (0.5, "", [])
    for network, expected in _signatures().items():
        lines = differences(tensors, expected)
        alike = 1 - len(lines) / len({*tensors, *expected})
        best = max(best, (alike, network, lines), key=lambda b: b[0])
    if best[1]:
        return f"{file.name} is close to {best[1]} but does not fit it: {listed(best[2])}."
    return (
        f"{file.name} belongs to no model known here; its {len(tensors)} tensors begin with "
        f"{listed(tensors, 3)}."
    )
