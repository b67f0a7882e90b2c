"""``openmedlab segment``: prompts in, a mask file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmedlab.cli.console import interruptible, progress, result

if TYPE_CHECKING:
    from openmedlab.core import Geometry, LogitsPatch, Progress, Promptable, Session

Texts = list[str]


def segment(
    image: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, DICOM folder, OME-Zarr.")],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Where the mask goes: .nii.gz, .nrrd, .seg.nrrd, ..."),
    ],
    point: Annotated[
        Texts | None, typer.Option(help="z,y,x, or z,y,x:- for a negative one; repeatable.")
    ] = None,
    box: Annotated[
        Texts | None, typer.Option(help="z0,y0,x0,z1,y1,x1: two opposite corners.")
    ] = None,
    extreme: Annotated[
        Texts | None,
        typer.Option(help="Six points 'z,y,x z,y,x ...', together or one by one."),
    ] = None,
    scribble: Annotated[
        Texts | None, typer.Option(help="'z,y,x z,y,x ...' or FILE.json; :- at the end: negative.")
    ] = None,
    lasso: Annotated[
        Texts | None, typer.Option(help="Outline on one slice, written like a scribble.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A mask on the image's grid to start from.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Saved prompts (JSON), or the manifest of an earlier run.")
    ] = None,
    world: Annotated[
        bool,
        typer.Option("--world", help="Coordinates are x,y,z in LPS millimetres, not indices."),
    ] = False,
    method: Annotated[
        str, typer.Option(help="Stable name; see: openmedlab models list.")
    ] = "builtin",
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint to use instead of the stored one.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ...; default: the best there is.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the structure is called.")] = "object",
    label: Annotated[int, typer.Option(help="Its number in the labelmap.")] = 1,
    into: Annotated[
        Path | None,
        typer.Option(help="Labelmap to add the mask to; its other labels are protected."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Segment one structure of IMAGE from prompts.

    Coordinates are voxel indices z,y,x, counted from 0; whole numbers are voxel centres.
    """
    from openmedlab.cli.prompts import Given, parse
    from openmedlab.engine import answer_prompts, shared_cache
    from openmedlab.io import read_volume
    from openmedlab.io.formats import writable
    from openmedlab.zoo import promptable

    writable(out, "labels")
    volume = read_volume(image)
    given = Given(
        point or (), box or (), extreme or (), scribble or (), lasso or (), mask, prompts, world
    )
    wanted = parse(given, volume.geometry)
    session = open_session(volume, into)
    if label not in {o.number for o in session.objects}:
        session.add_object(name, number=label)
    session.set_prompts(label, wanted)
    model = promptable(method, weights, device)
    with progress(f"Segmenting with {model.name}") as report, interruptible() as cancel:
        patch = answer_prompts(
            model, volume, session.model_prompts(label), progress=report, cancel=cancel
        )
    manifest = write(session, label, patch, model, report, out)
    shared_cache().store(model, volume, model.region(volume.geometry, wanted))
    record = describe(session, label, patch, report, out, manifest)
    result(record, _text(record), as_json)


def open_session(volume: Any, into: Path | None) -> Session:
    """Return a session on ``volume``, over an existing labelmap where one is given."""
    import numpy as np

    from openmedlab.core import InputError, Session

    if into is None:
        return Session(volume)
    from openmedlab.io import read_labels

    labels = read_labels(into)
    if not labels.geometry.almost_equal(volume.geometry, tolerance=0.01):
        raise InputError(f"{into.name} lies on another grid than {volume.name!r}.")
    session = Session(volume, labels.array.astype(np.uint16))
    for number, meaning in labels.labels.items():
        session.add_object(meaning.name, number=number, color=meaning.color, code=meaning.code)
    return session


def write(
    session: Session,
    number: int,
    patch: LogitsPatch,
    model: Promptable,
    report: Progress,
    out: Path,
) -> Path:
    """Let the mask enter the labelmap, write it and its manifest; return the manifest's path."""
    from openmedlab.engine import manifest, write_manifest
    from openmedlab.io import write_labels

    with report.stage("write"):
        session.commit(number, patch)
        write_labels(session.labels(model.name), out, image=session.volume)
    return write_manifest(
        manifest(
            session.volume,
            method=model.name,
            method_version=model.version,
            prompts={session.object(number).name: session.prompts(number)},
            timings=report.timings,
            parameters={"given": list(patch.given), "policy": session.policy.to_json()},
        ),
        out,
    )


def describe(
    session: Session,
    number: int,
    patch: LogitsPatch,
    report: Progress,
    out: Path,
    manifest: Path,
) -> dict[str, Any]:
    """Return what a script wants to know of a finished mask."""
    voxels = int((session.labelmap == number).sum())
    return {
        "output": str(out),
        "manifest": str(manifest),
        "method": patch.method,
        "given": list(patch.given),
        "label": number,
        "name": session.object(number).name,
        "voxels": voxels,
        "ml": round(voxels * millilitres(session.volume.geometry), 6),
        "seconds": {**report.timings.to_json(), "total": report.timings.total},
    }


def millilitres(geometry: Geometry) -> float:
    """Return the volume of one voxel in ml."""
    per_millilitre = 1e3 if geometry.unit == "millimeter" else 1e12
    return geometry.voxel_volume / per_millilitre


def _text(record: dict[str, Any]) -> str:
    seconds = record["seconds"]
    times = " | ".join(
        f"{k} {1000 * seconds[k]:.0f} ms" for k in ("queue", "prepare", "infer", "write")
    )
    return (
        f"{record['output']}: {record['name']} by {record['method']} "
        f"({', '.join(record['given'])}), {record['voxels']} voxels, {record['ml']:.3g} ml\n{times}"
    )
