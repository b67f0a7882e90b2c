"""The methods that find axons, by name, and what the block engine may rely on.

A block has its halo around it on every side; where the halo leaves the volume it repeats
the volume's outermost voxels (``numpy.pad(..., mode="edge")``). Blocks begin at multiples
of ``alignment`` along every axis. Under these two conditions the result does not depend,
bit for bit, on how the volume was cut into blocks.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openmedlab.axons.statistics import ArrayLike, Each, VolumeStatistics, each_here, measure
from openmedlab.core.contracts import Segmenter
from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.zoo.store import WeightsStore


class AxonSegmenter(Segmenter, Protocol):
    """A `Segmenter` whose answer is the float32 probability of axon, without the halo.

    Attributes
    ----------
    alignment
        Blocks begin at multiples of this many voxels (z, y, x).
    """

    @property
    def alignment(self) -> tuple[int, int, int]: ...

    def is_empty(self, block: npt.NDArray[Any]) -> bool:
        """Tell cheaply that this block, given without halo, would come out all zero.

        False promises nothing. Every part of an empty block is empty too.
        """
        ...


BUNDLED = Path(__file__).parent / "axon_small.safetensors"

Make = Callable[[VolumeStatistics, Path | None], AxonSegmenter]


class Measure(Protocol):
    """Measures what a method has to know of a volume; the same whoever looks at its boxes."""

    def __call__(
        self,
        array: ArrayLike,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
        *,
        each: Each = each_here,
    ) -> VolumeStatistics: ...


@dataclass(frozen=True)
class SegmenterChoice:
    """A method on offer.

    Attributes
    ----------
    name, title
        Stable word, and what a menu shows.
    needs
        ``""``, ``"torch"`` or ``"weights"`` (and torch).
    threshold
        Voxels of at least this probability form components (26 neighbours) ...
    seed
        ... of which those are axons that reach this probability somewhere ...
    smallest
        ... and have at least this many voxels.
    measure
        Measures what `make` has to know of the volume, once per run.
    make
        Makes the segmenter from the statistics and, where given, a weights file (of the
        method's own network, as `training.train` writes it).
    file
        Returns the weights file that `make` would use, None where there is none.
    """

    name: str
    title: str
    needs: str
    threshold: float
    seed: float
    make: Make = field(compare=False)
    measure: Measure = field(default=measure, compare=False)
    file: Callable[[Path | None], Path | None] = field(default=lambda given: given, compare=False)
    smallest: int = 10


def _ridge(statistics: VolumeStatistics, weights: Path | None) -> AxonSegmenter:
    from openmedlab.axons.ridge import RidgeSegmenter

    if weights is not None:
        raise InputError("The ridge filter takes no weights; leave them out or choose axon-small.")
    return RidgeSegmenter.of(statistics)


def _measure_ridge(
    array: ArrayLike,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    *,
    each: Each = each_here,
) -> VolumeStatistics:
    from openmedlab.axons.ridge import measure_ridge

    return measure_ridge(array, progress, cancel, each=each)


def _small(statistics: VolumeStatistics, weights: Path | None) -> AxonSegmenter:
    from openmedlab.axons.small_net import SmallSegmenter

    return SmallSegmenter.of(statistics, weights)


def _small_file(given: Path | None) -> Path | None:
    return WeightsStore().find("axon-small", given or BUNDLED)


def _published_file(name: str) -> Callable[[Path | None], Path | None]:
    return lambda given: WeightsStore().find(name, given)


def _published(name: str) -> Make:
    def make(statistics: VolumeStatistics, weights: Path | None) -> AxonSegmenter:
        from openmedlab.zoo.registry import load_object

        published = load_object("openmedlab.axonseg.segmenter:PublishedSegmenter")
        made: AxonSegmenter = published.of(name, statistics.mean, statistics.std, weights)
        return made

    return make


PUBLISHED = {"axon-seg": "Axon-Seg, attention", "axon-seg-unet": "Axon-Seg, U-Net"}

METHODS: dict[str, SegmenterChoice] = {
    choice.name: choice
    for choice in (
        SegmenterChoice(
            "axon-small",
            "Axon-Small (bundled)",
            "torch",
            0.3,
            0.8,
            _small,
            file=_small_file,
            smallest=20,
        ),
        SegmenterChoice(
            "ridge", "Ridge filter", "", 0.8 / 1.8, 0.5, _ridge, measure=_measure_ridge
        ),
        *(
            SegmenterChoice(
                name, title, "weights", 0.5, 0.5, _published(name), file=_published_file(name)
            )
            for name, title in PUBLISHED.items()
        ),
    )
}


def method(name: str) -> SegmenterChoice:
    """Return the method of that name.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in METHODS:
        raise InputError(f"There is no axon method {name!r}; known: {', '.join(METHODS)}.")
    return METHODS[name]


def default_method() -> str:
    """Return the bundled network's name where PyTorch is installed, else the ridge filter's."""
    return "axon-small" if importlib.util.find_spec("torch") else "ridge"


def segment_array(array: npt.NDArray[Any], segmenter: AxonSegmenter) -> npt.NDArray[np.float32]:
    """Return the probabilities of a small volume (z, y, x) in one block."""
    halo = segmenter.halo
    padded = np.pad(array, [(h, h) for h in halo], mode="edge")
    return np.asarray(segmenter.segment_block(padded, halo), np.float32)


def components(
    probability: npt.NDArray[np.float32], choice: SegmenterChoice
) -> npt.NDArray[np.bool_]:
    """Return the axon mask of a small volume: `SegmenterChoice`'s three rules."""
    from scipy import ndimage
    from skimage.measure import label

    labels = label(probability >= choice.threshold, connectivity=3)
    count = int(labels.max())
    size = np.bincount(labels.ravel(), minlength=count + 1)
    peak = ndimage.maximum(probability, labels, np.arange(count + 1))
    keep = (size >= choice.smallest) & (np.asarray(peak) >= choice.seed)
    keep[0] = False
    return np.asarray(keep[labels])
