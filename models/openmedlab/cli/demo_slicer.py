"""The demo in 3D Slicer's own data model: clicks as markups, the mask as a segment, real views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openmedlab.core import ExtremePoints, InputError, Label, Region

if TYPE_CHECKING:
    from openmedlab.cli.demo import Case, Found

PANE = (560, 420)
WINDOW_HU = (-160.0, 240.0)
SEGMENT = Label("", (0.87, 0.38, 0.30))
CLICK = (0.98, 0.85, 0.25)
GREY = "vtkMRMLColorTableNodeGrey"
LINE = 3
MARGIN = 2.0
AXES = ("Axial", "Coronal", "Sagittal")


def segment_in_slicer(case: Case, picture: Path) -> Found:
    """Read the clicks from MRML, segment, and draw the scene in Slicer's views, off-screen.

    Raises
    ------
    InputError
        Slicer's libraries are not installed.
    """
    from dataclasses import replace

    from openmedlab.cli.demo import segment_case

    scene = Scene(case)
    found = segment_case(replace(case, prompt=scene.clicked()))
    scene.show(found.labels.array == found.number, case.organ)
    scene.draw(picture)
    return found


class Scene:
    """A volume node with six control points, in Slicer's application without its windows."""

    def __init__(self, case: Case) -> None:
        try:
            import slicer
            from trame_slicer.core import SlicerApp
        except ImportError as error:
            raise InputError(
                "The Slicer demo needs Slicer's libraries: pip install 'trame-slicer[standalone]'."
            ) from error
        self.slicer: Any = slicer
        self.case = case
        self.app: Any = SlicerApp()
        self.volume = self._volume()
        self.clicks = self._clicks()
        self.segmentation: Any = None

    def _volume(self) -> Any:
        geometry = self.case.volume.geometry
        node = self.app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", self.case.volume.name)
        node.SetAndObserveImageData(
            _image(self.slicer.vtkOrientedImageData(), np.asarray(self.case.volume.array))
        )
        node.SetIJKToRASMatrix(_matrix(geometry.ijk_to_ras))
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAndObserveColorNodeID(GREY)
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevelMinMax(*WINDOW_HU)
        return node

    def _clicks(self) -> Any:
        node = self.app.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", self.case.organ)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetColor(*CLICK)
        display.SetSelectedColor(*CLICK)
        display.SetPointLabelsVisibility(False)
        display.SetSliceProjection(True)
        display.SetSliceProjectionOpacity(1)
        display.SetGlyphScale(2)
        lps = self.case.volume.geometry.index_to_world(self.case.prompt.positions())
        for ras in lps * (-1, -1, 1):
            node.AddControlPointWorld(*ras)
        return node

    def clicked(self) -> ExtremePoints:
        """Return the control points as the model takes them."""
        count = self.clicks.GetNumberOfControlPoints()
        ras = np.array([self.clicks.GetNthControlPointPositionWorld(k) for k in range(count)])
        index = self.case.volume.geometry.world_to_index(ras * (-1, -1, 1))
        return ExtremePoints(tuple(map(tuple, index)))

    def show(self, mask: np.ndarray[Any, Any], name: str) -> None:
        """Add a segmentation with one segment, seen in 2D and 3D."""
        region = Region.of_mask(mask)
        if region is None:
            raise InputError("The mask is empty; there is nothing to show.")
        start, stop = region.start, region.stop
        image = self.slicer.vtkOrientedImageData()
        extent = [e for a in (2, 1, 0) for e in (start[a], stop[a] - 1)]
        image.SetExtent(*extent)
        _image(image, mask[region.slices].astype(np.uint8))
        image.SetImageToWorldMatrix(_matrix(self.case.volume.geometry.ijk_to_ras))
        node = self.app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.volume)
        node.AddSegmentFromBinaryLabelmapRepresentation(image, name, SEGMENT.color)
        node.CreateClosedSurfaceRepresentation()
        node.GetDisplayNode().SetVisibility2DFill(False)
        node.GetDisplayNode().SetSliceIntersectionThickness(LINE)
        self.segmentation = node

    def draw(self, picture: Path) -> None:
        """Write the three slice views and the 3D view as one PNG."""
        from trame_slicer.views import DirectViewFactory, ViewLayoutDefinition

        manager = self.app.view_manager
        manager.register_factory(DirectViewFactory(do_render_offscreen=True))
        views = {a: manager.create_view(ViewLayoutDefinition.slice_view(a)) for a in AXES}
        views["3D"] = manager.create_view(ViewLayoutDefinition.threed_view())
        self.app.display_manager.show_volume_in_slice_background(self.volume)
        for name, view in views.items():
            view.render_window().SetSize(*PANE)
            view.fit_view_to_content()
            if name != "3D":
                self._look(view)
        views["3D"].reset_view()
        _write([[views["Axial"], views["3D"]], [views["Coronal"], views["Sagittal"]]], picture)

    def _look(self, view: Any) -> None:
        """Centre a slice view on the segment, with some room around it."""
        bounds = np.zeros(6)
        self.segmentation.GetRASBounds(bounds)
        middle, size = bounds.reshape(3, 2).mean(1), np.ptp(bounds.reshape(3, 2), axis=1).max()
        node = view.get_view_node()
        node.JumpSliceByCentering(*middle)
        height = MARGIN * size
        node.SetFieldOfView(height * PANE[0] / PANE[1], height, 1)
        node.UpdateMatrices()


def _image(image: Any, array: np.ndarray[Any, Any]) -> Any:
    """Fill an image with a (z, y, x) array."""
    from vtk.util.numpy_support import numpy_to_vtk

    if image.GetNumberOfPoints() != array.size:
        image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    return image


def _matrix(array: np.ndarray[Any, Any]) -> Any:
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel().tolist())
    return matrix


def _write(rows: list[list[Any]], picture: Path) -> None:
    """Write what views show as one PNG, row by row from the top."""
    import imageio.v3 as iio

    shots = [np.concatenate([_shot(view) for view in row], axis=1) for row in rows]
    iio.imwrite(picture, np.concatenate(shots, axis=0))


def _shot(view: Any) -> np.ndarray[Any, Any]:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

    view.render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(view.render_window())
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _depth = image.GetDimensions()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return np.asarray(array[::-1, :, :3])
