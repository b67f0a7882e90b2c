"""Markups and segments as prompts on a volume's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from openmedlab.core import Box, ExtremePoints, MaskPrompt, Point, PromptError, Scribble
from OpenMEDLabLib.frames import geometry_of, to_index
from OpenMEDLabLib.masks import segment_mask

MOST_SCRIBBLE_VOXELS = 5000


def positions(markups: Any, volume: Any) -> npt.NDArray[np.float64]:
    """Return the placed control points (N, 3) as continuous (z, y, x) indices of ``volume``.

    Points that are still being placed, or that the user skipped, are left out. Rounded
    far below a voxel, so that a point nobody moved stays equal to itself.
    """
    placed = slicer.vtkMRMLMarkupsNode.PositionDefined
    found = [
        markups.GetNthControlPointPositionWorld(k)
        for k in range(markups.GetNumberOfControlPoints())
        if markups.GetNthControlPointPositionStatus(k) == placed
    ]
    return np.round(to_index(volume, np.array(found).reshape(-1, 3)), 4)


def points(markups: Any, volume: Any, positive: bool = True) -> list[Point]:
    """Return one point per placed control point."""
    return [Point(tuple(p), positive) for p in positions(markups, volume)]


def extreme_points(markups: Any, volume: Any) -> ExtremePoints:
    """Return six placed control points as extreme points.

    Raises
    ------
    PromptError
        There are not exactly six.
    """
    return ExtremePoints(tuple(map(tuple, positions(markups, volume))))


def box(roi: Any, volume: Any) -> Box:
    """Return the voxels whose centres lie in an ROI's bounds along the volume's axes.

    An ROI thinner than a slice is taken as a flat box on that slice; what sticks
    out of the volume is cut off.

    Raises
    ------
    PromptError
        The ROI lies beside the volume.
    """
    half = np.array(roi.GetSize()) / 2
    signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(roi.GetObjectToWorldMatrix())
    frame = slicer.util.arrayFromVTKMatrix(matrix)
    corners = to_index(volume, (signs * half) @ frame[:3, :3].T + frame[:3, 3])
    low, high = np.ceil(corners.min(0) - 1e-6), np.floor(corners.max(0) + 1e-6)
    middle = np.rint(corners.mean(0))
    thin = high < low
    low, high = np.where(thin, middle, low), np.where(thin, middle, high)
    last = np.array(geometry_of(volume).shape) - 1
    if (high < 0).any() or (low > last).any():
        raise PromptError(
            f"The ROI {roi.GetName()!r} lies beside the volume {volume.GetName()!r}; move it there."
        )
    return Box(tuple(np.clip(low, 0, last)), tuple(np.clip(high, 0, last)))


def stroke(curve: Any, volume: Any, positive: bool = True) -> Scribble:
    """Return the voxels along a curve that was drawn on the volume."""
    path = slicer.util.arrayFromMarkupsCurvePoints(curve, world=True)
    return Scribble.from_path(to_index(volume, path), positive)


def scribble(segmentation: Any, segment_id: str, volume: Any, positive: bool = True) -> Scribble:
    """Return the voxels painted into a segment as a scribble; of very many, an even share.

    Raises
    ------
    PromptError
        The segment is empty.
    """
    region, mask = segment_mask(segmentation, segment_id, volume)
    voxels = np.argwhere(mask) + region.start
    step = -(-len(voxels) // MOST_SCRIBBLE_VOXELS) or 1
    return Scribble(tuple(map(tuple, voxels[::step].astype(float))), positive)


def mask(segmentation: Any, segment_id: str, volume: Any) -> MaskPrompt:
    """Return a segment's present shape as a prompt to start from.

    Raises
    ------
    PromptError
        The segment is empty.
    """
    region, array = segment_mask(segmentation, segment_id, volume)
    return MaskPrompt.from_array(array, region.start)
