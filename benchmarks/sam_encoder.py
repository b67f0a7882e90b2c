"""Encoders of SAM-Med3D and SAM-Med2D: ours against a direct transcription, in one run.

python benchmarks/sam_encoder.py [--threads 1] [--repeat 3] [--openvino FOLDER]

Wall and CPU seconds are the shortest of the repeats, taken in turns; the ratio is of
CPU seconds, which a busy machine disturbs less. The change is the largest one of the
logits after one click in the middle, over their root mean square; flipped are signs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "sam_med3d"), str(TESTS / "sam_med2d")]

import sam_med2d_transcription  # noqa: E402
import sam_med3d_transcription  # noqa: E402

from openmedlab.nn.fill import fill_by_name  # noqa: E402
from openmedlab.nn.openvino import OpenVinoNetwork  # noqa: E402
from openmedlab.zoo import build_network  # noqa: E402

SYSTEMS = {
    "sam-med3d": ((1, 1, 128, 128, 128), sam_med3d_transcription.encode),
    "sam-med2d": ((1, 3, 256, 256), sam_med2d_transcription.encode),
}


def race(
    ways: dict[str, Callable[[Tensor], Tensor]], x: Tensor, repeat: int
) -> dict[str, tuple[float, float, Tensor]]:
    """Return wall seconds, CPU seconds and output of each way."""
    best: dict[str, tuple[float, float, Tensor]] = {}
    for _ in range(repeat):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            y = way(x)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            before = best.get(name, (wall, cpu, y))
            best[name] = min(before[0], wall), min(before[1], cpu), y
    return best


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--openvino", type=Path, help="folder for the converted networks")
    parser.add_argument("--only", choices=SYSTEMS, help="one system instead of both")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), best of {options.repeat}")
    print("| encoder | way | wall s | CPU s | times faster | change of the logits | flipped |")
    print("|---|---|---|---|---|---|---|")
    for name, (shape, transcription) in SYSTEMS.items():
        if options.only in (None, name):
            compare(name, shape, transcription, options)


def compare(
    name: str,
    shape: tuple[int, ...],
    transcription: Callable[[torch.nn.Module, Tensor], Tensor],
    options: argparse.Namespace,
) -> None:
    network = build_network(name).eval()
    fill_by_name(network)
    encoder = network.image_encoder
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "transcription": lambda x: transcription(encoder, x),
        "ours": encoder,
    }
    if options.openvino:
        chosen = OpenVinoNetwork(encoder, shape, options.openvino, f"fill {name}")
        ways[f"OpenVINO {chosen.precision}"] = chosen
        if chosen.precision != "f32":
            ways["OpenVINO f32"] = chosen.with_precision("f32")
    results = race(
        ways, torch.randn(shape, generator=torch.Generator().manual_seed(0)), options.repeat
    )
    _, cpu0, y0 = results["transcription"]
    exact = logits_after_a_click(network, y0)
    for way, (wall, cpu, y) in results.items():
        logits = logits_after_a_click(network, y)
        change = (logits - exact).abs().max() / exact.pow(2).mean().sqrt()
        flipped = ((logits > 0) != (exact > 0)).float().mean()
        print(
            f"| {name} | {way} | {wall:.2f} | {cpu:.2f} | {cpu0 / cpu:.1f} "
            f"| {change:.1e} | {flipped:.2%} |"
        )


def logits_after_a_click(network: torch.nn.Module, embedding: Tensor) -> Tensor:
    """Return the low-resolution logits for one positive click in the middle."""
    axes = embedding.dim() - 2
    middle = torch.full((1, 1, axes), network.prompt_encoder.size / 2)
    sparse, dense = network.prompt_encoder(middle, torch.ones(1, 1, dtype=torch.int64))
    encoding = network.prompt_encoder.dense_encoding()
    logits, _ = network.mask_decoder(embedding, encoding, sparse, dense, multimask=False)
    return logits


if __name__ == "__main__":
    main()
