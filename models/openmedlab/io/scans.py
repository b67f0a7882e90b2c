"""Folders of scans: which images lie below, and what their results are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openmedlab.core.errors import InputError
from openmedlab.io.checks import existing
from openmedlab.io.formats import by_content, by_suffix, stem, volume_suffixes


@dataclass(frozen=True)
class Scan:
    """An image of a cohort and its ``name``: a relative path for its results, without ending."""

    image: Path
    name: Path


def named_scans(paths: Sequence[Path], beside: Path | None = None) -> list[Scan]:
    """Return the scans that files and folders stand for, each under a name of its own.

    A scan below a folder keeps its place; of files with the same name the folders around them
    become part of the name.

    Parameters
    ----------
    paths
        Images, DICOM or OME-Zarr folders, or folders of scans.
    beside
        Output folder, not searched.

    Raises
    ------
    InputError
        There is nothing at a path, or no scan at all.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; check the path.")
        below = is_cohort(path) if path.is_dir() and any(path.iterdir()) else False
        for image in find_scans(path, beside) if below else [path]:
            place = image.relative_to(path).parent if below and image != path else Path()
            found.setdefault(image, place / stem(image))
    if not found:
        raise InputError(f"{', '.join(map(str, paths))}: there are no images; give scans.")
    return [Scan(image, name) for image, name in _distinct(found).items()]


def _distinct(names: dict[Path, Path]) -> dict[Path, Path]:
    """Put folders before names that occur twice, until none does."""
    for depth in range(1, 1 + max(len(p.resolve().parts) for p in names)):
        counts = Counter(names.values())
        if max(counts.values()) == 1:
            break
        names = {
            image: name
            if counts[name] == 1
            else Path(*image.resolve().parent.parts[-depth:]) / stem(image)
            for image, name in names.items()
        }
    return names


def is_cohort(path: Path) -> bool:
    """Whether a path is a folder of scans rather than one image."""
    found = existing(path)
    if not found.is_dir():
        return False
    form = by_content(found)
    if form is not None and form.name == "omezarr":
        return False
    return any(scan != found for scan in _scans(found))


def find_scans(folder: Path, beside: Path | None = None) -> list[Path]:
    """Return the images below a folder: files, OME-Zarr and DICOM series folders, by name.

    Labelmaps (``labels.*``, ``*_labels.*``, ``*.seg.nrrd``), hidden files and what
    lies in the output folder ``beside`` are left out.
    """
    inside = None if beside is None else beside.expanduser().resolve()
    scans = (p for p in _scans(existing(folder)) if inside is None or not _below(p, inside))
    return sorted(scans)


def _below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _scans(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        images = [here / n for n in files if not n.startswith(".")]
        zarrs = [n for n in folders if n.lower().endswith(".zarr")]
        folders[:] = sorted(n for n in folders if n not in zarrs and not n.startswith("."))
        yield from (here / n for n in zarrs)
        slices = [p for p in images if _is_slice(p)]
        if slices:
            yield here
        yield from (p for p in images if _is_image(p))


def _is_slice(path: Path) -> bool:
    form = by_suffix(path)
    if form is not None:
        return form.name == "dicom"
    found = by_content(path) if path.suffix == "" and path.stat().st_size else None
    return found is not None and found.name == "dicom"


def _is_image(path: Path) -> bool:
    form = by_suffix(path)
    if form is None or form.name == "dicom" or not path.name.lower().endswith(volume_suffixes()):
        return False
    own = stem(path).lower()
    return form.name != "segnrrd" and own != "labels" and not own.endswith("_labels")
