"""Volumes, markups and masks between MRML and the engine's words."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer_scenes as scenes
import vtk
from OpenMEDLabLib import frames, marks, masks

from openmedlab.core import InputError, MaskPrompt, PromptError, Region


@pytest.fixture
def volume(scene):
    node = scenes.add_volume()
    scenes.add_parent(node, scenes.shift(12, -7, 30))
    return node


def bend(volume):
    """Hang the volume under a transform that is not linear."""
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in frames.to_world(volume, np.argwhere(np.ones((2, 2, 2))) * (13, 19, 23)):
        source.InsertNextPoint(*corner)
        target.InsertNextPoint(*(corner + np.sin(corner)))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformToParent(spline)
    volume.SetAndObserveTransformNodeID(node.GetID())


def test_volume_keeps_its_grid_and_shares_its_voxels(volume):
    found = frames.volume_of(volume)
    np.testing.assert_allclose(found.geometry.ijk_to_ras, scenes.oblique(), atol=1e-9)
    assert found.shape == scenes.SHAPE
    assert np.shares_memory(found.array, slicer.util.arrayFromVolume(volume))


def test_modality_comes_from_dicom(volume):
    assert frames.volume_of(volume).modality == "unknown"
    quantity = slicer.vtkCodedEntry()
    quantity.SetValueSchemeMeaning("112031", "DCM", "Attenuation Coefficient")
    volume.SetVoxelValueQuantity(quantity)
    assert frames.volume_of(volume).modality == "CT"


def test_colour_and_empty_volumes_are_refused(scene):
    colour = slicer.util.addVolumeFromArray(
        np.zeros((3, 4, 5, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode"
    )
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    with pytest.raises(InputError, match="3 components"):
        frames.volume_of(colour)
    with pytest.raises(InputError, match="hollow"):
        frames.volume_of(empty)


@pytest.mark.parametrize("warped", [False, True])
def test_world_positions_go_through_the_parents(volume, warped):
    if warped:
        bend(volume)
    indices = np.array([[0, 0, 0], [3.25, 7.5, 11], [13, 19, 23]])
    world = frames.to_world(volume, indices)
    np.testing.assert_allclose(frames.to_index(volume, world), indices, atol=1e-3)
    own = np.array([0.0, 0, 0, 1])
    parent = vtk.vtkGeneralTransform()
    volume.GetParentTransformNode().GetTransformToWorld(parent)
    expected = parent.TransformPoint(*(scenes.oblique() @ own)[:3])
    np.testing.assert_allclose(world[0], expected, atol=1e-6)


def test_clicks_are_read_where_they_are_seen(volume):
    wanted = [(4, 5, 6), (7.5, 9.25, 10)]
    clicks = scenes.add_points(frames.to_world(volume, wanted))
    scenes.add_parent(clicks, scenes.shift(-3, 4, 5), "markups parent")
    seen = [clicks.GetNthControlPointPositionWorld(k) for k in range(2)]
    np.testing.assert_allclose(
        marks.positions(clicks, volume), frames.to_index(volume, np.array(seen)), atol=1e-4
    )
    clicks.SetAndObserveTransformNodeID(None)
    found = marks.points(clicks, volume, positive=False)
    np.testing.assert_allclose([p.position for p in found], wanted, atol=1e-4)
    assert not any(p.positive for p in found)


def test_points_still_being_placed_are_left_out(volume):
    clicks = scenes.add_points(frames.to_world(volume, [(4, 5, 6), (7, 8, 9)]))
    clicks.UnsetNthControlPointPosition(0)
    assert len(marks.points(clicks, volume)) == 1


def roi_over(volume, low, high):
    """Return an ROI in the volume's own frame whose faces lie on continuous indices."""
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "roi")
    middle = np.add(low, high) / 2
    frame = frames.to_world(volume, [middle, *(middle + np.eye(3)[::-1])])
    axes = frame[1:] - frame[0]
    matrix = np.eye(4)
    matrix[:3, :3] = (axes / np.linalg.norm(axes, axis=1)[:, None]).T
    matrix[:3, 3] = frame[0]
    roi.SetSize(*((np.subtract(high, low)[::-1]) * np.linalg.norm(axes, axis=1)))
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return roi


def test_roi_takes_the_voxels_whose_centres_it_holds(volume):
    box = marks.box(roi_over(volume, (3.6, 4.6, 5.6), (9.4, 13.4, 16.4)), volume)
    assert (box.lower, box.upper) == ((4, 5, 6), (9, 13, 16))


