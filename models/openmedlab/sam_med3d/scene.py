"""A volume through SAM-Med3D's windows: each is encoded once, when it is first needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openmedlab.core import MaskPrompt, Volume
from openmedlab.core.region import Index3
from openmedlab.sam_med3d.frame import SIZE, SPACING, Frame, normalised
from openmedlab.sam_med3d.network import GRID, LOW, WIDTH, upsample
from openmedlab.sam_med3d.rounds import Round

WINDOWS_KEPT = 64
WINDOW_BYTES = WIDTH * GRID**3 * 4
MASK_LOGIT = 8.0

Place = tuple[float, Index3]
Logits = npt.NDArray[np.float32]
Memory = dict[Place, tuple[tuple[Round, ...], Tensor]]


class Scene:
    """One volume and the windows of it that were encoded; at most 64 are kept.

    Parameters
    ----------
    volume
        Held, not copied.
    start
        Canonical index at which the first window begins, at 1.5 mm.
    network
        With ``decode`` (`SamMed3DNetwork.decode`).
    encode
        (1, 1, 128^3) normalised input in (x, y, z) to the embedding.
    """

    def __init__(
        self, volume: Volume, start: Index3, network: Any, encode: Callable[[Tensor], Tensor]
    ) -> None:
        self.volume = volume
        self.start = start
        self.embeddings: OrderedDict[Place, Tensor] = OrderedDict()
        self.frame = cache(lambda spacing: Frame(volume.geometry, spacing))
        self._network, self._encode = network, encode

    @property
    def first(self) -> Place:
        """The window around the first prompt."""
        return SPACING, self.start

    def embedding(self, place: Place) -> Tensor:
        """Return the embedding (1, 384, 8, 8, 8) of a window."""
        if place not in self.embeddings:
            spacing, start = place
            raw = self.frame(spacing).sample(self.volume, start)
            x = torch.from_numpy(np.ascontiguousarray(normalised(raw).T))
            self.embeddings[place] = self._encode(x[None, None])
            while len(self.embeddings) > WINDOWS_KEPT:
                self.embeddings.popitem(last=False)
        self.embeddings.move_to_end(place)
        return self.embeddings[place]

    def play(self, place: Place, rounds: list[Round], memory: Memory) -> Tensor:
        """Run ``rounds`` in a window and return its low-resolution logits (1, 1, 32^3).

        ``memory`` holds what earlier calls ended with; rounds played then are not repeated.
        """
        done, low = memory.get(place, ((), None))
        if low is None or tuple(rounds[: len(done)]) != done:
            done, low = (), torch.zeros(1, 1, LOW, LOW, LOW)
        for turn in rounds[len(done) :]:
            if turn.mask is not None:
                low = self.mask_logits(place, turn.mask)
            low = self.decode(place, turn, low)
        memory[place] = (tuple(rounds), low)
        return low

    def decode(self, place: Place, turn: Round, low: Tensor) -> Tensor:
        """Run one round in a window; clicks outside of it are left out."""
        points, labels = self.clicks_inside(place, turn)
        if len(points) == 0:
            return low
        return self.answer(place, points, labels, low)

    def answer(
        self, place: Place, points: Logits, labels: npt.NDArray[np.int64], low: Tensor
    ) -> Tensor:
        """Decode clicks (N, 3) given as canonical voxels of the window; see `decode`."""
        embedding = self.embedding(place)
        device = embedding.device
        xyz = torch.from_numpy(np.ascontiguousarray(points[:, ::-1], np.float32))[None]
        signs = torch.from_numpy(labels)[None]
        answer: Tensor = self._network.decode(
            embedding, xyz.to(device), signs.to(device), low.to(device)
        )
        return answer

    def clicks_inside(self, place: Place, turn: Round) -> tuple[Logits, npt.NDArray[np.int64]]:
        """Return the clicks of a round that fall into a window, as its voxels, and their signs."""
        spacing, start = place
        native = np.array([c.position for c in turn.clicks]).reshape(-1, 3)
        voxels = np.floor(self.frame(spacing).from_native(native) + 0.5) - start
        inside = ((voxels >= 0) & (voxels < SIZE)).all(1)
        labels = np.array([c.positive for c in turn.clicks], np.int64)
        return voxels[inside].astype(np.float32), labels[inside]

    def mask_logits(self, place: Place, mask: MaskPrompt) -> Tensor:
        """Return a mask as low-resolution logits (1, 1, 32^3) of a window."""
        spacing, start = place
        fine = self.frame(spacing).sample_mask(mask, start)
        share = torch.from_numpy(fine.T.astype(np.float32))[None, None]
        share = torch.nn.functional.avg_pool3d(share, SIZE // LOW)
        return (2 * share - 1) * MASK_LOGIT


def full_logits(low: Tensor) -> Logits:
    """Return canonical (z, y, x) logits (128^3) of a window from its low-resolution ones."""
    return np.asarray(upsample(low[0, 0].float().permute(2, 1, 0)).cpu().numpy())
