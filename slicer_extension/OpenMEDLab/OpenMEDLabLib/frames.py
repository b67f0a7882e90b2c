"""Slicer's volumes and coordinates in the engine's words.

Slicer's world is RAS and a node may hang under any chain of transforms. The
engine sees the volume's own grid; every position is brought there through the
transforms, so that a rotated or warped volume is clicked where it is seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from openmedlab.core import Geometry, InputError, Modality, Volume

QUANTITIES: dict[str, Modality] = {"112031": "CT", "110852": "MR", "126400": "PT", "126401": "PT"}
MODALITIES: tuple[Modality, ...] = ("CT", "MR", "PT", "US")


def geometry_of(node: Any) -> Geometry:
    """Return the grid of a volume node, its parent transform left out."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    shape = node.GetImageData().GetDimensions()[::-1]
    return Geometry.from_ijk_to_ras(shape, slicer.util.arrayFromVTKMatrix(matrix))


def volume_of(node: Any) -> Volume:
    """Return a volume node's voxels (shared, not copied) on their grid.

    Raises
    ------
    InputError
        The node holds no image, or one of several components.
    """
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        raise InputError(f"The volume {node.GetName()!r} is empty; load an image into it.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"The volume {node.GetName()!r} has {image.GetNumberOfScalarComponents()} components "
            "per voxel; choose a grey-value volume."
        )
    array = slicer.util.arrayFromVolume(node)
    return Volume(array, geometry_of(node), _modality(node), node.GetName())


def _modality(node: Any) -> Modality:
    """Return what the DICOM import noted about the volume."""
    quantity = node.GetVoxelValueQuantity()
    if quantity is not None and quantity.GetCodeValue() in QUANTITIES:
        return QUANTITIES[quantity.GetCodeValue()]
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(node) if tree is not None else 0
    noted = tree.GetItemAttribute(item, "DICOM.Modality") if item else ""
    return next((m for m in MODALITIES if m == noted), "unknown")


def to_index(node: Any, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Take world RAS positions (..., 3) to continuous (z, y, x) indices of a volume node."""
    local = _through(between(None, node), points)
    return geometry_of(node).world_to_index(local * (-1, -1, 1))


def to_world(node: Any, indices: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Take continuous (z, y, x) indices (..., 3) of a volume node to world RAS positions."""
    local = geometry_of(node).index_to_world(indices) * (-1, -1, 1)
    return _through(between(node, None), local)


def between(source: Any, target: Any) -> Any:
    """Return the transform from a node's own frame to another's; None is the world."""
    transform = vtk.vtkGeneralTransform()
    parents = (n.GetParentTransformNode() if n is not None else None for n in (source, target))
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, transform)
    return transform


def _through(transform: Any, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    given = np.asarray(points, np.float64)
    moved = [transform.TransformPoint(*p) for p in given.reshape(-1, 3)]
    return np.array(moved, np.float64).reshape(given.shape)
