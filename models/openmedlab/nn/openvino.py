"""An encoder through OpenVINO: converted once, kept in a folder, its precision chosen by timing."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ("f32", "bf16")
WORTHWHILE = 1.2


class OpenVinoEncoder:
    """Runs an encoder of one input shape on the CPU.

    Parameters
    ----------
    encoder
        The module to convert, in evaluation mode.
    shape
        Its only input shape.
    folder
        Where the converted network (as large as the weights) and the choice of
        precision are kept.
    key
        Changes with the weights.

    Notes
    -----
    bfloat16 is taken where it is at least 1.2 times as fast as float32 on this
    machine; `precision` says which one runs.
    """

    def __init__(self, encoder: nn.Module, shape: tuple[int, ...], folder: Path, key: str) -> None:
        import openvino

        self._core = openvino.Core()
        self._shape = shape
        name = hashlib.blake2b(f"{key} {shape} {openvino.__version__}".encode(), digest_size=12)
        model = _converted(self._core, encoder, shape, folder / f"{name.hexdigest()}.xml")
        self._model = model
        self.precision = self._chosen(model, folder / "precision.json", name.hexdigest())
        self._request = self._compiled(model, self.precision)

    def with_precision(self, precision: str) -> OpenVinoEncoder:
        """Return the same encoder in ``"f32"`` or ``"bf16"``, whatever is faster here."""
        other = copy(self)
        other.precision = precision
        other._request = self._compiled(self._model, precision)
        return other

    def __call__(self, x: Tensor) -> Tensor:
        """Return the float32 output for ``x``."""
        self._request.infer([x.float().contiguous().numpy()])
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy()).float()

    def _compiled(self, model: Any, precision: str) -> Any:
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        return self._core.compile_model(model, "CPU", hints).create_infer_request()

    def _chosen(self, model: Any, path: Path, name: str) -> str:
        key = f"{platform.node()} {platform.processor()} {name}"
        choices: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        if choices.get(key) not in PRECISIONS:
            seconds = {p: self._seconds(model, p) for p in PRECISIONS}
            faster = seconds["f32"] >= WORTHWHILE * seconds["bf16"]
            choices[key] = "bf16" if faster else "f32"
            partial = path.with_suffix(f".{os.getpid()}.part")
            partial.write_text(json.dumps(choices))
            partial.replace(path)
        return choices[key]

    def _seconds(self, model: Any, precision: str) -> float:
        """Return the shortest of three runs."""
        request = self._compiled(model, precision)
        x = torch.zeros(self._shape).numpy()
        taken = []
        for _ in range(3):
            started = time.perf_counter()
            request.infer([x])
            taken.append(time.perf_counter() - started)
        return min(taken)


def _converted(core: Any, encoder: nn.Module, shape: tuple[int, ...], path: Path) -> Any:
    """Read the converted network, or convert it now and keep it."""
    import openvino

    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            model = openvino.convert_model(encoder, example_input=torch.zeros(shape))
        model.reshape(list(shape))
        with tempfile.TemporaryDirectory(dir=path.parent) as room:
            made = Path(room) / path.name
            openvino.save_model(model, made, compress_to_fp16=False)
            made.with_suffix(".bin").replace(path.with_suffix(".bin"))
            made.replace(path)
    return core.read_model(path)
