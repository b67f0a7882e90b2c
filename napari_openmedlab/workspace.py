"""`Workspace`: one image being segmented, its session and the layers that show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from napari_openmedlab.layers.geometry import (
    KEY,
    Pose,
    finest,
    grid_of,
    put_on_grid,
    transform_of,
    volumetric,
)
from napari_openmedlab.layers.labels import LabelsLink, PreparedEdit
from napari_openmedlab.layers.prompts import PromptLayers
from openmedlab.core import Edit, InputError, Region, Session

_MOVES = ("scale", "translate", "rotate", "shear", "affine")
_UNKNOWN = (0.6, 0.6, 0.6, 1.0)


class Workspace:
    """One image, its session, its Labels layer and its prompt layers.

    Parameters
    ----------
    viewer
        Where the layers live.
    image
        The layer being segmented.
    session
        Its `labelmap` is the Labels layer's own array.
    labels
        The user's layer to continue in; None makes a new one.

    Notes
    -----
    Signals: ``objects_changed()``, ``prompts_changed()``, ``unfit(str)`` when the image was
    replaced by one of another shape.
    """

    objects_changed = Signal()
    prompts_changed = Signal()
    unfit = Signal(str)

    def __init__(
        self, viewer: ViewerModel, image: Image, session: Session, labels: Labels | None = None
    ) -> None:
        self.viewer = viewer
        self.image = image
        self.session = session
        self.edits = 0
        self.closed = False
        self.stale: set[int] = set()
        self.current = 0
        self._pose = Pose.of(image)
        self.link: LabelsLink | None = None
        self.made_labels = labels is None
        self.prompts = PromptLayers(viewer, image)
        self.prompts.changed.connect(self.prompts_changed.emit)
        session.edited.connect(self._count_edit)
        session.objects_changed.connect(self._on_objects)
        for name in _MOVES:
            getattr(image.events, name).connect(self._follow_image)
        image.events.data.connect(self._follow_data)
        self.attach(labels if labels is not None else self._new_labels())
        if not session.objects:
            self.add_object()
        self.select(session.objects[0].number)

    # ---------------------------------------------------------------- labels
    @property
    def labels(self) -> Labels | None:
        """The Labels layer; None after the user deleted it."""
        return self.link.layer if self.link is not None else None

    def _new_labels(self) -> Labels:
        array = self.session.labelmap
        layer = Labels(
            array[0] if self.image.ndim == 2 else array,
            name=f"{self.image.name} segmentation",
            opacity=0.55,
            **grid_of(self.image),
        )
        self.viewer.add_layer(layer)
        return layer

    def attach(self, layer: Labels) -> None:
        """Show the labelmap in ``layer`` and follow what the user does there."""
        self.link = LabelsLink(layer)
        self.link.adopted.connect(self._adopt)
        self.link.replaced.connect(self._on_replaced)
        layer.events.selected_label.connect(self._on_selected_label)
        self.session.labelmap = self.link.labelmap
        self._describe()
        self._paint_colors()

    def bring_back(self) -> None:
        """Show the masks again after the Labels layer was deleted."""
        if self.link is None:
            self.attach(self._new_labels())

    def detach(self) -> None:
        """Let go of a Labels layer that is gone; the session keeps the masks."""
        if self.link is not None:
            self.link.layer.events.selected_label.disconnect(self._on_selected_label)
            self.link.close()
            self.link = None

    def write(self, prepared: PreparedEdit) -> None:
        """Let an edit enter the labelmap, as one step of the layer's history if there is one.

        The session is not told: `Session.record` or `Session.adopt` does that.
        """
        if self.link is not None:
            self.link.write(prepared)
        else:
            prepared.edit.apply(self.session.labelmap)

    def _adopt(self, edit: Edit) -> None:
        """Tell the session what the user painted; a new label becomes an object."""
        known = {0, *(o.number for o in self.session.objects)}
        for number in sorted(edit.touched - known):
            self.session.add_object(number=number)
        self.session.adopt(edit)

    def _on_replaced(self) -> None:
        """Take up another array that somebody gave the layer."""
        assert self.link is not None
        layer = self.link.layer
        old, new = self.session.labelmap, volumetric(layer.data)
        self.detach()
        if not isinstance(new, np.ndarray) or new.shape != old.shape:
            return
        self.attach(layer)
        edit = Edit.between(old.astype(new.dtype, copy=False), new, Region.whole(new.shape))
        if edit is not None:
            self._adopt(edit)

    def _on_selected_label(self) -> None:
        number = int(self.link.layer.selected_label) if self.link is not None else 0
        if any(o.number == number for o in self.session.objects):
            self.select(number)

    def _count_edit(self, edit: Edit) -> None:
        self.edits += 1

    # --------------------------------------------------------------- objects
    def add_object(self, name: str = "") -> int:
        """Add an object and make it the current one; return its number."""
        number = self.session.add_object(name).number
        self.session.extent(number)
        self.select(number)
        return number

    def remove_object(self, number: int) -> None:
        """Remove an object, its prompts and (undoably) its voxels."""
        self.prompts.drop(number)
        edit = self.session.remove_object(number)
        if edit is not None:
            self.write(PreparedEdit.of(edit))
            self.session.adopt(edit, "object removed")
        if not self.session.objects:
            self.add_object()
        self.select(self.session.objects[0].number)

    def select(self, number: int) -> None:
        """Make an object the one that prompts and brush strokes go to."""
        changed = number != self.current
        self.current = number
        self.prompts.hand = replace(self.prompts.hand, number=number)
        if self.link is not None and self.link.layer.selected_label != number:
            self.link.layer.selected_label = number
        if changed:
            self.objects_changed.emit()

    def _on_objects(self) -> None:
        self._describe()
        self._paint_colors()
        self.objects_changed.emit()

    def _describe(self) -> None:
        """Keep grid and names in the layer's metadata, where napari's own *Save* finds them."""
        if self.link is not None:
            self.link.layer.metadata.setdefault(KEY, {}).update(
                geometry=self.session.volume.geometry,
                transform=transform_of(self.link.layer),
                source=self.session.volume.source,
                labels=self.session.labels().labels,
            )

    def _paint_colors(self) -> None:
        if self.link is None:
            return
        colors: dict[int | None, tuple[float, ...]] = {None: _UNKNOWN, 0: (0.0, 0.0, 0.0, 0.0)}
        for o in self.session.objects:
            colors[o.number] = (*o.color, 1.0 if o.visible else 0.0)
        self.link.layer.colormap = DirectLabelColormap(color_dict=colors)

    def note_method(self, number: int, method: str, given: tuple[str, ...]) -> None:
        """Write into the layer's metadata what made an object's mask."""
        if self.link is not None:
            made = self.link.layer.metadata.setdefault(KEY, {}).setdefault("made", {})
            made[number] = {"method": method, "given": list(given)}

    # ----------------------------------------------------------------- image
    def _follow_image(self) -> None:
        """Stay on the image when it is moved, scaled or turned in the viewer."""
        try:
            geometry = self._pose.now(self.image)
        except InputError:
            return
        self.session.volume = replace(self.session.volume, geometry=geometry, pyramid=())
        self.prompts.follow_image()
        if self.link is not None:
            put_on_grid(self.link.layer, self.image)
            self._describe()

    def _follow_data(self) -> None:
        """Use the image's new voxels, where they have the old shape."""
        array = volumetric(finest(self.image))
        if tuple(array.shape) != self.session.volume.shape:
            self.unfit.emit(
                f"{self.image.name!r} now has {tuple(array.shape)} voxels; its session was closed. "
                "Choose the volume again to start a new one."
            )
            return
        self.session.volume = replace(self.session.volume, array=array, pyramid=())

    def is_blank(self) -> bool:
        """Whether nothing was done here that would be missed."""
        return self.edits == 0 and not any(
            self.session.prompts(o.number) for o in self.session.objects
        )

    def close(self) -> None:
        """Let go of the layers and finish the journal."""
        self.closed = True
        for name in _MOVES:
            getattr(self.image.events, name).disconnect(self._follow_image)
        self.image.events.data.disconnect(self._follow_data)
        self.detach()
        self.prompts.close()
        self.session.close()
