"""Train openmedlab-click on generated volumes and on OpenKBP.

    python training/click/generator.py --out POOL --count 320
    python training/click/openkbp.py --data FOLDER/provided-data --out POOL
    python training/click/train.py train --pool POOL --out RUN --minutes 9   # again until done
    python training/click/train.py export --out RUN --file click.safetensors

Everything random follows from the seeds; a run goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from openmedlab.clicknet.network import ClickNet
from openmedlab.clicknet.simulate import Exercise, Labelled, exercise
from openmedlab.clicknet.task import ROUNDS, play, score
from openmedlab.core.errors import Cancelled
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.tuning.loop import Loop, Schedule, best_weights, short_floats

SCHEDULE = Schedule(
    steps=1900, rate=2e-3, decay=1e-3, warm=100, average=0.995, check=200, patience=10**6
)
BATCH = 4
SEED = 12
VALIDATION = 48
HELD_OUT = 20
SHARES = {"labels": 0.5, "regions": 0.12}
CARD = {
    "name": "openmedlab-click",
    "licence": "CC-BY-4.0",
    "data": "generated volumes; OpenKBP (MIT; scans from The Cancer Imaging Archive, CC BY): "
    "Babier A. et al., Medical Physics 48, 5549-5561 (2021), doi:10.1002/mp.14845",
    "made_by": "training/click/train.py, see training/click/README.md",
}


@dataclass
class Pool:
    """Training volumes on disk, one in every `HELD_OUT` kept for validation."""

    folder: Path

    def __post_init__(self) -> None:
        files = sorted(self.folder.glob("*[0-9].npz"))
        real = [f for f in files if f.name.startswith("openkbp")]
        made = [f for f in files if f.name.startswith("synthetic")]
        self.learned = [[f for k, f in enumerate(group) if k % HELD_OUT] for group in (real, made)]
        self.held = [group[::HELD_OUT] for group in (real, made)]

    def draw(self, random: np.random.Generator, validation: bool) -> Exercise:
        """Return an exercise on a random volume."""
        kind = random.random()
        real, made = self.held if validation else self.learned
        if not real or kind > sum(SHARES.values()):
            return exercise(random, volume(made[random.integers(len(made))], "labels"))
        labels = "labels" if kind < SHARES["labels"] else "regions"
        return exercise(random, volume(real[random.integers(len(real))], labels))


@lru_cache(maxsize=4000)
def volume(path: Path, labels: str) -> Labelled:
    """Return a volume with its contours or its regions; kept in memory."""
    with np.load(path) as file:
        z, y, x = (float(s) for s in file["spacing"])
        return Labelled(file["image"], file[labels], (z, y, x))


class Openings(Dataset[list[Exercise]]):
    """The windows of every update with their first prompt, made ahead by another process."""

    def __init__(self, pool: Pool, first: int) -> None:
        self._pool, self._first = pool, first

    def __len__(self) -> int:
        return SCHEDULE.steps - self._first

    def __getitem__(self, index: int) -> list[Exercise]:
        torch.set_num_threads(1)
        random = np.random.default_rng((SEED, self._first + index))
        return [self._pool.draw(random, False) for _ in range(BATCH)]


class ClickTask:
    """Masks from simulated clicks: the loss of the last of a few rounds."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._short = pool, short_floats("cpu")
        random = np.random.default_rng((SEED, 2**31))
        self._held_out = [pool.draw(random, True) for _ in range(VALIDATION)]
        self._openings: Iterator[list[Exercise]] | None = None

    def loss(self, network: nn.Module, step: int) -> Tensor:
        """Return the loss of one batch of windows, after none to three clicks."""
        if self._openings is None:
            ahead = Openings(self._pool, step)
            self._openings = iter(DataLoader(ahead, None, num_workers=1, prefetch_factor=8))
        batch = next(self._openings)
        random = np.random.default_rng((SEED + 1, step))
        rounds = int(random.choice(len(ROUNDS), p=ROUNDS))
        with torch.autocast("cpu", torch.bfloat16, enabled=self._short):
            logits = play(network, batch, rounds, random)
        return score(logits.float(), batch)

    def validate(self, network: nn.Module) -> float:
        """Return the mean loss after the first prompt and after one click."""
        losses = []
        for number, opening in enumerate(self._held_out):
            random, held = np.random.default_rng((SEED, number)), opening.copy()
            for _ in range(2):
                with torch.autocast("cpu", torch.bfloat16, enabled=self._short):
                    logits = network(held.channels()[None]).float()
                losses.append(float(score(logits, [held])))
                held.correct(random, logits[0, 0] > 0)
        return float(np.mean(losses))


def train(pool: Path, out: Path, minutes: float) -> None:
    """Go on training for some minutes."""
    torch.manual_seed(SEED)
    network = ClickNet().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    loop = Loop(network.train(), ClickTask(Pool(pool)), SCHEDULE, out)
    cancel, ends = CancelToken(), time.monotonic() + 60 * minutes

    def report(done: int, total: int, text: str) -> None:
        if done % 50 == 0:
            sys.stdout.write(f"{done}/{total} {text} {loop.history.curve[-1]}\n")
            sys.stdout.flush()
        if time.monotonic() > ends:
            cancel.cancel()

    with suppress(Cancelled):
        loop.run(Progress(report), cancel)


def export(out: Path, file: Path) -> None:
    """Write the best weights so far, with what a reader of the file should know."""
    from openmedlab.zoo.checkpoint import write_safetensors

    tensors = {k: v.half() if v.is_floating_point() else v for k, v in best_weights(out).items()}
    write_safetensors(tensors, file, CARD)


def main() -> None:
    """Run one task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("train", "export"))
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    if given.task == "train":
        train(given.pool, given.out, given.minutes)
    else:
        export(given.out, given.file)


if __name__ == "__main__":
    main()
