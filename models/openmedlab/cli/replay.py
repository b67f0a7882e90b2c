"""``openmedlab replay``: a session's journal becomes its labelmap again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openmedlab.cli.console import result


def replay(
    journal: Annotated[Path, typer.Argument(help="The .jsonl file of a session.")],
    image: Annotated[Path, typer.Argument(help="The image the session worked on.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the labelmap goes.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Rebuild the labelmap of a session from its journal, voxel for voxel."""
    from openmedlab import __version__
    from openmedlab.core import Journal, Session
    from openmedlab.engine import manifest, write_manifest
    from openmedlab.io import read_volume, write_labels
    from openmedlab.io.formats import writable

    writable(out, "labels")
    volume = read_volume(image)
    session = Session.replay(journal, volume)
    session.close()
    authors = {str(r["author"]) for r in Journal.read(journal) if r["op"] == "edit"}
    write_labels(session.labels("replay"), out, image=volume)
    record = manifest(
        volume,
        method="replay",
        method_version=__version__,
        prompts={o.name: session.prompts(o.number) for o in session.objects},
        parameters={"journal": journal.name, "edits by": sorted(authors)},
    )
    path = write_manifest(record, out)
    voxels = {o.name: int((session.labelmap == o.number).sum()) for o in session.objects}
    result(
        {"output": str(out), "manifest": str(path), "voxels": voxels},
        "\n".join([str(out), *(f"{name}: {count} voxels" for name, count in voxels.items())]),
        as_json,
    )
