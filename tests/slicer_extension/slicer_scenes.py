"""Scenes that the tests of the Slicer extension share."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

SHAPE = (14, 20, 24)
SPACING = (0.9, 1.1, 2.0)
BLOCK = ((4, 9, 9), (9, 9, 9), (6, 5, 9), (6, 13, 9), (6, 9, 6), (6, 9, 16))


def rotation(degrees, axis):
    turn = vtk.vtkTransform()
    turn.RotateWXYZ(degrees, *axis)
    return slicer.util.arrayFromVTKMatrix(turn.GetMatrix())


def oblique():
    """An IJK-to-RAS matrix that is rotated, flipped and anisotropic."""
    matrix = rotation(25, (1, 2, 3)) @ np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    matrix[:3, 3] = (31.0, -17.5, 12.25)
    return matrix


def block_image(shape=SHAPE):
    """A bright block in noise-free dark."""
    array = np.full(shape, -100, np.int16)
    array[4:10, 5:14, 6:17] = 150
    return array


def add_volume(name="ct", array=None, matrix=None):
    array = block_image() if array is None else array
    return slicer.util.addVolumeFromArray(array, oblique() if matrix is None else matrix, name)


def add_parent(node, matrix, name="parent"):
    """Hang a node under a linear transform, and that under another one."""
    outer = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", f"{name} outer")
    slicer.util.updateTransformMatrixFromArray(outer, rotation(-40, (0, 1, 0.3)))
    inner = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    slicer.util.updateTransformMatrixFromArray(inner, matrix)
    inner.SetAndObserveTransformNodeID(outer.GetID())
    node.SetAndObserveTransformNodeID(inner.GetID())
    return inner, outer


def shift(*offset):
    matrix = rotation(15, (0, 0, 1))
    matrix[:3, 3] = offset
    return matrix


def add_segmentation(volume, *names, parent=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(parent.GetID() if parent else None)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    ids = [node.GetSegmentation().AddEmptySegment("", name) for name in names]
    return node, ids


def add_points(world, name="clicks"):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for point in world:
        node.AddControlPointWorld(*point)
    return node
