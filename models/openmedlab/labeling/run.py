"""From an image file to a labelmap file with its manifest, measured and checked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmedlab.core import CancelToken, Labeler, Progress, Volume
from openmedlab.engine import manifest, write_manifest
from openmedlab.engine.manifest import fingerprint, made_for, manifest_path
from openmedlab.io import read_labels, read_volume, write_labels
from openmedlab.io.formats import writable
from openmedlab.labeling.statistics import LabelStatistics, label_statistics
from openmedlab.labeling.warnings import LabelWarning, label_warnings


@dataclass(frozen=True)
class Labelled:
    """A finished scan.

    Attributes
    ----------
    image, output, manifest
        Files.
    statistics, warnings
        What was measured, and what deserves a second look.
    seconds
        Wall time by stage; empty when an earlier run's result was kept.
    kept
        Whether an earlier run had already made it.
    """

    image: Path
    output: Path
    manifest: Path
    statistics: tuple[LabelStatistics, ...] = ()
    warnings: tuple[LabelWarning, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    kept: bool = False


def label_volume(
    path: Path,
    labeler: Labeler,
    out: Path,
    *,
    classes: Collection[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Labelled:
    """Label one image and write labelmap and manifest, each whole or not at all.

    Parameters
    ----------
    path
        Image file or folder.
    labeler
        What labels it.
    out
        Labelmap file; its ending chooses the format.
    classes
        Names to label; all by default.
    resume
        Keep an output whose manifest tells of the same file, method and classes.

    Raises
    ------
    InputError
        The image cannot be read or labelled, or the output cannot be written.
    Cancelled
        Nothing was written then.
    """
    writable(out, "labels")
    progress, cancel = progress or Progress(), cancel or CancelToken()
    request = _request(path, labeler, classes)
    if resume and made_for(out, request):
        volume, labels = read_volume(path), read_labels(out)
        record, seconds = manifest_path(out), dict[str, float]()
    else:
        with progress.stage("prepare"):
            volume = read_volume(path)
        labels = labeler.label(volume, classes, progress, cancel)
        with progress.stage("write"):
            write_labels(labels, out, image=volume)
        record = _write_record(volume, labeler, request, progress, out)
        seconds = progress.timings.to_json()
    rows = label_statistics(labels, volume, cancel=cancel)
    return Labelled(
        image=path,
        output=out,
        manifest=record,
        statistics=tuple(rows),
        warnings=tuple(label_warnings(rows, labels, classes or ())),
        seconds=seconds,
        kept=not seconds,
    )


def _write_record(
    volume: Volume, labeler: Labeler, request: dict[str, Any], progress: Progress, out: Path
) -> Path:
    record = manifest(
        volume,
        method=labeler.name,
        method_version=labeler.version,
        prompts={},
        timings=progress.timings,
        parameters=request,
    )
    return write_manifest(record, out)


def _request(path: Path, labeler: Labeler, classes: Collection[str] | None) -> dict[str, Any]:
    """What decides the result: when it is the same, the result is."""
    return {
        "file": fingerprint(path),
        "labeler": [labeler.name, labeler.version],
        "classes": None if classes is None else sorted(classes),
    }
