"""DICOM segmentation objects through highdicom."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.volume import Label, LabelVolume, Volume
from openmedlab.io.checks import damaged, extents, smallest_unsigned
from openmedlab.io.dicom import Frame, load_series, slices_of
from openmedlab.io.formats import by_content, stem
from openmedlab.io.note import Note

_PRIVATE_GROUP = 0x0099
_CREATOR = "napari-openmedlab"
_NOTE_ELEMENT = 0x01
_TISSUE = ("85756007", "SCT", "Tissue")
_ANATOMY = ("123037004", "SCT", "Anatomical Structure")
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_EXPECTED_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def write(labels: LabelVolume, array: npt.NDArray[Any], image: Volume | None, path: Path) -> None:
    """Write one binary segment per label, referring to the slices of the image's series.

    Segments carry the label's SNOMED code, or "Tissue" where it has none.

    Raises
    ------
    InputError
        highdicom is not installed, the image is not a DICOM series on this grid, or there
        is nothing labelled.
    """
    hd = _highdicom()
    frames = _source_frames(labels, image)
    numbers = sorted(extents(array))
    if not numbers:
        raise InputError(f"{labels.name!r} has no labelled voxels to write as DICOM-SEG.")
    meaning = {n: labels.labels.get(n, Label(f"label {n}")) for n in numbers}
    lookup = np.zeros(numbers[-1] + 1, smallest_unsigned(np.array([len(numbers)])).dtype)
    lookup[numbers] = np.arange(1, len(numbers) + 1)
    datasets, order = _source_datasets(frames)
    segmentation = hd.seg.Segmentation(
        source_images=datasets,
        pixel_array=lookup[array][order],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(hd, k, label, labels.method) for k, label in enumerate(meaning.values(), 1)
        ],
        series_instance_uid=hd.UID(),
        series_number=100,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="OpenMEDLab",
        manufacturer_model_name=_CREATOR,
        software_versions=_version(),
        device_serial_number="0",
        series_description=labels.name[:64],
    )
    block = segmentation.private_block(_PRIVATE_GROUP, _CREATOR, create=True)
    note = Note(labels.geometry, labels=meaning, method=labels.method)
    block.add_new(_NOTE_ELEMENT, "UT", note.to_text())
    segmentation.save_as(path)


def read(path: Path) -> LabelVolume:
    """Read a segmentation object as one labelmap.

    Objects of our own come back on the whole grid of their image; of others, the slices
    that hold segments span the grid, as the object does not store the rest.

    Raises
    ------
    InputError
        highdicom is not installed, not a segmentation, overlapping segments, or slices
        that do not form a regular grid.
    """
    hd = _highdicom()
    try:
        segmentation = hd.seg.segread(path)
    except Exception as error:  # pydicom and highdicom raise many kinds on other objects
        raise InputError(
            f"{path.name} is not a DICOM segmentation; open it as an image instead."
        ) from error
    note = _note(segmentation)
    try:
        volume = segmentation.get_volume(combine_segments=True, perpendicular_tol=1.0)
    except Exception as error:
        raise InputError(
            f"{path.name} cannot become one labelmap: its segments overlap or its slices are "
            f"irregular ({' '.join(str(error).split())[:120]})."
        ) from error
    values = np.asarray(volume.array)
    if values.ndim != 3:
        raise damaged(path, "not a three-dimensional segmentation")
    geometry = _geometry(values.shape, volume.affine, slices_of(path, segmentation))
    segments = {d.segment_number: _label(d) for d in segmentation.SegmentSequence}
    if note is None:
        return LabelVolume(smallest_unsigned(values), geometry, segments, stem(path))
    lookup = np.array([0, *sorted(note.labels)])
    whole = _placed(lookup[values], geometry, note.geometry)
    grid = note.geometry if whole is not None else geometry
    array = smallest_unsigned(lookup[values] if whole is None else whole)
    return LabelVolume(array, grid, note.labels, stem(path), note.method)


def _geometry(shape: tuple[int, ...], affine: Any, frames: list[Frame]) -> Geometry:
    """The grid of highdicom with the true step between slices, which gantry tilt makes slanted."""
    exact = np.array(affine, float)
    ends = [min(frames, key=lambda f: f.depth).place, max(frames, key=lambda f: f.depth).place]
    last = max(ends, key=lambda p: float(np.linalg.norm(p - exact[:3, 3])))
    if shape[0] > 1:
        exact[:3, 0] = (last - exact[:3, 3]) / (shape[0] - 1)
    z, y, x = shape
    return Geometry((z, y, x), exact)


def _placed(part: npt.NDArray[Any], geometry: Geometry, whole: Geometry) -> npt.NDArray[Any] | None:
    """Paste ``part`` into the grid ``whole``; None when the two grids do not line up."""
    ends = whole.world_to_index(geometry.corners()[[0, -1]])
    axes = [np.linspace(a, b, n) for a, b, n in zip(*ends, part.shape, strict=True)]
    if not whole.contains(ends).all() or any(np.abs(a - np.rint(a)).max() > 1e-3 for a in axes):
        return None
    out = np.zeros(whole.shape, part.dtype)
    out[np.ix_(*(np.rint(a).astype(int) for a in axes))] = part
    return out


def _source_frames(labels: LabelVolume, image: Volume | None) -> list[Frame]:
    source = image.source if image else None
    kind = by_content(source) if source and source.exists() else None
    if image is None or source is None or kind is None or kind.name != "dicom":
        raise InputError(
            "A DICOM segmentation refers to the slices it was drawn on; open the image from its "
            "DICOM folder, or save as .nii.gz or .seg.nrrd."
        )
    if not image.geometry.almost_equal(labels.geometry, 1e-3):
        raise InputError(f"{labels.name!r} is on another grid than {image.name!r}.")
    frames, _ = load_series(source, None)
    if len(frames) != labels.geometry.shape[0]:
        raise InputError(f"{source} has changed since {image.name!r} was read; read it again.")
    return frames


def _source_datasets(frames: list[Frame]) -> tuple[list[Any], list[int]]:
    """Headers of the source files, and the order of our slices that matches their frames."""
    import pydicom

    first = frames[0].path
    if all(frame.path == first for frame in frames):
        paths, order = [first], np.argsort([frame.index for frame in frames]).tolist()
    else:
        paths, order = [frame.path for frame in frames], list(range(len(frames)))
    return [_completed(pydicom.dcmread(p, stop_before_pixels=True)) for p in paths], order


def _completed(header: Any) -> Any:
    """Fill in what anonymisation took away but a reference needs; the file is not touched."""
    from pydicom.uid import generate_uid

    meta = header.file_meta
    header.SOPClassUID = header.get("SOPClassUID") or meta.MediaStorageSOPClassUID
    header.SOPInstanceUID = header.get("SOPInstanceUID") or meta.MediaStorageSOPInstanceUID
    shared = str(header.get("FrameOfReferenceUID") or header.SOPInstanceUID.rpartition(".")[0])
    for word in _REQUIRED:
        if not header.get(word):
            setattr(header, word, generate_uid(entropy_srcs=[shared, word]))
    for word in _EXPECTED_EMPTY:
        if word not in header:
            setattr(header, word, "")
    return header


def _description(hd: Any, number: int, label: Label, method: str) -> Any:
    category = hd.sr.CodedConcept(*(_ANATOMY if label.code else _TISSUE))
    meaning = label.name[:64]
    kind = hd.sr.CodedConcept(label.code, "SCT", meaning) if label.code else category
    algorithm = hd.AlgorithmIdentificationSequence(
        name=method or _CREATOR,
        family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        version=_version(),
    )
    rgb = [round(255 * c) for c in label.color] if label.color else None
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=meaning,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_rgb(*rgb) if rgb else None,
    )


def _label(description: Any) -> Label:
    import highdicom as hd

    code = description.segmented_property_type
    known = code.scheme_designator == "SCT" and code.value != _TISSUE[0]
    stored = description.get("RecommendedDisplayCIELabValue")
    color = None
    if stored is not None:
        r, g, b = hd.color.CIELabColor.from_dicom_value(stored).to_rgb()
        color = (r / 255, g / 255, b / 255)
    return Label(str(description.segment_label), color, str(code.value) if known else "")


def _note(segmentation: Any) -> Note | None:
    try:
        block = segmentation.private_block(_PRIVATE_GROUP, _CREATOR)
        return Note.from_text(str(block[_NOTE_ELEMENT].value))
    except KeyError:
        return None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-openmedlab")
    except PackageNotFoundError:
        return "0"


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError as error:
        raise InputError(
            "DICOM segmentations need highdicom; install napari-openmedlab[dicom]."
        ) from error
    logging.getLogger("highdicom").setLevel(logging.ERROR)
    return highdicom
