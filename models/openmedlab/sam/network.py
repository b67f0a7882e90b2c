"""Segment Anything's network, from the ``segment-anything`` package, without torchvision.

That package's ``__init__`` imports its mask generator and with it torchvision. Its
networks need neither, so they are imported below an empty stand-in for the package.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Literal

from torch import nn

from openmedlab.core.errors import InputError

Variant = Literal["vit_b", "vit_l", "vit_h"]
SIZE = 1024
PACKAGE = "segment_anything"


def build_network(variant: Variant = "vit_b") -> nn.Module:
    """Return SAM with freshly initialised weights.

    Raises
    ------
    InputError
        The ``segment-anything`` package is not installed.
    """
    network: nn.Module = _builders()[variant](checkpoint=None)
    return network


@cache
def _builders() -> dict[str, Any]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise InputError(
            "SAM needs the package segment-anything; install it with "
            "'pip install napari-openmedlab[local]'."
        )
    with _stand_in(spec):
        builders: dict[str, Any] = importlib.import_module(
            f"{PACKAGE}.build_sam"
        ).sam_model_registry
    return builders


@contextmanager
def _stand_in(spec: importlib.machinery.ModuleSpec) -> Iterator[None]:
    """Let submodules be imported without the package's ``__init__``; leave no trace of it."""
    before = {k: m for k, m in sys.modules.items() if k.split(".")[0] == PACKAGE}
    package = ModuleType(PACKAGE)
    package.__path__ = list(spec.submodule_search_locations or ())
    package.__spec__ = spec
    for name in before:
        del sys.modules[name]
    sys.modules[PACKAGE] = package
    try:
        yield
    finally:
        for name in [k for k in sys.modules if k.split(".")[0] == PACKAGE]:
            del sys.modules[name]
        sys.modules.update(before)
