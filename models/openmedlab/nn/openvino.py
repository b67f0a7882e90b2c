"""A network through OpenVINO: converted once, kept in a folder, its precision chosen by timing."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ("f32", "bf16", "int8")
WORTHWHILE = 1.2


class OpenVinoNetwork:
    """Runs a network of one input shape on the CPU.

    Parameters
    ----------
    network
        The module to convert, in evaluation mode.
    shape
        Its only input shape.
    folder
        Where the converted network (as large as the weights) and the choice of
        precision are kept.
    key
        Changes with the weights.
    examples
        Makes typical inputs, by which 8-bit integers are scaled where ``nncf`` is installed.

    Notes
    -----
    A shorter number format is taken where it is at least 1.2 times as fast as the longer ones on
    this machine; `precision` says which one runs.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        folder: Path,
        key: str,
        examples: Callable[[], Sequence[Tensor]] | None = None,
    ) -> None:
        import openvino

        self._core = openvino.Core()
        self._shape = shape
        name = hashlib.blake2b(f"{key} {shape} {openvino.__version__}".encode(), digest_size=12)
        path = folder / f"{name.hexdigest()}.xml"
        self._models = dict.fromkeys(PRECISIONS[:2], _converted(self._core, network, shape, path))
        if examples is not None and importlib.util.find_spec("nncf"):
            self._models["int8"] = _quantised(self._core, self._models["f32"], path, examples)
        self.precision = self._chosen(folder / "precision.json", name.hexdigest())
        self._request = self._compiled(self.precision)

    @property
    def precisions(self) -> tuple[str, ...]:
        """What can run here."""
        return tuple(self._models)

    def with_precision(self, precision: str) -> OpenVinoNetwork:
        """Return the same network in one of `precisions`, whatever is faster here."""
        other = copy(self)
        other.precision = precision
        other._request = self._compiled(precision)
        return other

    def __call__(self, x: Tensor) -> Tensor:
        """Return the float32 output for ``x``."""
        self._request.infer([x.float().contiguous().numpy()])
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy()).float()

    def _compiled(self, precision: str) -> Any:
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        return self._core.compile_model(
            self._models[precision], "CPU", hints
        ).create_infer_request()

    def _chosen(self, path: Path, name: str) -> str:
        key = f"{platform.node()} {platform.processor()} {name} {' '.join(self._models)}"
        choices: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        if choices.get(key) not in self._models:
            seconds = {p: self._seconds(p) for p in self._models}
            choices[key] = _fastest(seconds)
            partial = path.with_suffix(f".{os.getpid()}.part")
            partial.write_text(json.dumps(choices))
            partial.replace(path)
        return choices[key]

    def _seconds(self, precision: str) -> float:
        """Return the shortest of three runs."""
        request = self._compiled(precision)
        x = torch.zeros(self._shape).numpy()
        taken = []
        for _ in range(3):
            started = time.perf_counter()
            request.infer([x])
            taken.append(time.perf_counter() - started)
        return min(taken)


def _fastest(seconds: dict[str, float]) -> str:
    """Return the longest format that no shorter one outruns by `WORTHWHILE`."""
    best = "f32"
    for precision in seconds:
        if seconds[best] >= WORTHWHILE * seconds[precision]:
            best = precision
    return best


def _converted(core: Any, network: nn.Module, shape: tuple[int, ...], path: Path) -> Any:
    """Read the converted network, or convert it now and keep it."""
    import openvino

    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            model = openvino.convert_model(network, example_input=torch.zeros(shape))
        model.reshape(list(shape))
        _kept(model, path)
    return core.read_model(path)


def _quantised(core: Any, model: Any, path: Path, examples: Callable[[], Sequence[Tensor]]) -> Any:
    """Read the network in 8-bit integers, or make it now and keep it."""
    small = path.with_stem(f"{path.stem}-int8")
    if not small.is_file():
        import nncf

        inputs = [x.numpy() for x in examples()]
        with redirect_stdout(io.StringIO()):
            made = nncf.quantize(model, nncf.Dataset(inputs), subset_size=len(inputs))
        _kept(made, small)
    return core.read_model(small)


def _kept(model: Any, path: Path) -> None:
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as room:
        made = Path(room) / path.name
        openvino.save_model(model, made, compress_to_fp16=False)
        made.with_suffix(".bin").replace(path.with_suffix(".bin"))
        made.replace(path)
