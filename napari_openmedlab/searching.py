"""Finding organs and making their masks, as it runs on the inference thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openmedlab import zoo
from openmedlab.core import (
    CancelToken,
    InputError,
    Localization,
    Localizer,
    LogitsPatch,
    Progress,
    Volume,
)
from openmedlab.localization.fit import require_fit
from openmedlab.localization.methods import LocalizerChoice
from openmedlab.localization.templates import TemplateLibrary
from openmedlab.medlsam.pipeline import MedLSAM


@dataclass(frozen=True, eq=False)
class Found:
    """What a localizer said, and sentences on templates that were left out."""

    organs: Mapping[str, Localization]
    remarks: list[str]


class Searcher:
    """Localizers and pipelines to masks, made once each."""

    def __init__(self) -> None:
        self._localizers: dict[LocalizerChoice, Localizer] = {}
        self._pipelines: dict[str, MedLSAM] = {}

    def search(
        self,
        library: TemplateLibrary,
        volume: Volume,
        choice: LocalizerChoice,
        progress: Progress,
        cancel: CancelToken,
    ) -> Found:
        """Look for the library's organs.

        Raises
        ------
        InputError
            No template can be used, or the scan is empty or another kind of image.
        """
        progress.report(0, 0, "Looking at the templates")
        usable, remarks = library.usable()
        if not usable.templates:
            raise InputError(" ".join(remarks))
        require_fit(volume, {t.volume.modality for t in usable.templates})
        if choice not in self._localizers:
            self._localizers[choice] = choice.make()
        progress.report(0, 0, f"Looking for organs with {choice.name}")
        found = self._localizers[choice].localize(usable, volume, progress, cancel)
        return Found(found, remarks)

    def mask(
        self,
        volume: Volume,
        method: str,
        organ: str,
        located: Localization,
        progress: Progress,
        cancel: CancelToken,
    ) -> LogitsPatch:
        """Return the mask that a method makes of an organ's box."""
        progress.report(0, 0, f"Segmenting {organ}")
        if method not in self._pipelines:
            self._pipelines[method] = MedLSAM(None, zoo.methods()[method].method.make())
        pipeline = self._pipelines[method]
        return pipeline.segment(volume, {organ: located}, progress, cancel)[organ]
