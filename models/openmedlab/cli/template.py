"""``openmedlab template``: organs marked on a few scans, in a folder that a site can share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmedlab.cli.console import result, say, table

if TYPE_CHECKING:
    from openmedlab.core import LabelVolume, Volume
    from openmedlab.localization.templates import Template, TemplateLibrary

FINDINGS = 1

app = typer.Typer(
    no_args_is_help=True,
    help="Templates: six extreme points of an organ on a scan, from which it is found in others.",
)
Library = Annotated[Path, typer.Argument(help="Folder of the template library.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    library: Library,
    image: Annotated[Path, typer.Argument(help="The scan: a file or a DICOM folder.")],
    organ: Annotated[
        list[str] | None,
        typer.Option(help="Name, like kidney_left; with --labels repeatable, all by default."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labelmap of the scan; the points are taken from it.")
    ] = None,
    extreme: Annotated[
        list[str] | None, typer.Option(help="Six points 'z,y,x z,y,x ...', in any order.")
    ] = None,
    world: Annotated[
        bool, typer.Option("--world", help="Points are x,y,z in LPS millimetres, not indices.")
    ] = False,
    code: Annotated[
        str, typer.Option(help="SNOMED CT code; known organs have theirs already.")
    ] = "",
    annotator: Annotated[str, typer.Option(help="Who marked it.")] = "",
    series: Annotated[
        str | None, typer.Option(help="DICOM: SeriesInstanceUID or description.")
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Keep a copy of the scan in the library.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the organ's template on this scan.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add templates of organs on IMAGE: from six points, or from a labelmap."""
    import dataclasses

    from openmedlab.core import InputError
    from openmedlab.io import read_volume
    from openmedlab.localization.organs import known_organs
    from openmedlab.localization.templates import TemplateLibrary

    if (labels is None) == (not extreme):
        raise InputError("Give either --extreme with six points, or --labels with a labelmap.")
    volume = read_volume(image, series=series)
    marked = (
        _from_labels(volume, labels, organ or [])
        if labels is not None
        else _from_points(volume, organ or [], extreme or [], world)
    )
    known = known_organs()
    kept = dataclasses.replace(volume, source=None) if copy else volume
    place = TemplateLibrary(library)
    made = []
    for name, (points, parts, own_code) in marked.items():
        listed = known[name].code if name in known else ""
        made.append(
            place.add(
                name,
                points,
                kept,
                parts=parts,
                code=code or own_code or listed,
                annotator=annotator,
                reading={"series": series} if series and not copy else {},
                replace_old=replace,
            )
        )
        say(f"{made[-1].name}: {name} on {volume.name}")
    result([_record(t, place) for t in made], f"{len(made)} template(s) in {library}", as_json)


def _from_points(volume: Volume, organs: list[str], extreme: list[str], world: bool) -> Any:
    from openmedlab.cli.prompts import Given, parse
    from openmedlab.core import ExtremePoints, InputError
    from openmedlab.localization.points import to_world

    if len(organs) != 1:
        raise InputError("Name the organ that the six points mark: --organ NAME.")
    (points,) = parse(Given(extreme=extreme, world=world), volume.geometry)
    assert isinstance(points, ExtremePoints)
    return {organs[0]: (to_world(points, volume.geometry), (), "")}


def _from_labels(volume: Volume, path: Path, organs: list[str]) -> Any:
    from openmedlab.core import InputError
    from openmedlab.io import read_labels
    from openmedlab.localization.points import parts_of_mask, points_of_mask

    labels = read_labels(path)
    if not labels.geometry.almost_equal(volume.geometry, tolerance=0.01):
        raise InputError(
            f"{path.name} lies on another grid than {volume.name}; give a labelmap of this scan."
        )
    marked = {}
    for number, name, code in _present(labels, path, organs):
        mask = labels.array == number
        _tell_cut(mask, name, volume.name)
        geometry = volume.geometry
        marked[name] = (points_of_mask(mask, geometry), parts_of_mask(mask, geometry), code)
    return marked


def _present(labels: LabelVolume, path: Path, organs: list[str]) -> list[tuple[int, str, str]]:
    import numpy as np

    from openmedlab.core import InputError

    values = set(np.unique(labels.array).tolist())
    found = [(n, m.name, m.code) for n, m in labels.labels.items() if n in values and n != 0]
    missing = sorted(set(organs) - {name for _, name, _ in found})
    if missing or not found:
        have = ", ".join(name for _, name, _ in found) or "no named structures"
        asked = ", ".join(missing) or "nothing to mark"
        raise InputError(f"{path.name}: {asked} is not in it; it has: {have}.")
    return [row for row in found if not organs or row[1] in organs]


def _tell_cut(mask: Any, name: str, scan: str) -> None:
    """Say when the scan's border cuts an organ: its box is then not the whole organ."""
    ends = [mask.take(end, axis=axis).any() for axis in range(3) for end in (0, -1)]
    if any(ends):
        say(f"Note: {name} reaches the border of {scan}; its template shows only a part.")


@app.command("list")
def list_templates(library: Library, as_json: AsJson = False) -> None:
    """List the templates of a library."""
    place = _open(library)
    rows: list[tuple[str, ...]] = [
        (t.name, t.organ, t.code, str(place.volume_path(t)), t.annotator, t.date.isoformat())
        for t in place.templates
    ]
    header = ("template", "organ", "code", "scan", "annotator", "date")
    text = table(header, rows) if rows else f"{library} holds no templates."
    result([_record(t, place) for t in place.templates], text, as_json)


@app.command()
def remove(
    library: Library,
    name: Annotated[list[str], typer.Argument(help="Names as `template list` shows them.")],
    as_json: AsJson = False,
) -> None:
    """Remove templates; their scans stay where they are."""
    place = _open(library)
    for one in name:
        place.remove(one)
    result({"removed": name}, f"{len(name)} template(s) removed.", as_json)


@app.command()
def check(library: Library, as_json: AsJson = False) -> None:
    """Check that every template can be used; exit code 1 when one cannot."""
    place = _open(library)
    findings = place.check()
    lines = [f"{f.template}: {f.text}" for f in findings]
    lines.append(f"{len(place.templates)} templates, {len(findings)} finding(s).")
    record = [{"template": f.template, "text": f.text} for f in findings]
    result(record, "\n".join(lines), as_json)
    if findings:
        raise typer.Exit(FINDINGS)


def _open(folder: Path) -> TemplateLibrary:
    from openmedlab.core import InputError
    from openmedlab.localization.templates import TemplateLibrary

    if not folder.exists():
        raise InputError(f"{folder}: there is no such library; make one: openmedlab template add.")
    return TemplateLibrary(folder)


def _record(template: Template, library: TemplateLibrary) -> dict[str, Any]:
    from openmedlab.localization.points import DIRECTIONS

    return {
        "name": template.name,
        "organ": template.organ,
        "code": template.code,
        "scan": str(library.volume_path(template)),
        "annotator": template.annotator,
        "date": template.date.isoformat(),
        "points_lps_mm": dict(zip(DIRECTIONS, template.points.tolist(), strict=True)),
    }
