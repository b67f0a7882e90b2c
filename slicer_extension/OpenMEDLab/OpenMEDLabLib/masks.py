"""Masks between a volume's grid and a segmentation's, exact where the grids agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from openmedlab.core import Region
from OpenMEDLabLib.frames import between, geometry_of

Mask = npt.NDArray[np.bool_]
INSIDE = 200
SAME_PLACE_MM = 1e-4


def segment_mask(segmentation: Any, segment_id: str, volume: Any) -> tuple[Region, Mask]:
    """Return a segment's voxels on the grid of ``volume``: where they lie, and the mask there.

    The region is empty when the segment is, or when it lies beside the volume.
    """
    source = slicer.vtkOrientedImageData()
    found = segmentation.GetBinaryLabelmapRepresentation(segment_id, source)
    region = _reach(source, segmentation, volume) if found else Region((0, 0, 0), (0, 0, 0))
    if not region:
        return region, np.zeros(region.shape, bool)
    found = _resampled(source, grid_image(region, volume), between(segmentation, volume))
    array = image_array(found) != 0
    inside = Region.of_mask(array)
    if inside is None:
        return Region(region.start, region.start), np.zeros((0, 0, 0), bool)
    return inside.shifted(region.start), array[inside.slices]


def fill(target: Any, region: Region, mask: Mask, volume: Any, segmentation: Any) -> None:
    """Write a mask on the grid of ``volume`` into ``target``, an image in the segmentation's frame.

    Where both have the same grid the voxels are copied; elsewhere the mask is
    interpolated linearly and cut at one half.
    """
    array = image_array(target)
    array[:] = 0
    source = grid_image(region.padded(1), volume)
    transform = between(volume, segmentation)
    if _same_grid(source, target, transform):
        extent = image_region(target)
        common = region.intersection(extent)
        array[common.relative_to(extent).slices] = mask[common.relative_to(region).slices]
    else:
        image_array(source)[1:-1, 1:-1, 1:-1] = np.where(mask, np.uint8(INSIDE), np.uint8(0))
        moved = _resampled(source, target, transform, linear=True)
        array[:] = image_array(moved) >= INSIDE // 2
    target.Modified()


def grid_image(region: Region, volume: Any) -> Any:
    """Return an empty byte image over ``region`` of the grid of ``volume``."""
    image = slicer.vtkOrientedImageData()
    (z, y, x), (z1, y1, x1) = region.start, region.stop
    image.SetExtent(x, x1 - 1, y, y1 - 1, z, z1 - 1)
    image.SetImageToWorldMatrix(vtk_matrix(geometry_of(volume).ijk_to_ras))
    scalars = numpy_to_vtk(np.zeros(region.size, np.uint8), deep=True)
    image.GetPointData().SetScalars(scalars)
    return image


def image_region(image: Any) -> Region:
    """Return the extent of an image as a region in (z, y, x)."""
    x, x1, y, y1, z, z1 = image.GetExtent()
    return Region((z, y, x), (z1 + 1, y1 + 1, x1 + 1))


def image_array(image: Any) -> npt.NDArray[Any]:
    """Return the voxels (z, y, x) of an image, shared with it."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image_region(image).shape)


def vtk_matrix(matrix: npt.ArrayLike) -> Any:
    """Return a 4x4 matrix as VTK holds it."""
    return slicer.util.vtkMatrixFromArray(np.asarray(matrix, np.float64))


def _reach(image: Any, segmentation: Any, volume: Any) -> Region:
    """Return the part of the grid of ``volume`` that an image of the segmentation can touch."""
    extent = image_region(image)
    if not extent:
        return extent
    ends = zip(extent.start, extent.stop, strict=True)
    kji = np.array(np.meshgrid(*[np.linspace(n - 0.5, m - 0.5, 9) for n, m in ends]))
    transform = between(segmentation, volume)
    ras = _positions(image, kji.reshape(3, -1).T)
    moved = np.array([transform.TransformPoint(*p) for p in ras]) * (-1, -1, 1)
    geometry = geometry_of(volume)
    return Region.around(geometry.world_to_index(moved)).padded(1).clipped(geometry.shape)


def _same_grid(a: Any, b: Any, transform: Any) -> bool:
    """Whether voxels of the same index stand at the same place, everywhere in ``b``."""
    region = image_region(b)
    ends = zip(region.start, region.stop, strict=True)
    kji = np.array(np.meshgrid(*[np.linspace(n, m - 1, 5) for n, m in ends])).reshape(3, -1).T
    moved = np.array([transform.TransformPoint(*p) for p in _positions(a, kji)])
    return bool(np.abs(moved - _positions(b, kji)).max() < SAME_PLACE_MM)


def _positions(image: Any, kji: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return where indices (N, 3) of an image stand in its own frame (RAS)."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    frame = slicer.util.arrayFromVTKMatrix(matrix)
    return kji[:, ::-1] @ frame[:3, :3].T + frame[:3, 3]


def _resampled(source: Any, reference: Any, transform: Any, *, linear: bool = False) -> Any:
    """Return ``source`` on the grid and extent of ``reference``."""
    moved = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        source, reference, moved, linear, False, transform
    )
    return moved
