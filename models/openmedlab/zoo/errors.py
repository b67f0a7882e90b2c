"""What can go wrong with weights, in one sentence a user can act on."""

from __future__ import annotations

from collections.abc import Sequence

from openmedlab.core.errors import OpenMedLabError


class WeightsError(OpenMedLabError):
    """Weights are missing, broken, refused, of another model, or cannot be had or kept."""


class LicenceError(WeightsError):
    """The licence of the weights was not accepted yet; the message says which and how."""


class AmbiguousError(WeightsError):
    """A checkpoint fits several models that share one network.

    Attributes
    ----------
    names
        Those models' names.
    """

    def __init__(self, text: str, names: Sequence[str]) -> None:
        super().__init__(text)
        self.names = tuple(names)


class ManualDownloadError(WeightsError):
    """The weights are published where only a browser gets them; the message says how."""
