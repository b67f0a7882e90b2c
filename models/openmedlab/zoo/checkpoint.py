"""Checkpoint files: read without running anything in them, unwrapped, compared, written."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from openmedlab.zoo.errors import WeightsError
from openmedlab.zoo.files import writing
from openmedlab.zoo.registry import Signature

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]

WRAPPERS = ("state_dict", "model_state_dict", "network_weights", "model")

HARMLESS = (
    "argparse.Namespace",
    "builtins.dict",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "torch.optim.adam.Adam",
    "torch.optim.adamw.AdamW",
    "torch.optim.sgd.SGD",
)


class _Inert:
    """Stands in for a harmless object of a training run; holds and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _plain_dict(*args: Any) -> OrderedDict[Any, Any]:
    """Stand in for ``collections.defaultdict``, whose factory is not wanted."""
    return OrderedDict()


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint's state dict.

    Parameters
    ----------
    path
        A safetensors file, or what `torch.save` or nnU-Net wrote, wrapped or bare.

    Returns
    -------
    dict
        Tensors by name, without any ``module.`` prefix, on the CPU.

    Raises
    ------
    WeightsError
        The file cannot be read, is cut short, holds objects that are not plain
        tensors and numbers (it is refused, nothing of it was run), or holds no state dict.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    content = _read_safetensors(path) if head[8:9] == b"{" else _read_torch(path, head)
    state = _find_state(content)
    if state is None:
        raise WeightsError(f"{path.name} holds no network weights.")
    prefix = "module."
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return dict(state)


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path.name} is damaged or cut short ({error}); get it again."
        ) from error


def _read_torch(path: Path, head: bytes) -> Any:
    import torch

    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise WeightsError(f"{path.name} is cut short: its end is missing; get it again.")
    try:
        with torch.serialization.safe_globals(_stand_ins()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(path, str(error))) from error
    except Exception as error:
        raise WeightsError(
            f"{path.name} is damaged, cut short, or no checkpoint ({_first_line(error)})."
        ) from error


def _stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    inert: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_Inert, name) for name in HARMLESS
    ]
    return [*inert, (_plain_dict, "collections.defaultdict")]


def _refusal(path: Path, message: str) -> str:
    if found := re.search(r"GLOBAL (\S+)", message):
        return (
            f"{path.name} was refused: it carries {found[1]}, which is code and not weights, and "
            "nothing of it was run. If you trust its author, ask for a file with the state dict "
            "alone, or convert it to safetensors on a machine set apart for that."
        )
    return (
        f"{path.name} was refused: it is damaged, cut short, or not plain weights; "
        "nothing of it was run."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _find_state(content: Any) -> Tensors | None:
    """Return the state dict itself or the one inside a known wrapper."""
    import torch

    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(value, torch.Tensor) for value in content.values()):
        return content
    inner = (content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping))
    return next((state for state in map(_find_state, inner) if state is not None), None)


def differences(tensors: Tensors, expected: Signature) -> list[str]:
    """Return what keeps ``tensors`` from being exactly ``expected``: one line per name."""
    missing = [f"{name}: missing" for name in expected if name not in tensors]
    unexpected = [f"{name}: not known to this network" for name in tensors if name not in expected]
    shapes = [
        f"{name}: shape {tuple(tensor.shape)}, expected {expected[name]}"
        for name, tensor in tensors.items()
        if name in expected and tuple(tensor.shape) != expected[name]
    ]
    return missing + unexpected + shapes


def listed(lines: Iterable[str], most: int = 10) -> str:
    """Return the lines as one text, the tail counted."""
    lines = list(lines)
    rest = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "; ".join(lines[:most] + rest)


def write_safetensors(tensors: Tensors, path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors to ``path`` under a temporary name first.

    Raises
    ------
    WeightsError
        The disk is full or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        start = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.contiguous() if start not in seen else tensor.clone()
        seen.add(start)
    with writing(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode
        try:
            save_file(plain, partial, metadata=dict(metadata))
        except SafetensorError as error:
            raise OSError(str(error)) from error
        partial.chmod(mode)  # readable by whoever may read new files here, as a shared folder needs


def read_metadata(path: Path) -> dict[str, str]:
    """Return the text that `write_safetensors` kept beside the tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata() or {}
