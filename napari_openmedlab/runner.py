"""`Runner`: asks the model for masks and writes them, never blocking the viewer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from psygnal import Signal

from napari_openmedlab.layers.labels import PreparedEdit
from napari_openmedlab.places import HERE, Place
from napari_openmedlab.workspace import Workspace
from openmedlab import zoo
from openmedlab.core import InputError, LogitsPatch, OpenMedLabError, Promptable, Region
from openmedlab.core.constraints import hard_voxels
from openmedlab.engine import Answer, InferenceThread, Interaction, Ticket, TicketState
from openmedlab.engine.refine import trusted_base

log = logging.getLogger(__name__)
Key = tuple[Workspace, int]


@dataclass(frozen=True, eq=False)
class Digest:
    """An answer with the edit it makes, worked out on the inference thread.

    `edits` counts the workspace's edits when that was done: if more came since, the edit
    is worked out again.
    """

    workspace: Workspace
    answer: Answer
    prepared: PreparedEdit | None = None
    edits: int = 0
    seconds: float = 0.0
    error: str = ""


class Runner:
    """Runs the chosen method for the objects of workspaces.

    Notes
    -----
    Signals, on the GUI thread: ``told(str, bool)`` a sentence and whether it is an error;
    ``busy_changed(bool)``; ``progressed(int, int, str)`` done, total, text;
    ``answered(Workspace, Answer)`` after the mask was written.
    """

    told = Signal(str, bool)
    busy_changed = Signal(bool)
    progressed = Signal(int, int, str)
    answered = Signal(Workspace, Answer)
    _digested = Signal(Digest)

    def __init__(self, thread: InferenceThread) -> None:
        self.thread = thread
        self.place = HERE
        self.methods: Mapping[str, zoo.OfferedMethod] = {}
        self._models: dict[str, Promptable] = {}
        self._interactions: dict[tuple[Workspace, str], Interaction] = {}
        self.refresh_methods()
        self.method = next(iter(self.methods))
        self._pending: dict[Key, Ticket[LogitsPatch]] = {}
        self._busy = False
        self._digested.connect(self._deliver, thread="main")

    # ---------------------------------------------------------------- method
    def refresh_methods(self, changed: str = "") -> None:
        """Look again which methods there are; forget the model whose weights ``changed``."""
        self.methods = self.place.methods()
        if changed:
            self._models.pop(changed, None)
            self._interactions = {k: v for k, v in self._interactions.items() if k[1] != changed}

    def move(self, place: Place) -> None:
        """Compute masks at another place from now on, by the same method where it has it."""
        self.cancel()
        self.place = place
        self._models.clear()
        self._interactions.clear()
        self.refresh_methods()
        if self.method not in self.methods:
            self.method = next(iter(self.methods))

    @property
    def ready(self) -> bool:
        """Whether the chosen method can run."""
        return self.methods[self.method].state == "ready"

    def version(self) -> str:
        """Version of the chosen method's model; empty before it was loaded."""
        model = self._models.get(self.method)
        return model.version if model is not None else ""

    def _model(self, name: str) -> Promptable:
        if name not in self._models:
            self._models[name] = self.methods[name].method.make()
        return self._models[name]

    def _interaction(self, workspace: Workspace) -> Interaction:
        key = (workspace, self.method)
        known = self._interactions.get(key)
        if known is not None and known.session is workspace.session:
            return known
        made = Interaction(workspace.session, partial(self._model, self.method), self.thread)
        made.answered.connect(lambda answer: self._digest(workspace, answer))
        made.failed.connect(self._on_failed, thread="main")
        made.ended.connect(self._on_ended, thread="main")
        made.reported.connect(self._on_reported, thread="main")
        self._interactions[key] = made
        return made

    def warm_up(self, workspace: Workspace) -> None:
        """Load the chosen method before the first click."""
        if self.ready:
            self._interaction(workspace).warm_up()

    # -------------------------------------------------------------- requests
    def request(self, workspace: Workspace, number: int) -> None:
        """Ask for an object's mask from its present prompts."""
        offered = self.methods[self.method]
        obj = workspace.session.object(number)
        if obj.locked:
            self.told.emit(f"{obj.name!r} is locked; unlock it to change it.", True)
        elif not self.ready:
            title = offered.method.title
            self.told.emit(f"{title} is not ready: {offered.state} ({offered.detail}).", True)
        elif not workspace.session.prompts(number):
            self._clear(workspace, number)
        else:
            self._submit(workspace, number)

    def _submit(self, workspace: Workspace, number: int) -> None:
        workspace.stale.discard(number)
        try:
            ticket = self._interaction(workspace).request(number)
        except OpenMedLabError as error:
            self.told.emit(str(error), True)
            return
        self._pending[workspace, number] = ticket
        self._update_busy()

    def _clear(self, workspace: Workspace, number: int) -> None:
        """Take the mask of an object back whose prompts are all gone; what it began with stays."""
        workspace.stale.discard(number)
        self.cancel_for(workspace, number)
        session = workspace.session
        if workspace.link is not None:
            workspace.link.sync()
        left = session.model_prompts(number)
        if trusted_base(left) is not None:
            self._submit(workspace, number)
        if left:
            return
        nothing = LogitsPatch(Region((0, 0, 0), (1, 1, 1)), -np.ones((1, 1, 1), np.float32), "")
        edit = session.propose(number, nothing)
        if edit is not None:
            workspace.write(PreparedEdit.of(edit))
            session.adopt(edit, "prompts removed")

    def cancel(self) -> None:
        """Stop all that waits and runs."""
        for ticket in self._pending.values():
            ticket.cancel()

    def cancel_for(self, workspace: Workspace, number: int) -> None:
        """Stop the request of one object."""
        ticket = self._pending.get((workspace, number))
        if ticket is not None:
            ticket.cancel()

    def forget(self, workspace: Workspace) -> None:
        """Stop the requests of a workspace that is being closed."""
        for key in [k for k in self._pending if k[0] is workspace]:
            self._pending.pop(key).cancel()
        for known in [k for k in self._interactions if k[0] is workspace]:
            del self._interactions[known]
        self._update_busy()

    @property
    def busy(self) -> bool:
        """Whether something waits or runs."""
        return self._busy

    def _update_busy(self) -> None:
        live = (TicketState.QUEUED, TicketState.RUNNING)
        self._pending = {k: t for k, t in self._pending.items() if t.state in live}
        if bool(self._pending) != self._busy:
            self._busy = bool(self._pending)
            self.busy_changed.emit(self._busy)

    # --------------------------------------------------------------- answers
    def _digest(self, workspace: Workspace, answer: Answer) -> None:
        """Work out the edit; called on the inference thread."""
        started = time.perf_counter()
        edits = workspace.edits
        try:
            edit = workspace.session.propose(answer.number, answer.patch)
        except InputError as error:
            self._digested.emit(Digest(workspace, answer, error=str(error)))
            return
        prepared = PreparedEdit.of(edit) if edit is not None else None
        seconds = time.perf_counter() - started
        self._digested.emit(Digest(workspace, answer, prepared, edits, seconds))

    def _deliver(self, digest: Digest) -> None:
        """Write the mask, unless the user changed the object meanwhile: then ask again."""
        workspace, answer = digest.workspace, digest.answer
        session, number = workspace.session, answer.number
        if workspace.closed or all(o.number != number for o in session.objects):
            return
        if digest.error:
            self.told.emit(digest.error, True)
            return
        started = time.perf_counter()
        if workspace.link is not None:
            workspace.link.sync()
        if answer.revision != session.revision(number):
            self._submit(workspace, number)
            return
        prepared = digest.prepared
        if digest.edits != workspace.edits:
            edit = session.propose(number, answer.patch)
            prepared = PreparedEdit.of(edit) if edit is not None else None
        if prepared is not None:
            workspace.write(prepared)
        session.record(number, answer.patch, prepared.edit if prepared is not None else None)
        answer.timings.write = digest.seconds + time.perf_counter() - started
        workspace.note_method(number, answer.patch.method, answer.patch.given)
        self.answered.emit(workspace, answer)
        self._tell_protected(workspace, number)

    def _tell_protected(self, workspace: Workspace, number: int) -> None:
        """Say why the newest prompt did not enter the mask where another label is protected."""
        session = workspace.session
        inside, _ = hard_voxels(session.prompts(number)[-1:])
        found = {int(n) for n in session.labelmap[tuple(inside.T)]} - {0, number}
        names = [o.name for o in session.objects if o.number in found]
        if names:
            own = session.object(number).name
            self.told.emit(
                f"The prompt for {own} lies in {', '.join(names)}, which is protected; choose "
                "another policy to take over its voxels.",
                True,
            )

    def _on_failed(self, number: int, error: Exception) -> None:
        if isinstance(error, OpenMedLabError):
            self.told.emit(str(error), True)
            return
        log.error("Method %s failed", self.method, exc_info=error)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        self.told.emit(f"The method failed ({what}); the mask was left as it was.", True)

    def _on_ended(self, number: int, state: TicketState) -> None:
        if state is TicketState.CANCELLED:
            self.told.emit("Cancelled; the mask was left as it was.", False)
        self._update_busy()

    def _on_reported(self, number: int, done: int, total: int, text: str) -> None:
        self.progressed.emit(done, total, text)
