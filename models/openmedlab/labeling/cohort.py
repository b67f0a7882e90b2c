"""A folder of scans: found, labelled one after the other or on a cluster, the bad ones listed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from openmedlab.core import CancelToken, InputError, Labeler, Progress
from openmedlab.engine.cohort import Failed, run_cohort
from openmedlab.io.formats import label_suffixes, stem
from openmedlab.io.scans import find_scans
from openmedlab.labeling.methods import LabelerChoice
from openmedlab.labeling.run import Labelled, label_volume

ENDING = ".nii.gz"

Outcome = Labelled | Failed


@dataclass(frozen=True)
class Job:
    """One scan of a cohort; plain values, so that it travels to a worker."""

    image: Path
    output: Path
    choice: LabelerChoice
    classes: tuple[str, ...] | None


def label_cohort(
    folder: Path,
    out: Path,
    choice: LabelerChoice,
    *,
    classes: Collection[str] | None = None,
    scheduler: str | None = None,
    ending: str = ENDING,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Label every scan below a folder; go on where an earlier run stopped.

    Parameters
    ----------
    folder
        Searched through; scans keep their place below ``out``.
    out
        Folder for ``NAME_labels.nii.gz`` and their manifests.
    choice
        The labeler.
    classes
        Names to label; all by default.
    scheduler
        Address of a Dask scheduler whose workers see the same folders; without one,
        the scans are done here, one after the other.
    ending
        Of the labelmaps.
    on_outcome
        Called with each scan's outcome as it comes.

    Returns
    -------
    list of Labelled or Failed
        In the order of the scans; scans that cannot be labelled do not stop the others.

    Raises
    ------
    InputError
        No scans, an unknown method, or no scheduler at that address.
    Cancelled
        What was finished before is kept and skipped by the next run.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    choice.check()
    if ending not in label_suffixes():
        raise InputError(f"Labels cannot be written as {ending}.")
    scans = find_scans(folder, out)
    if not scans:
        raise InputError(f"{folder} holds no images; give a folder with scans below it.")
    wanted = None if classes is None else tuple(classes)
    jobs = [Job(p, out / _name(p, folder, ending), choice, wanted) for p in scans]
    progress.report(0, len(jobs), "Labelling")
    if scheduler is None:
        _labeler(choice)
    return run_cohort(
        jobs, run_job, scheduler=scheduler, progress=progress, cancel=cancel, on_outcome=on_outcome
    )


def _name(scan: Path, folder: Path, ending: str) -> Path:
    place = scan.relative_to(folder).parent if scan != folder else Path()
    return place / f"{stem(scan)}_labels{ending}"


_made: dict[LabelerChoice, Labeler] = {}


def _labeler(choice: LabelerChoice) -> Labeler:
    """Return the labeler, made once for all scans of this process."""
    if choice not in _made:
        _made.clear()
        _made[choice] = choice.make()
    return _made[choice]


def run_job(job: Job, cancel: CancelToken | None = None) -> Labelled:
    """Label one scan."""
    labeler = _labeler(job.choice)
    return label_volume(
        job.image, labeler, job.output, classes=job.classes, resume=True, cancel=cancel
    )
