"""What every system implements, and all that the faces know of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from openmedlab.core.geometry import Geometry
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.prompts import ExtremePoints, Prompt
from openmedlab.core.region import Region
from openmedlab.core.volume import LabelVolume, Volume

PromptList = Sequence[Prompt]


@dataclass(frozen=True)
class Capabilities:
    """What a promptable takes.

    Attributes
    ----------
    prompts
        Kinds taken natively (`Prompt.kind` words); the rest is translated by `core.translate`.
    negative
        Whether negative points and scribbles are understood natively.
    dimensions
        3 for volumes, 2 for slices with propagation.
    refines
        Whether a further prompt changes the mask at hand instead of starting anew.
    """

    prompts: frozenset[str]
    negative: bool = True
    dimensions: int = 3
    refines: bool = True


@dataclass(frozen=True, eq=False)
class Encoding:
    """The costly, prompt-independent part of a prediction, for one region of one volume.

    Attributes
    ----------
    region
        The part of the volume it describes.
    data
        The model's own; nobody else looks inside.
    nbytes
        Memory held, for the cache.
    """

    region: Region
    data: Any
    nbytes: int


@dataclass(frozen=True, eq=False)
class LogitsPatch:
    """A model's answer on the native grid.

    Attributes
    ----------
    region
        Where the answer lies; outside of it the object is absent.
    logits
        float32 (z, y, x) of ``region.shape``; the mask is where it is above 0.
    method
        Stable word of the method that made it (``"builtin"``, ``"sam-med3d"``).
    given
        What the model was given, in words, after translation.
    state
        Whatever the model wants back as ``previous`` (low-resolution logits).
    """

    region: Region
    logits: npt.NDArray[np.float32]
    method: str
    given: tuple[str, ...] = ()
    state: Any = None

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Boolean (z, y, x) of ``region.shape``."""
        return np.asarray(self.logits > 0)


@runtime_checkable
class Promptable(Protocol):
    """Prompts in, a mask out."""

    @property
    def name(self) -> str:
        """Stable word, used on the command line and in manifests."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same input would give another answer (code or weights)."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def region(self, geometry: Geometry, prompts: PromptList) -> Region:
        """Return the part of the volume this model wants to see for ``prompts``.

        Must depend on the prompts' place only as far as needed, so that the next
        click of the same object usually finds its encoding in the cache.
        """
        ...

    def encode(
        self, volume: Volume, region: Region, progress: Progress, cancel: CancelToken
    ) -> Encoding:
        """Do the prompt-independent work for ``region``."""
        ...

    def predict(
        self,
        encoding: Encoding,
        prompts: PromptList,
        previous: LogitsPatch | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> LogitsPatch:
        """Return the mask for all ``prompts`` of one object, oldest first.

        ``previous`` is this model's last answer for the same object and encoding, if any.
        Every clicked voxel must come out as clicked.
        """
        ...

    def warm_up(self) -> None:
        """Run once on the inference thread before the first click (kernels, plans, imports)."""
        ...


@runtime_checkable
class Labeler(Protocol):
    """A volume in, all its structures out."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def classes(self) -> Mapping[int, str]: ...

    def label(
        self,
        volume: Volume,
        classes: Collection[str] | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> LabelVolume: ...


@runtime_checkable
class StreamingLabeler(Labeler, Protocol):
    """A labeler that hands out what is finished while it goes on."""

    def label_into(
        self,
        labels: npt.NDArray[np.unsignedinteger],
        volume: Volume,
        classes: Collection[str] | None,
        progress: Progress,
        cancel: CancelToken,
        finished: Callable[[Region], None],
    ) -> None:
        """Write into ``labels`` (the volume's shape, 0 everywhere) region by region.

        ``finished`` is called with every region once it is done, on the working thread.
        Regions do not overlap; where none comes, background is the answer. What is
        finished stays when the work is cancelled.
        """
        ...


@dataclass(frozen=True, eq=False)
class Localization:
    """Where an organ was found.

    Attributes
    ----------
    points
        Its extreme points, in index coordinates.
    confidence
        How far to trust them, 0..1.
    parts
        Extreme points of its slabs, where the localizer finds those too.
    """

    points: ExtremePoints
    confidence: float
    parts: tuple[ExtremePoints, ...] = ()


@runtime_checkable
class Localizer(Protocol):
    """Templates and a volume in, extreme points by organ out."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def localize(
        self, templates: Any, volume: Volume, progress: Progress, cancel: CancelToken
    ) -> Mapping[str, Localization]: ...


@runtime_checkable
class Segmenter(Protocol):
    """Out-of-core work: a pure function of one block and its halo, picklable by reference."""

    @property
    def halo(self) -> tuple[int, int, int]: ...

    def segment_block(
        self, block: npt.NDArray[Any], halo: tuple[int, int, int]
    ) -> npt.NDArray[Any]: ...


@dataclass(frozen=True)
class Method:
    """A promptable on offer: its name, what a menu shows, and how to make it."""

    name: str
    title: str
    make: Callable[[], Promptable] = field(compare=False)
