"""The review of found organs: what was accepted, corrected, rejected; kept in a journal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from openmedlab.core import Journal
from openmedlab.io.scans import Scan, named_scans

Decision = Literal["accepted", "corrected", "rejected"]
DECISIONS: tuple[Decision, ...] = ("accepted", "corrected", "rejected")


@dataclass(frozen=True)
class Decided:
    """What a person said of one organ in one scan.

    Attributes
    ----------
    decision
        The word.
    confidence
        What the localizer had said.
    points
        Extreme points in LPS millimetres as they were when decided; empty when rejected.
    """

    decision: Decision
    confidence: float
    points: tuple[tuple[float, ...], ...] = ()


class Review:
    """Decisions by scan and organ, the newest counts; each is in the file at once.

    Parameters
    ----------
    path
        The journal; continued when there.

    Raises
    ------
    InputError
        It cannot be written, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._decided: dict[str, dict[str, Decided]] = {}
        self._finished: set[str] = set()
        self._journal = Journal(path)
        for record in Journal.read(path):
            if record["op"] == "decide":
                points = tuple(map(tuple, record["points"]))
                said = Decided(record["decision"], record["confidence"], points)
                self._decided.setdefault(record["scan"], {})[record["organ"]] = said
            elif record["op"] == "finish":
                self._finished.add(record["scan"])

    def decide(
        self,
        scan: str,
        organ: str,
        decision: Decision,
        confidence: float,
        points: npt.ArrayLike = (),
    ) -> None:
        """Note a decision; an earlier one on the same organ gives way."""
        rows = tuple(tuple(float(v) for v in p) for p in np.asarray(points).tolist())
        said = Decided(decision, float(confidence), rows)
        self._decided.setdefault(scan, {})[organ] = said
        record = {
            "scan": scan,
            "organ": organ,
            "decision": said.decision,
            "confidence": said.confidence,
            "points": said.points,
        }
        self._journal.append("decide", lambda: record)

    def of(self, scan: str) -> dict[str, Decided]:
        """Return the decisions on one scan, by organ."""
        return dict(self._decided.get(scan, {}))

    def finish(self, scan: str) -> None:
        """Note that nothing is left to do on a scan."""
        self._finished.add(scan)
        self._journal.append("finish", lambda: {"scan": scan})

    def finished(self, scan: str) -> bool:
        """Whether `finish` was called for a scan, now or in an earlier session."""
        return scan in self._finished

    @property
    def counts(self) -> dict[Decision, int]:
        """How many organs were accepted as found, corrected, and rejected."""
        counted = Counter(d.decision for organs in self._decided.values() for d in organs.values())
        return {decision: counted[decision] for decision in DECISIONS}

    def flush(self) -> None:
        """Wait until everything is in the file."""
        self._journal.flush()

    def close(self) -> None:
        """Write what is queued and close the file."""
        self._journal.close()


class CohortReview:
    """The scans below a folder, one after the other, and what was decided on them.

    Parameters
    ----------
    folder
        Searched through for scans.
    results
        Where the journal and the masks go; beside ``folder`` by default, as ``NAME_organs``.

    Raises
    ------
    InputError
        There are no scans, or the journal cannot be written.
    """

    def __init__(self, folder: Path, results: Path | None = None) -> None:
        self.results = results or folder.resolve().parent / f"{folder.resolve().name}_organs"
        self.scans = named_scans([folder], self.results)
        self.review = Review(self.results / "review.jsonl")
        self.current: Scan | None = None
        self._passed: set[Path] = set()

    def next(self) -> Scan | None:
        """Return the first scan that is neither finished nor passed; it is the current one."""
        self.current = next((s for s in self.scans if self._is_open(s)), None)
        return self.current

    def _is_open(self, scan: Scan) -> bool:
        return scan.image not in self._passed and not self.review.finished(scan.name.as_posix())

    def finish(self) -> None:
        """Note that nothing is left to do on the current scan."""
        if self.current is not None:
            self.review.finish(self.current.name.as_posix())

    def pass_over(self) -> None:
        """Leave the current scan out until the folder is opened again."""
        if self.current is not None:
            self._passed.add(self.current.image)

    @property
    def done(self) -> int:
        """How many scans are finished."""
        return sum(self.review.finished(s.name.as_posix()) for s in self.scans)

    def labels_path(self) -> Path:
        """Return where the masks of the current scan go."""
        assert self.current is not None
        name = self.current.name
        return self.results / name.with_name(f"{name.name}_labels.nii.gz")
