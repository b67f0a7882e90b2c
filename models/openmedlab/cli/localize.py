"""``openmedlab localize`` and ``openmedlab medlsam``: organs of a cohort from a few templates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmedlab.cli.console import interruptible, progress, result, say, table

if TYPE_CHECKING:
    from openmedlab.localization.cohort import CohortResult, Outcome
    from openmedlab.localization.methods import LocalizerChoice, PromptableChoice

FAILED = 1

Scans = Annotated[
    list[Path], typer.Argument(help="Images, DICOM folders, or folders of scans to go through.")
]
Templates = Annotated[Path, typer.Option(help="Template library; see: openmedlab template.")]
Organs = Annotated[
    str | None, typer.Option(help="Only these organs: liver,spleen,... (default: all templates)")
]
Finder = Annotated[str, typer.Option("--localizer", help="builtin or medlam.")]
FinderWeights = Annotated[
    Path | None, typer.Option(help="Checkpoint of the localizer instead of the stored one.")
]
SubPatches = Annotated[
    bool, typer.Option("--sub-patches", help="MedLAM: look for slabs of each organ; slower.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def localize(
    scans: Scans,
    templates: Templates,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for boxes, table and page.")],
    organs: Organs = None,
    localizer: Finder = "builtin",
    localizer_weights: FinderWeights = None,
    sub_patches: SubPatches = False,
    device: Device = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Find the organs of a template library in every scan: boxes, a table and a page for review.

    A run goes on where an earlier one stopped; scans that cannot be done are listed at the
    end and give exit code 1.
    """
    from openmedlab.localization.methods import LocalizerChoice

    finder = LocalizerChoice(localizer, localizer_weights, device, sub_patches)
    _run(scans, templates, out, organs, finder, None, ".nii.gz", scheduler, as_json)


def medlsam(
    scans: Scans,
    templates: Templates,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for labelmaps, table and page.")],
    method: Annotated[
        str, typer.Option(help="What makes masks of the boxes; see: openmedlab models list.")
    ] = "builtin",
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint of the method instead of the stored one.")
    ] = None,
    organs: Organs = None,
    localizer: Finder = "builtin",
    localizer_weights: FinderWeights = None,
    sub_patches: SubPatches = False,
    device: Device = None,
    ending: Annotated[str, typer.Option(help="Of the labelmaps: .nii.gz, .seg.nrrd, ...")] = (
        ".nii.gz"
    ),
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Find the organs of a template library in every scan and segment them.

    A run goes on where an earlier one stopped; scans that cannot be done are listed at the
    end and give exit code 1.
    """
    from openmedlab.localization.methods import LocalizerChoice, PromptableChoice

    chosen = PromptableChoice(method, weights, device)
    finder = LocalizerChoice(localizer, localizer_weights, device, sub_patches)
    _run(scans, templates, out, organs, finder, chosen, ending, scheduler, as_json)


def _run(
    scans: list[Path],
    templates: Path,
    out: Path,
    organs: str | None,
    localizer: LocalizerChoice,
    method: PromptableChoice | None,
    ending: str,
    scheduler: str | None,
    as_json: bool,
) -> None:
    from openmedlab.localization.cohort import localize_cohort

    with progress("Looking for organs") as report, interruptible() as cancel:
        done = localize_cohort(
            scans,
            templates,
            out,
            localizer=localizer,
            method=method,
            organs=[n.strip() for n in organs.split(",") if n.strip()] if organs else (),
            ending=ending,
            scheduler=scheduler,
            progress=report,
            cancel=cancel,
            on_remark=lambda text: say(f"Note: {text}"),
            on_outcome=_tell,
        )
    result(_record(done), _text(done), as_json)
    if done.failed:
        raise typer.Exit(FAILED)


def _tell(outcome: Outcome) -> None:
    from openmedlab.engine.cohort import Failed

    if isinstance(outcome, Failed):
        say(f"{outcome.image}: failed. {outcome.reason}")
        return
    low = [o.organ for o in outcome.organs if o.status != "found"]
    look = f"; look at {', '.join(low)}" if low else ""
    say(f"{outcome.image}: {'kept' if outcome.kept else 'done'}{look}")


def _record(done: CohortResult) -> dict[str, Any]:
    return {
        "table": str(done.table),
        "page": str(done.page),
        "remarks": list(done.remarks),
        "done": [
            {
                "image": str(scan.image),
                "name": scan.name,
                "output": None if scan.output is None else str(scan.output),
                "kept": scan.kept,
                "localize_s": round(scan.localize_s, 3),
                "organs": {
                    o.organ: {
                        "status": o.status,
                        "confidence": round(o.confidence, 4),
                        "extreme_points_zyx": [list(p) for p in o.points],
                        "box_lps_mm": list(o.world),
                        "mask_ml": None if o.mask_ml is None else round(o.mask_ml, 3),
                        "note": o.note,
                    }
                    for o in scan.organs
                },
            }
            for scan in done.done
        ],
        "failed": [{"image": str(f.image), "reason": f.reason} for f in done.failed],
    }


def _text(done: CohortResult) -> str:
    rows: list[tuple[str, ...]] = [
        (
            scan.name,
            organ.organ,
            organ.status,
            f"{organ.confidence:.2f}",
            "" if organ.mask_ml is None else f"{organ.mask_ml:.1f}",
        )
        for scan in done.done
        for organ in scan.organs
    ]
    lines = [table(("scan", "organ", "status", "confidence", "ml"), rows)] if rows else []
    lines.append(f"{len(done.done)} scans done, {len(done.failed)} failed.")
    lines += [f"failed: {f.image}: {f.reason}" for f in done.failed]
    lines += [f"table: {done.table}", f"review: {done.page}"]
    return "\n".join(lines)
