"""`BuiltinLocalizer`: templates and a scan in, extreme points and confidence by organ out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openmedlab.builtin.localizer.align import align
from openmedlab.builtin.localizer.evidence import Guess, guess, surface
from openmedlab.builtin.localizer.fuse import fuse
from openmedlab.builtin.localizer.scan import Scan, prepare
from openmedlab.core import CancelToken, InputError, Localization, Progress, Volume
from openmedlab.localization.fit import require_fit

VERSION = "1"
Arrays = Mapping[str, npt.NDArray[Any]]


class MarkedOrgan(Protocol):
    """What is read of a template (`openmedlab.localization.template.Template`)."""

    @property
    def organ(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def scan(self) -> str: ...

    @property
    def points(self) -> npt.NDArray[np.float64]: ...

    @property
    def volume(self) -> Any: ...


class Templates(Protocol):
    """What is asked of a library (`openmedlab.localization.templates.TemplateLibrary`)."""

    @property
    def templates(self) -> Collection[MarkedOrgan]: ...

    def features(
        self, template: Any, model_key: str, make: Callable[[Volume], Arrays], /
    ) -> Arrays: ...


class BuiltinLocalizer:
    """Finds organs by laying whole template scans over the scan; needs no weights.

    A translation of the whole scan (all tried at once), an affine, and a smooth field
    around the organs carry the six points of every template over; the organs of one
    template scan share all of it. Where several templates mark an organ, what they
    agree on counts.
    """

    @property
    def name(self) -> str:
        """Stable word, used on the command line and in manifests."""
        return "builtin"

    @property
    def version(self) -> str:
        """Changes whenever the same input would give another answer."""
        return VERSION

    def localize(
        self, templates: Templates, volume: Volume, progress: Progress, cancel: CancelToken
    ) -> dict[str, Localization]:
        """Find every organ of a template library.

        Parameters
        ----------
        templates
            A `TemplateLibrary`. A template whose scan is gone is left out and told.
        volume
            A scan in any orientation.

        Returns
        -------
        dict
            By organ: six points inside the volume in continuous (z, y, x), and the
            probability that their box overlaps the organ's with an IoU of 0.4 or more.
            An organ whose place lies outside the volume is not among them.

        Raises
        ------
        InputError
            The volume is empty, another kind of image than the templates', or no template
            can be used.
        Cancelled
            ``cancel`` was raised; it is looked at before every search.
        """
        if not templates.templates:
            raise InputError("There is no template to look for; add one first.")
        require_fit(volume, {t.volume.modality for t in templates.templates})
        query = prepare(volume)
        guesses = self._guesses(templates, query, progress, cancel)
        found = {organ: fuse(said, volume.geometry) for organ, said in guesses.items()}
        return {organ: place for organ, place in found.items() if place is not None}

    def _guesses(
        self, library: Templates, query: Scan, progress: Progress, cancel: CancelToken
    ) -> dict[str, list[Guess]]:
        """Align every template scan once and return what its templates say, by organ."""
        by_scan: dict[str, list[MarkedOrgan]] = defaultdict(list)
        for template in library.templates:
            by_scan[template.scan].append(template)
        guesses: dict[str, list[Guess]] = defaultdict(list)
        left_out = []
        for done, marked in enumerate(by_scan.values()):
            cancel.check()
            progress.report(done, len(by_scan), f"template scan {done + 1} of {len(by_scan)}")
            try:
                scan = self._scan(library, marked[0])
            except InputError as error:
                left_out.append(str(error))
                progress.report(done, len(by_scan), str(error))
                continue
            for template, said in zip(marked, _say(scan, query, marked, cancel), strict=True):
                guesses[template.organ].append(said)
        progress.report(len(by_scan), len(by_scan), "found")
        if not guesses:
            raise InputError(" ".join(left_out))
        return guesses

    def _scan(self, library: Templates, template: MarkedOrgan) -> Scan:
        arrays = library.features(
            template, f"{self.name} {VERSION}", lambda volume: prepare(volume).arrays()
        )
        return Scan.from_arrays(dict(arrays))


def _say(
    scan: Scan, query: Scan, marked: Sequence[MarkedOrgan], cancel: CancelToken
) -> list[Guess]:
    faces = [surface(t.points, t.volume.geometry) for t in marked]
    alignment = align(scan, query, np.concatenate(faces), cancel.check)
    return [guess(alignment, points) for points in faces]
