"""`LabelRun`: one scan being labelled, its finished regions there to be looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image

from openmedlab.core import (
    CancelToken,
    Label,
    Labeler,
    Progress,
    Region,
    StreamingLabeler,
    Volume,
)
from openmedlab.engine import InferenceThread, Ticket
from openmedlab.labeling.methods import OfferedLabeler


@dataclass(frozen=True)
class Report:
    """How far the work is."""

    done: int = 0
    total: int = 0
    text: str = "waiting …"


class LabelRun:
    """A labelling on the inference thread.

    Parameters
    ----------
    image
        The layer.
    volume
        The same as a volume.
    offered
        The model.
    names
        Structures to label; None for all.
    fast
        Whether it is the coarser and quicker kind.

    Attributes
    ----------
    array
        (z, y, x) labels, filled region by region.
    report
        The newest word of the model.
    finished
        Voxels in the regions that are done.
    method, version, labels
        Who made it, and what its numbers mean; known once the model was loaded.
    seconds
        Wall time.
    """

    def __init__(
        self,
        image: Image,
        volume: Volume,
        offered: OfferedLabeler,
        names: frozenset[str] | None,
        fast: bool = False,
    ) -> None:
        self.image = image
        self.volume = volume
        self.offered = offered
        self.names = names
        self.fast = fast
        self.array = np.zeros(volume.shape, np.min_scalar_type(len(offered.labels)))
        self.report = Report()
        self.finished = 0
        self.method = offered.name
        self.version = ""
        self.labels: dict[int, Label] = {}
        self.seconds = 0.0
        self._shown = 0

    def submit(
        self,
        thread: InferenceThread,
        make: Callable[[], Labeler],
        ended: Callable[[Ticket[None]], None],
    ) -> Ticket[None]:
        """Queue the work; ``make`` is called on the inference thread and may load weights."""

        def work(progress: Progress, cancel: CancelToken) -> None:
            started = time.perf_counter()
            try:
                self._work(make, progress, cancel)
            finally:
                self.seconds = time.perf_counter() - started

        return thread.submit(work, on_report=self._note, on_end=ended)

    def _work(self, make: Callable[[], Labeler], progress: Progress, cancel: CancelToken) -> None:
        progress.report(0, 0, "Loading the model …")
        labeler = make()
        cancel.check()
        self.method, self.version = labeler.name, labeler.version
        self.labels = _meaning(labeler, self.offered, self.names)
        if isinstance(labeler, StreamingLabeler):
            labeler.label_into(
                self.array, self.volume, self.names, progress, cancel, self._note_finished
            )
        else:
            self.array[...] = labeler.label(self.volume, self.names, progress, cancel).array
            self._note_finished(self.volume.geometry.region)

    def _note(self, done: int, total: int, text: str) -> None:
        self.report = Report(done, total, text)

    def _note_finished(self, region: Region) -> None:
        self.finished += region.size

    def has_news(self) -> bool:
        """Whether a region was finished since the last call."""
        finished, shown = self.finished, self._shown
        self._shown = finished
        return finished != shown

    def kept(self) -> str:
        """Say how much is finished."""
        part = self.finished / self.array.size
        steps = self.report
        after = f", after {steps.done} of {steps.total} steps" if steps.total else ""
        return f"{part:.0%} of the volume{after}"

    def request(self, whole: bool) -> dict[str, Any]:
        """Return what was asked for and what came of it, for a manifest."""
        return {
            "version": self.version,
            "fast": self.fast,
            "classes": None if self.names is None else sorted(self.names),
            "finished": 1.0 if whole else round(self.finished / self.array.size, 4),
            "seconds": round(self.seconds, 2),
        }


def _meaning(
    labeler: Labeler, offered: OfferedLabeler, names: frozenset[str] | None
) -> dict[int, Label]:
    """Return the labeler's own numbering; colours and codes come by name."""
    known = {label.name: label for label in offered.labels}
    return {
        number: known.get(name, Label(name))
        for number, name in labeler.classes.items()
        if names is None or name in names
    }
