"""`TemplatesController`: what the *Templates* widget does, without Qt widgets."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image
from psygnal import Signal

from napari_openmedlab.background import Background, silence
from napari_openmedlab.layers.geometry import check_stack, geometry_of, volume_of
from napari_openmedlab.layers.prompts import Hand, PromptLayers
from napari_openmedlab.tools import TOOLS
from openmedlab.core import Cancelled, Geometry, InputError, OpenMedLabError, Region, Volume
from openmedlab.engine import inference_thread
from openmedlab.localization.organs import organ_label
from openmedlab.localization.pictures import Picture, organ_picture
from openmedlab.localization.templates import Finding, TemplateLibrary

NUMBER = 1
PLANES = {"axial": "S", "coronal": "P", "sagittal": "L"}


class TemplatesController:
    """Six points on one image become a template in a library.

    Notes
    -----
    Signals, all on the GUI thread: ``told(str, bool)`` a sentence, and whether it is an error;
    ``image_changed()``; ``points_changed()``; ``library_changed()``; ``pictured(Picture)`` three
    planes through the point last set or shown; ``checked(list)`` of `Finding`.
    """

    told = Signal(str, bool)
    image_changed = Signal()
    points_changed = Signal()
    library_changed = Signal()
    pictured = Signal(object)
    checked = Signal(list)

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.image: Image | None = None
        self.library: TemplateLibrary | None = None
        self.geometry: Geometry | None = None
        self._prompts: PromptLayers | None = None
        self._seen: dict[int, tuple[float, ...]] = {}
        self._background = Background(inference_thread())
        viewer.layers.events.removed.connect(self._on_layer_removed)

    # ----------------------------------------------------------------- image
    def choose(self, image: Image | None) -> None:
        """Mark organs on an image layer."""
        if image is self.image:
            return
        self.clear()
        self.image, self.geometry = None, None
        try:
            if image is not None:
                check_stack(image, "a template needs a volume")
                self.geometry = geometry_of(image)
            self.image = image
        except OpenMedLabError as error:
            self._fail(error)
        self.image_changed.emit()
        self.points_changed.emit()

    def _on_layer_removed(self, event: Any) -> None:
        if event.value is self.image:
            self.choose(None)
        elif self._prompts is not None and self._prompts.lost(event.value):
            self._let_go()
            self.points_changed.emit()

    # ---------------------------------------------------------------- points
    def begin(self) -> None:
        """Let the next clicks on the image set the points."""
        if self.image is None:
            self.told.emit("Open a scan first.", True)
            return
        if self._prompts is None:
            self._prompts = PromptLayers(self.viewer, self.image)
            self._prompts.changed.connect(self._on_points)
        layer = self._prompts.take(Hand(TOOLS["extreme"], NUMBER))
        layer.name = f"{self.image.name} template points"

    @property
    def points(self) -> dict[int, npt.NDArray[np.float64]]:
        """Points set so far: (z, y, x) by step, first and last along z, y, x."""
        return self._prompts.extreme_points(NUMBER) if self._prompts is not None else {}

    def clear(self) -> None:
        """Take all points away."""
        owned = self._prompts.owned() if self._prompts is not None else []
        self._let_go()
        for layer in owned:
            self.viewer.layers.remove(layer)
        self.points_changed.emit()

    def _let_go(self) -> None:
        if self._prompts is not None:
            self._prompts.close()
        self._prompts = None
        self._seen = {}

    def _on_points(self) -> None:
        """Show the point that was set or moved."""
        now = {step: tuple(point.tolist()) for step, point in self.points.items()}
        new = [step for step, point in now.items() if self._seen.get(step) != point]
        self._seen = now
        self.points_changed.emit()
        if new:
            self._picture(new[-1])

    def show_point(self, step: int) -> None:
        """Move the viewer to a point, and show the three planes through it."""
        if self.image is None or step not in self.points:
            return
        world = self.image.data_to_world(np.rint(self.points[step]))
        last = self.viewer.dims.ndim
        self.viewer.dims.set_point(range(last - 3, last), np.asarray(world))
        self._picture(step)

    def _picture(self, step: int) -> None:
        if self.image is None:
            return
        volume, points = volume_of(self.image), self.points
        box = Region.around(list(points.values())).clipped(volume.shape)
        work = partial(_draw, volume, box, points[step])
        self._background.submit(
            lambda _progress, _cancel: work(),
            self.pictured.emit,
            lambda error: None if isinstance(error, Cancelled) else self._fail(error),
            key=(id(self), "picture"),
        )

    def show_plane(self, name: str) -> None:
        """Turn the viewer to the axial, coronal or sagittal plane."""
        if self.geometry is None:
            return
        across = self.geometry.reorientation("SPL").order["SPL".index(PLANES[name])]
        shown = [axis for axis in range(3) if axis != across]
        first = self.viewer.dims.ndim - 3
        axes = [*range(-first, 0), across, *shown]
        self.viewer.dims.order = tuple(first + axis for axis in axes)
        self.viewer.reset_view()

    # --------------------------------------------------------------- library
    def open_library(self, folder: Path) -> None:
        """Use the library in a folder; it is made with the first template."""
        try:
            self.library = TemplateLibrary(folder)
        except OpenMedLabError as error:
            self._fail(error)
            return
        self.library_changed.emit()

    def save(self, organ: str, code: str = "", annotator: str = "", replace: bool = False) -> bool:
        """Write the six points as a template; return whether that worked."""
        try:
            if self.library is None:
                raise InputError("Choose the folder of the template library first.")
            if self.image is None or len(self.points) != 6:
                raise InputError(f"{6 - len(self.points)} points are missing; click them first.")
            volume = volume_of(self.image)
            world = volume.geometry.index_to_world(np.array(list(self.points.values())))
            known = organ_label(organ).code
            made = self.library.add(
                organ,
                world,
                volume,
                code=code or known,
                annotator=annotator,
                replace_old=replace,
            )
        except OpenMedLabError as error:
            self._fail(error)
            return False
        self.clear()
        self.library_changed.emit()
        self.told.emit(f"Template {made.name} was saved in {self.library.folder}.", False)
        return True

    def remove(self, name: str) -> None:
        """Remove a template."""
        if self.library is None:
            return
        try:
            self.library.remove(name)
        except OpenMedLabError as error:
            self._fail(error)
        self.library_changed.emit()

    def check(self) -> None:
        """Look whether every template can be used, without blocking the viewer."""
        if self.library is None:
            return
        library = self.library
        library.reload()
        self.told.emit("Checking …", False)
        self._background.run(library.check, self._show_findings, self._fail)

    def _show_findings(self, findings: list[Finding]) -> None:
        self.checked.emit(findings)
        text = " ".join(f"{f.template}: {f.text}" for f in findings)
        self.told.emit(text or "Every template can be used.", bool(findings))

    # ------------------------------------------------------------------- end
    def _fail(self, error: Exception) -> None:
        self.told.emit(str(error), True)

    def close(self) -> None:
        """Let go of the viewer; say nothing more."""
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        silence(self)
        self._background.close()
        self._let_go()


def _draw(volume: Volume, box: Region, at: npt.NDArray[np.float64]) -> Picture:
    return organ_picture(volume, box, at=at)
