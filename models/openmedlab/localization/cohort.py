"""A cohort: organs found in every scan, with a table and a page for review."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from openmedlab.core import CancelToken, InputError, Progress
from openmedlab.engine.cohort import Failed, run_cohort
from openmedlab.io.formats import label_suffixes
from openmedlab.io.scans import named_scans
from openmedlab.localization.methods import LocalizerChoice, PromptableChoice
from openmedlab.localization.page import write_page
from openmedlab.localization.result import ScanResult, write_csv
from openmedlab.localization.run import ScanJob, Task, do_scan, library_state, tools
from openmedlab.localization.templates import TemplateLibrary

Outcome = ScanResult | Failed
TABLE, PAGE = "organs.csv", "review.html"


@dataclass(frozen=True)
class CohortResult:
    """What became of a cohort: scans, the templates left out and why, table and page."""

    outcomes: tuple[Outcome, ...]
    remarks: tuple[str, ...]
    table: Path
    page: Path

    @property
    def done(self) -> list[ScanResult]:
        """The scans that went well."""
        return [o for o in self.outcomes if isinstance(o, ScanResult)]

    @property
    def failed(self) -> list[Failed]:
        """The others."""
        return [o for o in self.outcomes if isinstance(o, Failed)]


def localize_cohort(
    scans: Sequence[Path],
    library: Path,
    out: Path,
    *,
    localizer: LocalizerChoice | None = None,
    method: PromptableChoice | None = None,
    organs: Collection[str] = (),
    ending: str = ".nii.gz",
    scheduler: str | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    on_remark: Callable[[str], None] = lambda _: None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> CohortResult:
    """Find organs in every scan; go on where an earlier run stopped.

    Parameters
    ----------
    scans
        Images, DICOM folders, or folders of scans.
    library
        Folder of templates. Those whose scan is gone or changed are left out and told.
    out
        Folder for ``NAME_boxes.json``, ``NAME_labels.nii.gz``, ``organs.csv``, ``review.html``.
    localizer, method
        What finds boxes; what makes masks of them, no masks for None.
    organs
        Names; all the library has by default.
    ending
        Of the labelmaps.
    scheduler
        Address of a Dask scheduler whose workers see the same folders.
    on_remark, on_outcome
        Called with each sentence about the templates, and with each scan's outcome.

    Raises
    ------
    InputError
        No scans, no usable template, an unknown name, or no scheduler at that address.
    Cancelled
        What was finished before is kept and skipped by the next run.
    """
    progress = progress or Progress()
    choice = localizer or LocalizerChoice()
    choice.check()
    if ending not in label_suffixes():
        raise InputError(f"Labels cannot be written as {ending}.")
    found = named_scans(scans, out)
    task, remarks = _task(library, organs, choice, method, ending)
    for remark in remarks:
        on_remark(remark)
    if scheduler is None:
        tools(task)
    jobs = [ScanJob(s.image, s.name, out, task) for s in found]
    outcomes = run_cohort(
        jobs,
        do_scan,
        scheduler=scheduler,
        progress=progress,
        cancel=cancel,
        on_outcome=on_outcome,
    )
    result = CohortResult(tuple(outcomes), tuple(remarks), out / TABLE, out / PAGE)
    write_csv(result.done, result.table)
    write_page(result.done, result.failed, remarks, out, result.page)
    return result


def _task(
    folder: Path,
    organs: Collection[str],
    localizer: LocalizerChoice,
    method: PromptableChoice | None,
    ending: str,
) -> tuple[Task, list[str]]:
    """Return the task with usable templates alone, and what was left out."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no template library; make one: openmedlab template.")
    whole = TemplateLibrary(folder)
    wanted = whole.only(organs) if organs else whole
    usable, remarks = wanted.usable()
    if not usable.templates:
        raise InputError(
            " ".join(remarks) or f"{folder} holds no templates; add some: openmedlab template add."
        )
    state = library_state(usable)
    left_out = tuple(sorted(usable.left_out))
    return Task(folder, usable.organs, localizer, method, left_out, state, ending), remarks
