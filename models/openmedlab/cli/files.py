"""``openmedlab info`` and ``openmedlab samples``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from openmedlab.cli.console import result, say


def info(
    image: Annotated[Path, typer.Argument(help="An image file or folder.")],
    series: Annotated[
        str | None, typer.Option(help="DICOM: SeriesInstanceUID or description.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the grid, type and modality of an image, and what is doubtful about it."""
    from openmedlab import io

    record = io.info(image, series=series)
    result(record, _lines(record), as_json)


def _lines(record: dict[str, Any]) -> str:
    shown = {k: v for k, v in record.items() if k not in ("direction", "warnings") and v != ""}
    rows = {
        **{k: _plain(v) for k, v in shown.items()},
        "direction": "  ".join(_plain(row) for row in record["direction"]),
    }
    width = max(map(len, rows))
    lines = [f"{key.ljust(width)}  {value}" for key, value in rows.items()]
    return "\n".join([*lines, *(f"Note: {text}" for text in record["warnings"])])


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(v) if not isinstance(v, list) else f"({_plain(v)})" for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def samples(
    name: Annotated[str | None, typer.Argument(help="A sample to write out.")] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for the image and its labels.")
    ] = Path("sample"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the sample volumes, or write one (and its labels) into a folder."""
    from openmedlab.io import phantom, sample, sample_names, write_labels, write_volume

    if name is None:
        names = ["phantom", *sample_names()]
        result(names, "\n".join(names), as_json)
        return
    volume, labels = phantom() if name == "phantom" else sample(name)
    image = write_volume(volume, out / "image.nii.gz")
    mask = write_labels(labels, out / "labels.nii.gz")
    say(f"{volume.name}: {len(labels.labels)} structures")
    result({"image": str(image), "labels": str(mask)}, f"{image}\n{mask}", as_json)
