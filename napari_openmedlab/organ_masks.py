"""Masks of organs in one Labels layer: a session and a workspace, made with the first mask."""

from __future__ import annotations

from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_openmedlab.layers.labels import PreparedEdit
from napari_openmedlab.saving import save_masks
from napari_openmedlab.workspace import Workspace
from openmedlab.core import Label, LogitsPatch, Session, Volume


class OrganMasks:
    """The labelmap of one scan.

    Parameters
    ----------
    viewer, image, volume
        The scan.
    """

    def __init__(self, viewer: ViewerModel, image: Image, volume: Volume) -> None:
        self.viewer = viewer
        self.image = image
        self.session = Session(volume)
        self._workspace: Workspace | None = None

    @property
    def layer(self) -> Labels | None:
        """The Labels layer, once there is a mask."""
        return self._workspace.labels if self._workspace is not None else None

    def write(self, number: int, label: Label, patch: LogitsPatch) -> None:
        """Let a mask enter the labelmap as one step that can be undone."""
        if all(o.number != number for o in self.session.objects):
            self.session.add_object(label.name, number=number, color=label.color, code=label.code)
        workspace = self._open()
        edit = self.session.propose(number, patch)
        if edit is not None:
            workspace.write(PreparedEdit.of(edit))
        self.session.record(number, patch, edit)
        workspace.note_method(number, patch.method, patch.given)

    def _open(self) -> Workspace:
        if self._workspace is None:
            active = self.viewer.layers.selection.active
            self._workspace = Workspace(self.viewer, self.image, self.session)
            if active is not None:
                self.viewer.layers.selection.active = active
        else:
            self._workspace.bring_back()
        return self._workspace

    def remove(self, number: int) -> None:
        """Take an organ's mask away, as one step that can be undone."""
        if self._workspace is None or all(o.number != number for o in self.session.objects):
            return
        edit = self.session.remove_object(number)
        if edit is not None:
            self._workspace.write(PreparedEdit.of(edit))
            self.session.adopt(edit, "rejected")

    def lost(self, layer: object) -> bool:
        """Let go of ``layer`` if it is the Labels layer; return whether it was."""
        if self._workspace is None or layer is not self._workspace.labels:
            return False
        self._workspace.detach()
        return True

    def save(self, path: Path, method: str, version: str) -> Path:
        """Write the labelmap and its manifest."""
        return save_masks(self.session, path, method, version)

    def close(self) -> None:
        """Let go of the layers."""
        if self._workspace is not None:
            self._workspace.close()
