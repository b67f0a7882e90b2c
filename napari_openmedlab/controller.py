"""`SegmentController`: what the *Segment* widget does, without Qt widgets.

Panels call its methods and subscribe to its signals. Everything costly runs on the
inference thread and comes back to the GUI thread through psygnal's queue.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from psygnal import Signal

from napari_openmedlab import journals
from napari_openmedlab.background import Background, silence
from napari_openmedlab.layers.geometry import check_image, finest
from napari_openmedlab.layers.prompts import Hand
from napari_openmedlab.opening import (
    Opened,
    check_pair,
    continued_session,
    new_session,
    restored_session,
)
from napari_openmedlab.places import Place, server
from napari_openmedlab.runner import Runner
from napari_openmedlab.saving import save_masks
from napari_openmedlab.tools import TOOLS
from napari_openmedlab.workspace import Workspace
from openmedlab.core import LabelPolicy, OpenMedLabError, PromptError, Session
from openmedlab.engine import inference_thread

DELETED = "The label layer was deleted; its masks are kept. Bring it back with the button above."


class SegmentController:
    """Sessions on image layers of one viewer, one of them current.

    Notes
    -----
    Signals, all on the GUI thread: ``told(str, bool)`` a sentence for the status line, and
    whether it is an error; ``opened()`` another workspace (or none) is current;
    ``objects_changed()``; ``prompts_changed()``; ``tool_changed()``; ``policy_changed()``;
    ``journal_found()`` see `waiting`; ``labels_changed()`` the label layer went or came back;
    ``method_changed()``. Those of the run are `runner`'s.
    """

    told = Signal(str, bool)
    opened = Signal()
    objects_changed = Signal()
    prompts_changed = Signal()
    tool_changed = Signal()
    policy_changed = Signal()
    journal_found = Signal()
    labels_changed = Signal()
    place_changed = Signal()
    method_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.runner = Runner(inference_thread())
        self.auto_run = True
        self.workspace: Workspace | None = None
        self.waiting: Path | None = None
        self.tool: str | None = None
        self._workspaces: dict[Image, Workspace] = {}
        self._background = Background(self.runner.thread)
        self.runner.told.connect(self.told.emit)
        viewer.layers.events.removed.connect(self._on_layer_removed)
        viewer.layers.selection.events.active.connect(self._check_tool)

    # --------------------------------------------------------------- opening
    def open(
        self, image: Image, labels: Labels | None = None, *, fresh: bool = False, number: int = 0
    ) -> None:
        """Segment ``image``: go on with its session, or begin one.

        Parameters
        ----------
        labels
            A layer to continue in; None goes on in the image's present one or makes one.
        fresh
            Begin anew with empty labels, whatever there is.
        number
            A label of ``labels`` to refine, all others protected.
        """
        known = self._workspaces.get(image)
        if known is not None and not fresh and labels in (None, known.labels):
            self._show(known)
            self._refine(number)
            return
        try:
            if labels is not None:
                check_pair(image, labels)
                work = partial(continued_session, image, labels)
            else:
                check_image(image)
                work = partial(new_session, image)
            if labels is None and isinstance(finest(image), np.ndarray):
                self._begin(image, None, number, work())
                return
        except OpenMedLabError as error:
            if self.workspace is None or self.workspace.image is not image:
                self._leave()
                self._show_none()
            self._fail(error)
            return
        self._background.run(
            work,
            partial(self._begin, image, labels, number),
            self._fail,
            lambda opened: opened.session.close(),
        )

    def _begin(self, image: Image, labels: Labels | None, number: int, opened: Opened) -> None:
        if image not in self.viewer.layers:
            opened.session.close()
            return
        if self.workspace is not None and self.workspace.image is image:
            self._leave()
        self._close(image)
        opened.session.policy = self.policy
        self._add(Workspace(self.viewer, image, opened.session, labels))
        self.waiting = opened.earlier
        self.journal_found.emit()
        if opened.warning:
            self.told.emit(opened.warning, True)
        self._refine(number)

    def _refine(self, number: int) -> None:
        """Take an object in hand for clicks that must not change any other."""
        workspace = self.workspace
        if workspace is None or all(o.number != number for o in workspace.session.objects):
            return
        self.policy = LabelPolicy()
        obj = workspace.session.update_object(number, locked=False, visible=True)
        workspace.select(number)
        self.take("point+")
        text = f"Refining {obj.name}: every click changes it alone, all other labels are protected."
        self.told.emit(text, False)

    def workspace_on(self, labels: Labels) -> Workspace | None:
        """Return the workspace whose masks lie in a Labels layer."""
        return next((w for w in self._workspaces.values() if w.labels is labels), None)

    def _add(self, workspace: Workspace) -> None:
        workspace.objects_changed.connect(self.objects_changed.emit)
        workspace.prompts_changed.connect(partial(self._follow_prompts, workspace))
        workspace.unfit.connect(partial(self._on_unfit, workspace.image))
        self._workspaces[workspace.image] = workspace
        self._show(workspace)
        self.runner.warm_up(workspace)

    def _show(self, workspace: Workspace | None) -> None:
        if workspace is self.workspace:
            return
        self._leave()
        self.workspace = workspace
        self.tool = None
        self.waiting = None
        for signal in (self.opened, self.tool_changed, self.objects_changed, self.policy_changed):
            signal.emit()
        self.prompts_changed.emit()
        self.labels_changed.emit()
        self.journal_found.emit()

    def _leave(self) -> None:
        """Take away the layers of the current workspace if nothing was done there."""
        old = self.workspace
        if old is None or old.closed or not old.is_blank() or not old.made_labels:
            return
        labels = old.labels
        self._close(old.image)
        if labels is not None and labels in self.viewer.layers:
            self.viewer.layers.remove(labels)

    def _close(self, image: Image) -> None:
        workspace = self._workspaces.pop(image, None)
        if workspace is None:
            return
        self.runner.forget(workspace)
        workspace.close()
        if workspace is self.workspace:
            self.workspace = None

    def _on_unfit(self, image: Image, reason: str) -> None:
        self._close(image)
        self._show_none()
        self.told.emit(reason, True)

    def _show_none(self) -> None:
        self.workspace = None
        self.tool = None
        for signal in (self.opened, self.tool_changed, self.objects_changed, self.labels_changed):
            signal.emit()

    def close(self) -> None:
        """End all sessions, and say nothing more; the layers stay."""
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.viewer.layers.selection.events.active.disconnect(self._check_tool)
        silence(self)
        silence(self.runner)
        self._background.close()
        for image in list(self._workspaces):
            self._close(image)

    def _fail(self, error: Exception) -> None:
        self.told.emit(str(error), True)

    # --------------------------------------------------------------- journal
    def restore(self) -> None:
        """Bring back the session that the waiting journal records."""
        workspace, waiting = self.workspace, self.waiting
        if workspace is None or waiting is None:
            return
        self.waiting = None
        self.journal_found.emit()
        image, labels = workspace.image, workspace.labels
        volume = workspace.session.volume
        made = workspace.made_labels
        self._close(image)
        self._show_none()
        if labels is not None and made and labels in self.viewer.layers:
            self.viewer.layers.remove(labels)
        self.told.emit("Restoring the earlier session …", False)
        self._background.run(
            partial(restored_session, waiting, volume),
            partial(self._restored, image),
            self._fail,
            lambda session: session.close(),
        )

    def _restored(self, image: Image, session: Session) -> None:
        if image not in self.viewer.layers:
            session.close()
            return
        workspace = Workspace(self.viewer, image, session)
        workspace.edits += 1
        self._add(workspace)
        workspace.prompts.write({o.number: session.prompts(o.number) for o in session.objects})
        self.prompts_changed.emit()
        self.told.emit(f"Restored {len(session.objects)} object(s) from the journal.", False)

    def start_new(self) -> None:
        """Leave the waiting journal where it is, kept under its own name."""
        if self.waiting is not None:
            kept = journals.keep(self.waiting)
            self.waiting = None
            self.journal_found.emit()
            self.told.emit(f"The earlier session is kept as {kept.name}.", False)

    # ---------------------------------------------------------------- layers
    def _on_layer_removed(self, event: Any) -> None:
        layer = event.value
        if layer in self._workspaces:
            mine = self._workspaces[layer] is self.workspace
            self._close(layer)
            if mine:
                self._show_none()
                self.told.emit(f"{layer.name!r} was removed; its session is in the journal.", True)
            return
        for workspace in self._workspaces.values():
            if layer is workspace.labels:
                workspace.detach()
                self.labels_changed.emit()
                self.told.emit(DELETED, True)
            elif workspace.prompts.lost(layer):
                self.told.emit(
                    "A prompt layer was deleted; its prompts are kept. Choose a tool to see them.",
                    False,
                )
        self._check_tool()

    def bring_back_labels(self) -> None:
        """Show the masks again after their layer was deleted."""
        if self.workspace is not None:
            self.workspace.bring_back()
            self.labels_changed.emit()

    # --------------------------------------------------------------- prompts
    def take(self, name: str | None) -> None:
        """Take a tool in hand (a name of `TOOLS`), or put it down (None)."""
        workspace = self.workspace
        if workspace is None or name is None:
            self.tool = None
        else:
            self._bring_prompts_back(workspace)
            self.tool = None
            layer = workspace.prompts.take(Hand(TOOLS[name], workspace.current))
            layer.events.mode.connect(self._check_tool)
            self.tool = name
        self.tool_changed.emit()

    def _bring_prompts_back(self, workspace: Workspace) -> None:
        if workspace.prompts.deleted():
            session = workspace.session
            workspace.prompts.write({o.number: session.prompts(o.number) for o in session.objects})

    def _check_tool(self) -> None:
        """Put the tool down when the user chose another layer or mode by napari's own means."""
        if self.tool is None or self.workspace is None:
            return
        layer = self.viewer.layers.selection.active
        mode = TOOLS[self.tool].mode
        if layer not in self.workspace.prompts.owned() or str(layer.mode) != mode:
            self.take(None)

    def _follow_prompts(self, workspace: Workspace) -> None:
        """Tell the session what the prompt layers hold now, and run what changed."""
        session = workspace.session
        for obj in session.objects:
            try:
                prompts = workspace.prompts.read(obj.number)
                if tuple(prompts) == session.prompts(obj.number):
                    continue
                session.set_prompts(obj.number, prompts)
            except PromptError as error:
                self._fail(error)
                continue
            workspace.stale.add(obj.number)
        self.prompts_changed.emit()
        if self.auto_run:
            self._run(workspace, workspace.stale)

    def extend_box(self, first: float, last: float) -> None:
        """Let the current object's newest box reach through slices ``first`` to ``last``."""
        workspace = self.workspace
        row = workspace.prompts.newest_box(workspace.current) if workspace is not None else None
        if workspace is not None and row is not None:
            workspace.prompts.extend_box(row, first, last)

    def extend_box_here(self) -> None:
        """Let the current object's newest box reach to the slice in view."""
        workspace = self.workspace
        row = workspace.prompts.newest_box(workspace.current) if workspace is not None else None
        if workspace is None or row is None:
            self.told.emit("Draw a box first, then scroll to its last slice and extend it.", True)
            return
        axis, first, last = workspace.prompts.box_depth(row)
        here = workspace.prompts.slice_in_view(axis)
        workspace.prompts.extend_box(row, min(first, here), max(last, here))

    # ------------------------------------------------------------------- run
    def run(self) -> None:
        """Run the method for what changed, or else for the current object."""
        workspace = self.workspace
        if workspace is not None:
            self._run(workspace, workspace.stale or {workspace.current})

    def run_stale(self) -> None:
        """Run a ready method for the objects whose prompts or method changed since."""
        if self.workspace is not None and self.runner.ready:
            self._run(self.workspace, self.workspace.stale)

    def _run(self, workspace: Workspace, numbers: set[int]) -> None:
        for number in sorted(numbers):
            self.runner.request(workspace, number)

    # ----------------------------------------------------------------- place
    def use_server(self, address: str, token: str | None = None) -> None:
        """Let a server compute the masks, once it answers; prompts and labels stay here."""
        self.told.emit(f"Asking {address} …", False)
        work = partial(server, address, token)
        self._background.run(work, self.use_place, self._refuse_place)

    def use_place(self, place: Place) -> None:
        """Compute masks there from now on; what the next prompt asks for goes there."""
        before = self.runner.method
        self.runner.move(place)
        if self.runner.method != before:
            self._run_anew()
        elif self.workspace is not None:
            self.runner.warm_up(self.workspace)
        where = f"Masks are computed by {place.name}; volumes are sent there."
        self.told.emit(where if place.is_remote else "Masks are computed here.", False)
        self.place_changed.emit()

    def _refuse_place(self, error: Exception) -> None:
        self._fail(error)
        self.place_changed.emit()

    def choose_method(self, name: str) -> None:
        """Use another method; the prompts stay and are run again."""
        if name == self.runner.method:
            return
        self.runner.cancel()
        self.runner.method = name
        self.method_changed.emit()
        self._run_anew()

    def _run_anew(self) -> None:
        """Let the method that is now chosen answer the prompts at hand."""
        workspace = self.workspace
        if workspace is None:
            return
        self.runner.warm_up(workspace)
        session = workspace.session
        unlocked = {o.number for o in session.objects if not o.locked}
        workspace.stale |= {n for n in unlocked if session.prompts(n)}
        if self.auto_run:
            self.run_stale()

    @property
    def policy(self) -> LabelPolicy:
        """How masks enter the labels."""
        return self.workspace.session.policy if self.workspace else LabelPolicy()

    @policy.setter
    def policy(self, policy: LabelPolicy) -> None:
        if self.workspace is not None and policy != self.policy:
            self.workspace.session.policy = policy
            self.policy_changed.emit()

    def add_object(self) -> None:
        """Add an object and go on with it."""
        if self.workspace is not None:
            self.workspace.add_object()

    def next_object(self) -> None:
        """Go on with the next object, after the last with the first."""
        if self.workspace is not None:
            numbers = [o.number for o in self.workspace.session.objects]
            at = numbers.index(self.workspace.current)
            self.workspace.select(numbers[(at + 1) % len(numbers)])

    def toggle_masks(self) -> None:
        """Show or hide the label layer."""
        labels = self.workspace.labels if self.workspace is not None else None
        if labels is not None:
            labels.visible = not labels.visible

    def save(self, path: Path) -> None:
        """Write the masks and their manifest, off the GUI thread."""
        if self.workspace is None:
            return
        work = partial(
            save_masks, self.workspace.session, path, self.runner.method, self.runner.version()
        )
        self.told.emit(f"Saving {path.name} …", False)
        self._background.run(work, lambda made: self.told.emit(f"Saved {made}.", False), self._fail)
