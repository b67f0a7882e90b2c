"""The formats this room knows: one table that readers, writers and viewers look into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openmedlab.core.errors import InputError

FormatName = Literal["nifti", "itk", "segnrrd", "dicom", "omezarr"]


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes
    ----------
    name, title
        Stable word, and what a file dialog shows.
    suffixes
        Lower-case endings; the longest match decides.
    volumes, labels
        Whether a volume, or a labelmap, can be *written*; all formats are read.
    folder
        Whether it is a folder rather than a file.
    """

    name: FormatName
    title: str
    suffixes: tuple[str, ...]
    volumes: bool
    labels: bool
    folder: bool = False


FORMATS: tuple[Format, ...] = (
    Format("nifti", "NIfTI", (".nii", ".nii.gz"), volumes=True, labels=True),
    Format("segnrrd", "Slicer segmentation", (".seg.nrrd",), volumes=False, labels=True),
    Format("itk", "NRRD", (".nrrd",), volumes=True, labels=True),
    Format("itk", "MetaImage", (".mha",), volumes=True, labels=True),
    Format("itk", "detached header", (".nhdr", ".mhd"), volumes=False, labels=False),
    Format("omezarr", "OME-Zarr", (".ome.zarr", ".zarr"), volumes=True, labels=True, folder=True),
    Format("dicom", "DICOM", (".dcm", ".ima"), volumes=False, labels=True),
)


def volume_suffixes() -> tuple[str, ...]:
    """Endings `read_volume` takes (DICOM series also come as plain folders)."""
    return tuple(s for f in FORMATS if f.name != "segnrrd" for s in f.suffixes)


def label_suffixes() -> tuple[str, ...]:
    """Endings `write_labels` takes."""
    return tuple(s for f in FORMATS if f.labels for s in f.suffixes)


def by_suffix(path: Path) -> Format | None:
    """Return the format that the ending of ``path`` names, or None."""
    name = path.name.lower()
    hits = [(len(s), f) for f in FORMATS for s in f.suffixes if name.endswith(s)]
    return max(hits, key=lambda hit: hit[0])[1] if hits else None


def stem(path: Path) -> str:
    """Return the file name without its (possibly double) ending."""
    found = by_suffix(path)
    endings = found.suffixes if found else ()
    ending = max((s for s in endings if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(ending)] or path.name


def by_content(path: Path) -> Format | None:
    """Return the format that the first bytes of ``path`` (or the files inside) show, or None."""
    if path.is_dir():
        zarr = any((path / n).exists() for n in ("zarr.json", ".zgroup", ".zattrs", ".zarray"))
        return _named("omezarr" if zarr else "dicom")
    with path.open("rb") as file:
        head = file.read(1024)
    if head[:2] == b"\x1f\x8b":
        head = _unzipped(path)
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] == b"n+2\0":
        return _named("nifti")
    if head[128:132] == b"DICM":
        return _named("dicom")
    if head[:4] == b"NRRD":
        return _named("segnrrd" if path.name.lower().endswith(".seg.nrrd") else "itk")
    if head.lstrip().startswith(b"ObjectType") or b"\nNDims" in head:
        return _named("itk")
    return None


def writable(path: Path, what: Literal["volumes", "labels"]) -> Format:
    """Return the format to write to ``path``.

    Raises
    ------
    InputError
        The ending is not one that ``what`` can be written as.
    """
    found = by_suffix(path)
    if found is None or not getattr(found, what):
        endings = ", ".join(s for f in FORMATS if getattr(f, what) for s in f.suffixes)
        raise InputError(
            f"{path.name}: {what} cannot be written as this; end the name in {endings}."
        )
    return found


def _named(name: FormatName) -> Format:
    return next(f for f in FORMATS if f.name == name)


def _unzipped(path: Path) -> bytes:
    import gzip
    import zlib

    try:
        with gzip.open(path) as file:
            return file.read(1024)
    except (OSError, EOFError, zlib.error):
        return b""
