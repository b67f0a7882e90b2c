"""A folder of scans: found, labelled one after the other or on a cluster, the bad ones listed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from openmedlab.core import CancelToken, InputError, Labeler, OpenMedLabError, Progress
from openmedlab.io.checks import existing
from openmedlab.io.formats import by_content, by_suffix, label_suffixes, stem, volume_suffixes
from openmedlab.labeling.methods import LabelerChoice
from openmedlab.labeling.run import Labelled, label_volume

ENDING = ".nii.gz"
CONNECT_S = 20


@dataclass(frozen=True)
class Failed:
    """A scan that could not be labelled, and why, in a sentence."""

    image: Path
    reason: str


Outcome = Labelled | Failed


@dataclass(frozen=True)
class Job:
    """One scan of a cohort; plain values, so that it travels to a worker."""

    image: Path
    output: Path
    choice: LabelerChoice
    classes: tuple[str, ...] | None


def is_cohort(path: Path) -> bool:
    """Whether a path is a folder of scans rather than one image."""
    found = existing(path)
    if not found.is_dir():
        return False
    form = by_content(found)
    if form is not None and form.name == "omezarr":
        return False
    return any(scan != found for scan in _scans(found))


def find_scans(folder: Path, beside: Path | None = None) -> list[Path]:
    """Return the images below a folder: files, OME-Zarr and DICOM series folders, by name.

    Labelmaps (``labels.*``, ``*_labels.*``, ``*.seg.nrrd``), hidden files and what
    lies in the output folder ``beside`` are left out.
    """
    inside = None if beside is None else beside.expanduser().resolve()
    scans = (p for p in _scans(existing(folder)) if inside is None or not _below(p, inside))
    return sorted(scans)


def _below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _scans(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        images = [here / n for n in files if not n.startswith(".")]
        zarrs = [n for n in folders if n.lower().endswith(".zarr")]
        folders[:] = sorted(n for n in folders if n not in zarrs and not n.startswith("."))
        yield from (here / n for n in zarrs)
        slices = [p for p in images if _is_slice(p)]
        if slices:
            yield here
        yield from (p for p in images if _is_image(p))


def _is_slice(path: Path) -> bool:
    form = by_suffix(path)
    if form is not None:
        return form.name == "dicom"
    found = by_content(path) if path.suffix == "" and path.stat().st_size else None
    return found is not None and found.name == "dicom"


def _is_image(path: Path) -> bool:
    form = by_suffix(path)
    if form is None or form.name == "dicom" or not path.name.lower().endswith(volume_suffixes()):
        return False
    own = stem(path).lower()
    return form.name != "segnrrd" and own != "labels" and not own.endswith("_labels")


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
    outcomes: list[Outcome] = []
    done = _here(jobs, cancel) if scheduler is None else _on_cluster(jobs, scheduler, cancel)
    progress.report(0, len(jobs), "Labelling")
    for outcome in done:
        outcomes.append(outcome)
        on_outcome(outcome)
        progress.report(len(outcomes), len(jobs), outcome.image.name)
    order = {job.image: k for k, job in enumerate(jobs)}
    return sorted(outcomes, key=lambda o: order[o.image])


def _name(scan: Path, folder: Path, ending: str) -> Path:
    place = scan.relative_to(folder).parent if scan != folder else Path()
    return place / f"{stem(scan)}_labels{ending}"


def _here(jobs: list[Job], cancel: CancelToken) -> Iterator[Outcome]:
    for job in jobs:
        cancel.check()
        yield run_job(job, cancel)


_made: dict[LabelerChoice, Labeler] = {}


def run_job(job: Job, cancel: CancelToken | None = None) -> Outcome:
    """Label one scan; a bad one becomes a `Failed`. The labeler is kept for the next scan."""
    if job.choice not in _made:
        _made.clear()
        _made[job.choice] = job.choice.make()
    try:
        return label_volume(
            job.image,
            _made[job.choice],
            job.output,
            classes=job.classes,
            resume=True,
            cancel=cancel,
        )
    except (OpenMedLabError, MemoryError, OSError) as error:
        return Failed(job.image, str(error) or type(error).__name__)


def _on_cluster(jobs: list[Job], address: str, cancel: CancelToken) -> Iterable[Outcome]:
    try:
        from distributed import Client, as_completed
    except ModuleNotFoundError as error:
        raise InputError(
            "A scheduler needs Dask's cluster part; install it with: "
            "pip install 'napari-openmedlab[cluster]'."
        ) from error
    try:
        client = Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise InputError(f"No Dask scheduler answers at {address}; check the address.") from error
    with client:
        futures = client.map(run_job, jobs, pure=False)
        for future in as_completed(futures):
            if cancel.cancelled:
                client.cancel(futures)
                cancel.check()
            outcome: Outcome = future.result()
            yield outcome
