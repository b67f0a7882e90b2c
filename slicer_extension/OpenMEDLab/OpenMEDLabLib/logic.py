"""What the module does, for its panels and for scripts; it touches no widget."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from openmedlab.core import InputError, Label, Prompt, PromptError
from OpenMEDLabLib import marks
from OpenMEDLabLib.assistant import Assistant, Listener, Target, shared
from OpenMEDLabLib.local_server import LocalServer, Started
from OpenMEDLabLib.results import add_segment, new_segmentation, show_labels, show_places
from OpenMEDLabLib.terms import label_named
from OpenMEDLabLib.writing import ModuleEditor

VOLUME, SEGMENTATION, SEGMENT = "Volume", "Segmentation", "SegmentID"


class OpenMEDLabLogic(ScriptedLoadableModuleLogic):
    """The module's logic.

    Parameters
    ----------
    assistant
        Asks the server; by default the one the Segment Editor effect uses as well.
    """

    def __init__(self, assistant: Assistant | None = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.assistant = assistant or shared()
        self.editor = ModuleEditor()
        self.server = LocalServer(_own_environment())

    # ---------------------------------------------------------------- choices
    @property
    def volume(self) -> Any:
        """The volume node that is worked on, or None."""
        return self.getParameterNode().GetNodeReference(VOLUME)

    @volume.setter
    def volume(self, node: Any) -> None:
        self.getParameterNode().SetNodeReferenceID(VOLUME, node.GetID() if node else None)

    @property
    def segmentation(self) -> Any:
        """The segmentation node that is written to, or None."""
        return self.getParameterNode().GetNodeReference(SEGMENTATION)

    @segmentation.setter
    def segmentation(self, node: Any) -> None:
        self.getParameterNode().SetNodeReferenceID(SEGMENTATION, node.GetID() if node else None)

    @property
    def segment_id(self) -> str:
        """The current segment; empty where the segmentation does not hold it."""
        segment_id = self.getParameterNode().GetParameter(SEGMENT)
        node = self.segmentation
        known = node is not None and node.GetSegmentation().GetSegment(segment_id)
        return str(segment_id) if known else ""

    @segment_id.setter
    def segment_id(self, segment_id: str) -> None:
        self.getParameterNode().SetParameter(SEGMENT, segment_id)

    @property
    def target(self) -> Target | None:
        """The segment that clicks change; None while something is not chosen."""
        if self.volume is None or not self.segment_id:
            return None
        return Target(self.volume, self.segmentation, self.segment_id)

    def need_volume(self) -> Any:
        """Return the chosen volume; `InputError` where there is none."""
        if self.volume is None:
            raise InputError("Choose a volume first.")
        return self.volume

    def need_target(self) -> Target:
        """Return the segment that clicks change; `InputError` where there is none."""
        self.need_volume()
        target = self.target
        if target is None:
            raise InputError("Choose a segment, or make a new one.")
        return target

    def new_segment(self, name: str = "") -> str:
        """Add a segment (and a segmentation where there is none) and make it the current one."""
        volume = self.need_volume()
        if self.segmentation is None:
            self.segmentation = new_segmentation(volume, f"{volume.GetName()} segmentation")
        count = self.segmentation.GetSegmentation().GetNumberOfSegments()
        label = label_named(name) if name else Label(f"object {count + 1}")
        self.segment_id = add_segment(self.segmentation, label)
        return self.segment_id

    # ---------------------------------------------------------------- server
    def test(self, listener: Listener) -> None:
        """Find out whether the server can be worked with."""
        self.assistant.test(listener)

    def start_server(self, python: str, listener: Listener) -> None:
        """Start a server on this machine and work with it; the listener gets `Started`."""

        def use(started: Started) -> None:
            self.assistant.address, self.assistant.token = started.address, started.token
            listener.done(started)

        heard = Listener(use, listener.failed, listener.report, listener.ended)
        self.assistant.run(
            "server", lambda progress, cancel: self.server.start(python, progress, cancel), heard
        )

    def stop_server(self, listener: Listener) -> None:
        """End the server that was started here."""
        self.assistant.run("server", lambda _p, _c: self.server.stop(), listener)

    def install_server(self, folder: Path, python: str, listener: Listener) -> None:
        """Make the server an environment, once the user agreed; the listener gets its Python."""
        self.assistant.run(
            "server",
            lambda progress, cancel: self.server.install(folder, python, progress, cancel),
            listener,
        )

    def server_version(self, python: str, listener: Listener) -> None:
        """Ask which version of OpenMEDLab a Python has; the listener gets "" for none."""
        self.assistant.run("server", lambda _p, _c: self.server.version(python), listener)

    # ---------------------------------------------------------------- work
    def segment(
        self,
        listener: Listener,
        *,
        scribbles: tuple[str, str] = ("", ""),
        from_present: bool = True,
    ) -> None:
        """Let the prompts of the current segment become its mask.

        Parameters
        ----------
        scribbles
            IDs of segments whose voxels are a positive and a negative scribble; empty: none.
        from_present
            Whether the model starts from what the segment already holds.
        """
        target = self.need_target()
        further = self._painted(target, scribbles)
        self.assistant.segment(
            target, self.editor, listener, further=further, from_present=from_present
        )

    def _painted(self, target: Target, scribbles: tuple[str, str]) -> list[Prompt]:
        if target.segment_id in scribbles:
            raise PromptError("The current segment cannot be its own scribble; choose another.")
        signs = zip(scribbles, (True, False), strict=True)
        node, volume = target.segmentation, target.volume
        return [marks.scribble(node, one, volume, sign) for one, sign in signs if one]

    def label(
        self, model: str, classes: Collection[str] | None, fast: bool, listener: Listener
    ) -> None:
        """Let all structures of the volume become segments; the listener gets the node."""
        volume = self.need_volume()

        def show(labels: Any) -> None:
            if slicer.mrmlScene.IsNodePresent(volume):
                listener.done(show_labels(labels, volume))

        heard = Listener(show, listener.failed, listener.report, listener.ended)
        self.assistant.label(volume, model, classes, fast, heard)

    def localize(self, model: str, organs: Collection[str] | None, listener: Listener) -> None:
        """Find organs by templates; the listener gets segment and confidence by name.

        Each organ found becomes an empty segment with six extreme points.
        """
        volume = self.need_volume()

        def show(found: Any) -> None:
            if not slicer.mrmlScene.IsNodePresent(volume):
                return
            if self.segmentation is None:
                self.segmentation = new_segmentation(volume, f"{volume.GetName()} organs")
            places = {n: (one.points, label_named(n)) for n, one in found.items()}
            made = show_places(places, volume, self.segmentation)
            self.segment_id = next(iter(made.values()), self.segment_id)
            listener.done({n: (made[n], one.confidence) for n, one in found.items()})

        heard = Listener(show, listener.failed, listener.report, listener.ended)
        self.assistant.localize(volume, model, organs, heard)

    def segment_found(self, segment_id: str, listener: Listener) -> None:
        """Let the points of an organ that was found become its mask."""
        target = Target(self.need_volume(), self.segmentation, segment_id)
        if not target.alive:
            raise InputError("The organ's segment was removed; find the organs again.")
        self.assistant.segment(target, self.editor, listener)

    def close(self) -> None:
        """Stop what is under way and the server that was started here."""
        self.assistant.cancel()
        self.server.stop()


def _own_environment() -> dict[str, str]:
    """Return the environment Slicer was started in, without what Slicer added for itself."""
    return dict(slicer.util.startupEnvironment())