def test_roi_thinner_than_a_slice_is_a_flat_box(volume):
    box = marks.box(roi_over(volume, (6.2, 4.6, 5.6), (6.4, 13.4, 16.4)), volume)
    assert (box.flat_axis, box.lower[0], box.upper[0]) == (0, 6, 6)


def test_roi_is_cut_at_the_border_and_refused_beside_it(volume):
    box = marks.box(roi_over(volume, (-5, 4.6, 5.6), (40, 13.4, 16.4)), volume)
    assert (box.lower[0], box.upper[0]) == (0, 13)
    with pytest.raises(PromptError, match="beside"):
        marks.box(roi_over(volume, (-9, -9, -9), (-3, -3, -3)), volume)


def test_six_points_are_extreme_points_and_five_are_not(volume):
    places = [(3, 9, 9), (10, 9, 9), (6, 2, 9), (6, 15, 9), (6, 9, 2), (6, 9, 20)]
    clicks = scenes.add_points(frames.to_world(volume, places))
    np.testing.assert_allclose(marks.extreme_points(clicks, volume).points, places, atol=1e-4)
    clicks.RemoveNthControlPoint(0)
    with pytest.raises(PromptError, match="5 were given"):
        marks.extreme_points(clicks, volume)


def test_a_curve_is_a_stroke(volume):
    curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsCurveNode")
    curve.SetCurveTypeToLinear()
    for point in frames.to_world(volume, [(6, 5, 8), (6, 9, 8)]):
        curve.AddControlPointWorld(*point)
    voxels = set(marks.stroke(curve, volume).points)
    assert voxels == {(6.0, float(y), 8.0) for y in range(5, 10)}


def segment(volume, array):
    node, (name,) = scenes.add_segmentation(volume, "one")
    region = Region.whole(array.shape)
    image = masks.grid_image(region, volume)
    masks.fill(image, region, array, volume, volume)
    node.AddSegmentFromBinaryLabelmapRepresentation(image, "filled")
    return node, node.GetSegmentation().GetNthSegmentID(1), name


def test_segment_comes_back_as_it_was_drawn(volume):
    drawn = scenes.block_image() > 0
    node, filled, empty = segment(volume, drawn)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    region, mask = masks.segment_mask(node, filled, volume)
    assert region == Region((4, 5, 6), (10, 14, 17))
    assert mask.all()
    assert not masks.segment_mask(node, empty, volume)[0]
    prompt = marks.mask(node, filled, volume)
    assert isinstance(prompt, MaskPrompt)
    np.testing.assert_array_equal(prompt.array(Region.whole(drawn.shape)), drawn)


def test_segment_elsewhere_is_met_where_it_stands(volume):
    """The segmentation hangs under nothing, the volume under two transforms."""
    node, filled, _ = segment(volume, scenes.block_image() > 0)
    region, mask = masks.segment_mask(node, filled, volume)
    indices = np.argwhere(mask) + region.start
    world = frames.to_world(volume, indices)
    local = (np.linalg.inv(scenes.oblique()) @ np.c_[world, np.ones(len(world))].T)[:3].T[:, ::-1]
    low, high = np.array((4, 5, 6)) - 0.5 - 1e-6, np.array((10, 14, 17)) - 0.5 + 1e-6
    assert len(local) == 0 or ((local >= low) & (local <= high)).all()


def test_scribble_is_what_was_painted(volume):
    drawn = np.zeros(scenes.SHAPE, bool)
    drawn[6, 8, 9:13] = True
    node, filled, empty = segment(volume, drawn)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    found = marks.scribble(node, filled, volume, positive=False)
    assert set(found.points) == {(6.0, 8.0, float(x)) for x in range(9, 13)}
    assert not found.positive
    with pytest.raises(PromptError, match="empty"):
        marks.scribble(node, empty, volume)


def test_mask_on_a_finer_grid_keeps_place_and_size(scene):
    volume = scenes.add_volume()
    node, _ = scenes.add_segmentation(volume)
    fine = scenes.add_volume(
        "fine", np.zeros((42, 40, 48), np.int16), scenes.oblique() @ np.diag([0.5, 0.5, 1 / 3, 1])
    )
    mask = scenes.block_image() > 0
    image = masks.grid_image(Region.whole((42, 40, 48)), fine)
    masks.fill(image, Region.whole(mask.shape), mask, volume, node)
    found = masks.image_array(image) != 0
    centre = frames.to_world(fine, np.argwhere(found).mean(0))
    np.testing.assert_allclose(
        centre, frames.to_world(volume, np.argwhere(mask).mean(0)), atol=0.35
    )
    assert found.sum() / 12 == pytest.approx(mask.sum(), rel=0.1)
