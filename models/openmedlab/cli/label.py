"""``openmedlab label``: a scan or a folder of scans in, labelmaps out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmedlab.cli.console import interruptible, progress, result, say, table

if TYPE_CHECKING:
    from openmedlab.engine.cohort import Failed
    from openmedlab.labeling.methods import LabelerChoice
    from openmedlab.labeling.run import Labelled

FAILED = 1


def label(
    image: Annotated[
        Path, typer.Argument(help="An image file, a DICOM folder, or a folder of scans.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Labelmap file; for a folder of scans a folder.")
    ],
    model: Annotated[
        str, typer.Option(help="builtin-tissues, stu-net-s, stu-net-b, stu-net-l or stu-net-h.")
    ] = "builtin-tissues",
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint to use instead of the stored one.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Only these structures: liver,spleen,...")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Coarser and quicker: 3 mm.")] = False,
    stats: Annotated[
        Path | None, typer.Option(help="CSV with volume, mean HU, centroid of every structure.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, for a folder of scans.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Label all structures of IMAGE, or of every scan below a folder.

    A folder's run goes on where an earlier one stopped; scans that cannot be labelled are
    listed at the end and give exit code 1.
    """
    from openmedlab.core import InputError
    from openmedlab.io.scans import is_cohort
    from openmedlab.labeling.methods import LabelerChoice

    choice = LabelerChoice(model, weights, device, fast)
    choice.check()
    names = [n.strip() for n in classes.split(",") if n.strip()] if classes else None
    if is_cohort(image):
        _cohort(image, out, choice, names, stats, scheduler, as_json)
    elif scheduler is not None:
        raise InputError("A scheduler is for a folder of scans; leave it out for one image.")
    else:
        _one(image, out, choice, names, stats, as_json)


def _one(
    image: Path,
    out: Path,
    choice: LabelerChoice,
    names: list[str] | None,
    stats: Path | None,
    as_json: bool,
) -> None:
    from openmedlab.io.formats import writable
    from openmedlab.labeling.run import label_volume
    from openmedlab.labeling.statistics import to_csv

    writable(out, "labels")
    labeler = choice.make()
    with progress(f"Labelling with {labeler.name}") as report, interruptible() as cancel:
        done = label_volume(image, labeler, out, classes=names, progress=report, cancel=cancel)
    if stats is not None:
        to_csv({str(image): done.statistics}, stats)
    _warn(done)
    result(_record(done), _text(done), as_json)


def _cohort(
    folder: Path,
    out: Path,
    choice: LabelerChoice,
    names: list[str] | None,
    stats: Path | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    from openmedlab.labeling.cohort import label_cohort
    from openmedlab.labeling.run import Labelled
    from openmedlab.labeling.statistics import to_csv

    def tell(outcome: Labelled | Failed) -> None:
        if isinstance(outcome, Labelled):
            say(f"{outcome.image}: {'kept' if outcome.kept else 'labelled'}")
            _warn(outcome)
        else:
            say(f"{outcome.image}: failed. {outcome.reason}")

    with progress("Labelling") as report, interruptible() as cancel:
        outcomes = label_cohort(
            folder,
            out,
            choice,
            classes=names,
            scheduler=scheduler,
            progress=report,
            cancel=cancel,
            on_outcome=tell,
        )
    done = [o for o in outcomes if isinstance(o, Labelled)]
    failed = [o for o in outcomes if not isinstance(o, Labelled)]
    if stats is not None:
        to_csv({str(o.image): o.statistics for o in done}, stats)
    record = {
        "done": [_record(o) for o in done],
        "failed": [{"image": str(o.image), "reason": o.reason} for o in failed],
    }
    lines = [f"{len(done)} scans labelled, {len(failed)} failed."]
    lines += [f"failed: {o.image}: {o.reason}" for o in failed]
    result(record, "\n".join(lines), as_json)
    if failed:
        raise typer.Exit(FAILED)


def _warn(done: Labelled) -> None:
    for warning in done.warnings:
        say(f"Note: {warning.text}")


def _record(done: Labelled) -> dict[str, Any]:
    return {
        "image": str(done.image),
        "output": str(done.output),
        "manifest": str(done.manifest),
        "kept": done.kept,
        "seconds": done.seconds,
        "structures": {
            s.name: {
                "label": s.number,
                "voxels": s.voxels,
                "ml": round(s.ml, 3),
                "mean_hu": round(s.mean, 2),
                "sd_hu": round(s.sd, 2),
                "centroid_lps_mm": [round(v, 3) for v in s.centroid],
                "touches_border": s.touches_border,
            }
            for s in done.statistics
        },
        "warnings": [w.text for w in done.warnings],
    }


def _text(done: Labelled) -> str:
    rows: list[tuple[str, ...]] = [
        (s.name, f"{s.ml:.1f}", f"{s.mean:.0f}", f"{s.sd:.0f}", "yes" if s.touches_border else "no")
        for s in done.statistics
    ]
    return f"{done.output}\n{table(('structure', 'ml', 'mean HU', 'SD', 'at border'), rows)}"
