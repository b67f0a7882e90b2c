"""The run manifest: what made a mask, written beside it."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from openmedlab.core.contracts import PromptList
from openmedlab.core.progress import Timings
from openmedlab.core.volume import Volume

PACKAGES = ("napari-openmedlab", "numpy", "scipy", "scikit-image", "SimpleITK", "torch", "napari")


def manifest(
    volume: Volume,
    *,
    method: str,
    method_version: str,
    prompts: Mapping[str, PromptList],
    timings: Timings | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of a run: versions, image, method, prompts by object, parameters, times."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "image": {
            "name": volume.name,
            "source": str(volume.source or ""),
            "identity": volume.identity,
            "modality": volume.modality,
            "geometry": volume.geometry.to_json(),
        },
        "method": {"name": method, "version": method_version},
        "prompts": {name: [p.to_json() for p in given] for name, given in prompts.items()},
        "parameters": dict(parameters or {}),
        "seconds": timings.to_json() if timings else {},
    }


def write_manifest(record: Mapping[str, Any], output: Path) -> Path:
    """Write ``record`` beside ``output`` (``mask.nii.gz.manifest.json``); return its path."""
    path = manifest_path(output)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
    partial.replace(path)
    return path


def manifest_path(output: Path) -> Path:
    """Return where the manifest of ``output`` lies."""
    return output.with_name(output.name + ".manifest.json")


def fingerprint(path: Path) -> list[int]:
    """Files, bytes and newest change of an image: cheap, and enough to see a new one."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    stats = [p.stat() for p in files if p.exists()]
    newest = max((s.st_mtime_ns for s in stats), default=0)
    return [len(stats), sum(s.st_size for s in stats), newest]


def made_for(output: Path, parameters: Mapping[str, Any]) -> bool:
    """Whether ``output`` is there and its manifest tells of the same ``parameters``."""
    try:
        record = json.loads(manifest_path(output).read_text(encoding="utf-8"))
        return bool(output.exists() and record["parameters"] == parameters)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
