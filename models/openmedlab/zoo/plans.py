"""nnU-Net's plan pickles, read by an unpickler that knows containers and numbers only."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.zoo.errors import WeightsError

ALLOWED = {
    "_codecs": {"encode"},
    "builtins": {"bytearray", "complex", "dict", "frozenset", "list", "set", "slice", "tuple"},
    "collections": {"OrderedDict"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
}


class _PlansUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")
        if name not in ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def read_plans(path: Path) -> dict[str, Any]:
    """Read nnU-Net's ``.pkl`` of plans as plain values (numbers, text, lists, dicts).

    Parameters
    ----------
    path
        ``model_final_checkpoint.model.pkl``, ``plans.pkl`` or the like.

    Raises
    ------
    WeightsError
        The file cannot be read, holds no dictionary, or carries anything but containers,
        numbers and arrays (it is refused, nothing of it was run).
    """
    try:
        with path.open("rb") as file:
            content = _PlansUnpickler(file).load()
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} was refused: it is damaged or carries more than plans ({error}); "
            "nothing of it was run."
        ) from error
    except Exception as error:
        raise WeightsError(f"{path.name} is damaged or cut short; get it again.") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path.name} holds no plans.")
    plans: dict[str, Any] = _plain(content)
    return plans


def _plain(value: Any) -> Any:
    """Return ``value`` in JSON's types; keys become text, what has no such form its text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
