"""Statistics and warnings of a labelmap that is being edited, and how far it was changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openmedlab.core import CancelToken, Edit, LabelVolume, Progress, Region, Volume
from openmedlab.labeling.statistics import LabelStatistics, label_statistics, measured_again
from openmedlab.labeling.warnings import LabelWarning, label_warnings


@dataclass(frozen=True)
class Measures:
    """What a labelmap measures and what deserves a second look.

    Attributes
    ----------
    statistics
        By label number.
    warnings
        Of the whole labelmap.
    expected
        Names that should occur.
    """

    statistics: tuple[LabelStatistics, ...]
    warnings: tuple[LabelWarning, ...]
    expected: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        labels: LabelVolume,
        image: Volume | None,
        expected: Collection[str] = (),
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Measures:
        """Measure everything.

        Raises
        ------
        InputError
            The image lies on another grid.
        Cancelled
            Between two labels.
        """
        rows = label_statistics(labels, image, progress, cancel)
        found = label_warnings(rows, labels, expected)
        return cls(tuple(rows), tuple(found), tuple(expected))

    def after(
        self,
        edits: Iterable[Edit],
        labels: LabelVolume,
        image: Volume | None,
        cancel: CancelToken | None = None,
    ) -> Measures:
        """Return the measures after some edits; only what they touched is looked at again."""
        changed: dict[int, Region] = {}
        for edit in edits:
            for number in edit.touched:
                changed[number] = changed.get(number, edit.region).union(edit.region)
        rows = measured_again(self.statistics, labels, image, changed, cancel)
        touched = {row.name for row in (*self.statistics, *rows) if row.number in changed}
        found = label_warnings(rows, labels, self.expected, touched)
        kept = [w for w in self.warnings if w.kind == "fragmented" and w.name not in touched]
        return Measures(tuple(rows), (*found, *kept), self.expected)


class Changes:
    """Voxels of a labelmap that differ from what they were when this was made.

    Remembers the first label of every voxel that an edit touched; undoing an edit leaves
    nothing to count.

    Parameters
    ----------
    shape
        Of the labelmap.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._where = np.empty(0, np.int64)
        self._before: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def note(self, edit: Edit) -> None:
        """Take an edit in; all edits have to come, in order."""
        local = np.nonzero(edit.before != edit.after)
        index = tuple(a + o for a, o in zip(local, edit.region.start, strict=True))
        where = np.ravel_multi_index(index, self._shape)
        new = ~np.isin(where, self._where)
        self._where = np.concatenate([self._where, where[new]])
        self._before = np.concatenate([self._before, edit.before[local][new].astype(np.int64)])

    def count(self, labelmap: npt.NDArray[np.unsignedinteger]) -> dict[int, tuple[int, int]]:
        """Return how many voxels each label gained and lost, background left out."""
        now = labelmap[np.unravel_index(self._where, self._shape)].astype(np.int64)
        differs = now != self._before
        gained, lost = (np.bincount(side[differs]) for side in (now, self._before))
        size = max(gained.size, lost.size)
        gained, lost = (np.pad(side, (0, size - side.size)) for side in (gained, lost))
        numbers = np.flatnonzero(gained + lost)
        return {int(n): (int(gained[n]), int(lost[n])) for n in numbers if n}

    def total(self, labelmap: npt.NDArray[np.unsignedinteger]) -> int:
        """Return how many voxels differ."""
        now = labelmap[np.unravel_index(self._where, self._shape)]
        return int(np.count_nonzero(now != self._before))
