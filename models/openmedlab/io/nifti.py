"""NIfTI-1 and -2 through nibabel; oblique, flipped and sheared grids included."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry, Unit
from openmedlab.core.volume import LabelVolume, Volume
from openmedlab.io.checks import GeometryWarning, damaged, finite, pick
from openmedlab.io.note import Note

Prefer = Literal["sform", "qform"]
TOLERANCE_MM = 1e-3
_TO_MM: dict[str, float] = {"meter": 1000.0, "mm": 1.0, "unknown": 1.0, "micron": 1.0}
_SCANNER = 1
_COMMENT = 6


class GeometryConflict(InputError):  # noqa: N818 - names the state
    """The file states two positions that differ; the caller chooses with ``prefer``."""


def read(
    path: Path, *, prefer: Prefer | None = None, time: int | None = None
) -> tuple[npt.NDArray[Any], Geometry, Note | None]:
    """Read voxels (z, y, x), where they stand, and our note if the file has one.

    Raises
    ------
    GeometryConflict
        qform and sform differ by more than 1e-3 mm at a corner and ``prefer`` is None.
    InputError
        Damaged, colour, vector, NaN, or several time points and ``time`` is None.
    """
    nib = _nibabel()

    try:
        with nib.imageglobals.LoggingOutputSuppressor():
            image: Any = nib.load(path)
            header = image.header
            if not isinstance(header, nib.Nifti1Header):
                raise damaged(path, "not a NIfTI header")
            shape = _spatial_shape(image.shape, path)
            array = np.asarray(image.dataobj)
            if array.ndim > 3:
                array = array.reshape(array.shape[:4])[
                    ..., pick(array.shape[3], time, "time", path)
                ]
    except InputError:
        raise
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError) as error:
        raise damaged(path, error) from error
    except (OSError, EOFError, ValueError, zlib.error, OverflowError, MemoryError) as error:
        raise damaged(path, error) from error
    array = finite(_narrow(array.reshape(shape), image.dataobj), path).T
    note = _note(header)
    matrix = _ijk_to_ras(header, shape, path, prefer)
    geometry = _geometry(header, shape, matrix, path)
    return array, note.geometry_near(geometry) if note else geometry, note


def write(item: Volume | LabelVolume, array: npt.NDArray[Any], path: Path) -> None:
    """Write ``array`` (z, y, x) on the grid of ``item``; sform always, qform where it can.

    The float32 affine of the format is joined by the exact one in a comment
    extension, which `read` honours while the two agree.
    """
    nib = _nibabel()

    geometry = item.geometry
    kind = nib.Nifti1Image if max(array.shape) < 2**15 else nib.Nifti2Image
    image = kind(array.T, None)
    header: Any = image.header
    header.set_xyzt_units("micron" if geometry.unit == "micrometer" else "mm")
    image.set_sform(geometry.ijk_to_ras, _SCANNER)
    header.set_qform(geometry.ijk_to_ras, _SCANNER, strip_shears=True)
    if _disagreement(header, array.T.shape) > TOLERANCE_MM:
        header["qform_code"] = 0
    text = Note.of(item).to_text().encode()
    header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, text))
    nib.save(image, path)


def _nibabel() -> Any:
    import nibabel

    return nibabel


def _spatial_shape(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    if len(shape) > 4 and any(n != 1 for n in shape[4:]):
        raise InputError(
            f"{path.name} holds {'x'.join(map(str, shape))} values, a vector or tensor per voxel; "
            "extract one component first."
        )
    x, y, z = (*shape, 1, 1)[:3]
    return x, y, z


def _narrow(array: npt.NDArray[Any], proxy: Any) -> npt.NDArray[Any]:
    """Undo nibabel's float64 of scaled values: whole numbers stay whole, others are float32."""
    stored = np.dtype(proxy.dtype)
    if array.dtype == stored or array.dtype.kind != "f":
        return array
    if stored.kind in "iu" and all(float(v).is_integer() for v in (proxy.slope, proxy.inter)):
        ends = (int(array.min(initial=0)), int(array.max(initial=0)))
        return array.astype(np.result_type(np.int16, *(np.min_scalar_type(v) for v in ends)))
    return array.astype(np.float32)


def _geometry(
    header: Any, shape: tuple[int, int, int], matrix: npt.NDArray[Any], path: Path
) -> Geometry:
    word = header.get_xyzt_units()[0]
    unit: Unit = "micrometer" if word == "micron" else "millimeter"
    scaled = np.asarray(matrix, float).copy()
    scaled[:3] *= _TO_MM[word]
    try:
        return Geometry.from_ijk_to_ras(shape[::-1], scaled, unit)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def _ijk_to_ras(
    header: Any, shape: tuple[int, int, int], path: Path, prefer: Prefer | None
) -> npt.NDArray[Any]:
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not (sform or qform):
        warnings.warn(
            f"{path.name} states no orientation (sform and qform codes are 0); "
            "its voxel size alone was used.",
            GeometryWarning,
            stacklevel=4,
        )
        return np.diag([*(abs(float(v)) or 1.0 for v in header["pixdim"][1:4]), 1.0])
    try:
        if sform and qform and prefer is None:
            gap = _disagreement(header, shape)
            if gap > TOLERANCE_MM:
                raise GeometryConflict(
                    f"{path.name}: its sform and qform place the volume up to {gap:.3g} mm apart; "
                    "choose one with prefer='sform' or prefer='qform'."
                )
        use_sform = sform and (prefer != "qform" or not qform)
        return np.asarray(header.get_sform() if use_sform else header.get_qform(), float)
    except (ValueError, np.linalg.LinAlgError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name}: its orientation is unusable ({error}).") from error


def _disagreement(header: Any, shape: tuple[int, ...]) -> float:
    """Largest distance (file unit) between the corners that sform and qform give.

    A quaternion near half a turn loses digits in float32; a qform that is the
    sform's own rotation, as well as the format can say it, does not disagree.
    """
    sform = header.get_sform()
    if _same_quaternion(header, sform):
        return 0.0
    corners = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1)
                        for k in (0, shape[2] - 1)])  # fmt: skip
    apart = corners @ (sform - header.get_qform()).T
    return float(np.linalg.norm(apart[:, :3], axis=1).max())


def _same_quaternion(header: Any, sform: npt.NDArray[Any]) -> bool:
    columns = sform[:3, :3] / np.linalg.norm(sform[:3, :3], axis=0)
    if np.abs(columns.T @ columns - np.eye(3)).max() > 1e-6:
        return False
    twin = header.copy()
    twin.set_qform(sform, _SCANNER)

    def fields(h: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        quaternion = np.array([h["quatern_b"], h["quatern_c"], h["quatern_d"]], float)
        offset = [h["qoffset_x"], h["qoffset_y"], h["qoffset_z"]]
        return quaternion, np.array([*h["pixdim"][:4], *offset], float)

    (q1, rest1), (q2, rest2) = fields(header), fields(twin)
    half_turn = 1 - (q1**2).sum() < 4e-7
    same = np.allclose(q1, q2, rtol=0, atol=1e-6)
    same = same or bool(half_turn and np.allclose(q1, -q2, rtol=0, atol=1e-6))
    return same and np.allclose(rest1, rest2, rtol=1e-6, atol=1e-6)


def _note(header: Any) -> Note | None:
    for extension in header.extensions:
        if extension.get_code() == _COMMENT:
            content = extension.get_content()
            text = content.decode(errors="ignore") if isinstance(content, bytes) else content
            note = Note.from_text(str(text).rstrip("\0"))
            if note:
                return note
    return None
