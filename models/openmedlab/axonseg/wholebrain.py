"""The published whole-brain predictor, slice folder in and slice folder out, quirks included.

It exists to compare with the published numbers; volumes of users go through
`openmedlab.axons`, which normalises by the whole volume and leaves no seams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError

Floats = npt.NDArray[np.float32]
Slices = Sequence[npt.NDArray[Any]]
Predict = Callable[[Floats], Floats]


@dataclass(frozen=True)
class WholeBrain:
    """How the stack is cut.

    Attributes
    ----------
    window
        Side of the cube that the network sees.
    overlap
        Voxels of it on every side that are thrown away.
    start, end
        The part (x, y, z) that is predicted, as the published settings file has it.
    """

    start: tuple[int, int, int]
    end: tuple[int, int, int]
    window: int = 128
    overlap: int = 20

    @property
    def core(self) -> int:
        """Side of what is kept of a window."""
        return self.window - 2 * self.overlap

    def chunks(self) -> list[int]:
        """Return where chunks begin along z; the last one ends with the part.

        Raises
        ------
        InputError
            The part is thinner than the core of one window.
        """
        spans = [e - s for s, e in zip(self.start, self.end, strict=True)]
        if min(spans) < self.core:
            raise InputError(
                f"The part to predict is {spans} voxels (x, y, z); every side must have at least "
                f"{self.core}, the core of one window."
            )
        low, last = self.start[2], self.end[2] - self.core
        return [*range(low, last, self.core), last]

    def predict(self, slices: Slices, predict: Predict) -> npt.NDArray[np.uint8]:
        """Return the probability of axon in 255ths, cut off (z, y, x), of the part.

        Parameters
        ----------
        slices
            All slices (y, x) of the folder in order.
        predict
            From a normalised window (z, y, x) to the probability of axon.
        """
        (x0, y0, z0), (x1, y1, z1) = self.start, self.end
        out = np.zeros((z1 - z0, y1 - y0, x1 - x0), np.uint8)
        for z in self.chunks():
            chunk = self._chunk(slices, z)
            layer = out[z - z0 : z - z0 + self.core]
            for y, x in self._corners(layer.shape[1:]):
                window = chunk[:, y : y + self.window, x : x + self.window]
                v, c = self.overlap, self.core
                found = predict(window)[v : v + c, v : v + c, v : v + c]
                layer[:, y : y + c, x : x + c] = (found * np.float32(255)).astype(np.uint8)
        return out

    def _chunk(self, slices: Slices, z: int) -> Floats:
        """Return a chunk with its margins, normalised by its last slice as a whole.

        Margins in the plane repeat the edge; slices outside the folder are zeros.
        """
        v = self.overlap
        (x0, y0, _), (x1, y1, _) = self.start, self.end
        chunk = np.zeros((self.window, y1 - y0 + 2 * v, x1 - x0 + 2 * v), np.float32)
        mean = std = np.float32(0)
        for index, number in enumerate(range(z - v, z - v + self.window)):
            if not 0 <= number < len(slices):
                continue
            image = np.asarray(slices[number], np.float32)
            mean, std = image.mean(), image.std()
            rows, columns = image.shape
            inner = image[max(0, y0 - v) : y1 + v, max(0, x0 - v) : x1 + v]
            lacking = [
                (max(0, v - y0), max(0, y1 + v - rows)),
                (max(0, v - x0), max(0, x1 + v - columns)),
            ]
            chunk[index] = np.pad(inner, lacking, mode="edge")
        return np.asarray((chunk - mean) / (std + np.float32(1e-8)), np.float32)

    def _corners(self, shape: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield the windows of a layer (y, x) in the order in which later ones overwrite."""
        c = self.core
        rows, columns = shape
        for y in range(0, rows - c + 1, c):
            for x in range(0, columns - c + 1, c):
                yield y, x
                right, bottom = x + 2 * c > columns, y + 2 * c > rows
                if right and bottom:
                    yield rows - c, columns - c
                if right:
                    yield y, columns - c
                if bottom:
                    yield rows - c, x
