"""The HTML page on which a cohort is reviewed: one file, pictures inside."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from openmedlab import __version__
from openmedlab.engine.cohort import Failed
from openmedlab.io.atomic import replacing
from openmedlab.localization.result import OrganResult, ScanResult

TEMPLATE = "page.html.j2"


def write_page(
    results: Sequence[ScanResult],
    failed: Sequence[Failed],
    remarks: Sequence[str],
    pictures: Path,
    path: Path,
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    results, failed
        What became of the scans.
    remarks
        Sentences for the top of the page, such as templates that were left out.
    pictures
        Folder that `OrganResult.picture` is relative to.
    path
        The page.
    """
    from jinja2 import Environment

    source = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    counts = Counter(organ.status for scan in results for organ in scan.organs)
    text = page.render(
        scans=results,
        failed=failed,
        remarks=remarks,
        counts=counts,
        method=results[0].method if results else "",
        version=__version__,
        embedded=lambda organ: _embedded(organ, pictures),
    )
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _embedded(organ: OrganResult, folder: Path) -> str:
    """Return a picture as a data address; empty where there is none."""
    if not organ.picture:
        return ""
    try:
        data = (folder / organ.picture).read_bytes()
    except OSError:
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
