"""Masks to a file, with the manifest of the run beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from openmedlab.core import Session
from openmedlab.engine import manifest, write_manifest
from openmedlab.io import write_labels


def save_masks(session: Session, path: Path, method: str, version: str) -> Path:
    """Write a session's labels and its manifest; return the labels' path.

    The labels are copied first, so the user may paint on meanwhile.

    Raises
    ------
    InputError
        The format is unknown or the place cannot be written.
    """
    labels = session.labels(method)
    labels = replace(labels, array=labels.array.copy())
    written = write_labels(labels, path, image=session.volume)
    record = manifest(
        session.volume,
        method=method,
        method_version=version,
        prompts={o.name: session.prompts(o.number) for o in session.objects},
        parameters={"policy": session.policy.to_json()},
    )
    write_manifest(record, path)
    return written
