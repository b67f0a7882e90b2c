"""From prompts to a mask: a session's objects run through a model on the inference thread."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from psygnal import Signal

from openmedlab.core.constraints import check_prompts, pin
from openmedlab.core.contracts import LogitsPatch, Promptable, PromptList
from openmedlab.core.progress import CancelToken, Progress, Timings
from openmedlab.core.session import Session
from openmedlab.core.volume import Volume
from openmedlab.engine.cache import EncodingCache, Prefetching, Storable, shared_cache
from openmedlab.engine.refine import refined, trusted_base
from openmedlab.engine.thread import InferenceThread, Ticket, TicketState


@dataclass(frozen=True, eq=False)
class Answer:
    """What came back for one object.

    Attributes
    ----------
    number
        The object.
    patch
        The mask, with the method that made it and what that was given.
    timings
        The four times; the writer adds the last.
    revision
        `Session.revision` of the object when it was asked for.
    """

    number: int
    patch: LogitsPatch
    timings: Timings
    revision: int


def answer_prompts(
    model: Promptable,
    volume: Volume,
    prompts: PromptList,
    previous: LogitsPatch | None = None,
    *,
    cache: EncodingCache | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> LogitsPatch:
    """Return ``model``'s mask for ``prompts``, clicked voxels guaranteed.

    Behind a trusted `MaskPrompt`, every prompt changes the mask near itself only.

    Raises
    ------
    PromptError
        A prompt is outside the volume, none is positive, or the model cannot take it.
    Cancelled
        ``cancel`` was raised.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    cache = cache or shared_cache()
    check_prompts(prompts, volume.geometry)

    def ask(given: PromptList, before: LogitsPatch | None = None) -> LogitsPatch:
        region = model.region(volume.geometry, given)
        with progress.stage("prepare"):
            encoding = cache.encode(model, volume, region, progress, cancel)
        cancel.check()
        with progress.stage("infer"):
            patch = model.predict(encoding, given, before, progress, cancel)
        cancel.check()
        return patch

    base = trusted_base(prompts)
    if base is None:
        return pin(ask(prompts, previous), prompts)
    return pin(refined(ask, model.name, volume.geometry, prompts, base, previous), prompts)


class Interaction:
    """Runs a model for a session; never blocks its caller.

    Parameters
    ----------
    session
        Prompts are read from it; masks are *not* written to it: the face applies
        each `Answer` through its own undo history (or calls `Session.commit`).
    model
        A function that returns the model, called on the inference thread on
        first use (it may load weights).
    thread
        The device's inference thread.

    Notes
    -----
    Signals, on the inference thread: ``answered(Answer)``, ``failed(int, Exception)``,
    ``ended(int, TicketState)`` after every request whatever became of it,
    ``reported(int, int, int, str)`` with object, done, total and a text.
    """

    answered = Signal(Answer)
    failed = Signal(int, Exception)
    ended = Signal(int, TicketState)
    reported = Signal(int, int, int, str)

    def __init__(
        self,
        session: Session,
        model: Callable[[], Promptable],
        thread: InferenceThread,
        cache: EncodingCache | None = None,
    ) -> None:
        self.session = session
        self.thread = thread
        self.cache = cache or shared_cache()
        self._make = model
        self._model: Promptable | None = None

    def request(self, number: int) -> Ticket[LogitsPatch]:
        """Ask for object ``number``'s mask from its present prompts; newest request wins."""
        session = self.session
        prompts = session.model_prompts(number)
        check_prompts(prompts, session.volume.geometry)
        revision = session.revision(number)

        def work(progress: Progress, cancel: CancelToken) -> LogitsPatch:
            model = self.model()
            return answer_prompts(
                model,
                session.volume,
                prompts,
                session.previous(number, model.name),
                cache=self.cache,
                progress=progress,
                cancel=cancel,
            )

        return self.thread.submit(
            work,
            key=(id(session), number),
            on_report=lambda done, total, text: self.reported.emit(number, done, total, text),
            on_end=lambda ticket: self._finish(number, prompts, revision, ticket),
        )

    def warm_up(self) -> Ticket[None]:
        """Load the model and run it once, on the inference thread."""
        return self.thread.submit(lambda _p, _c: self.model().warm_up(), idle=True)

    def model(self) -> Promptable:
        """Return the model, made on first use (call on the inference thread)."""
        if self._model is None:
            self._model = self._make()
        return self._model

    def _finish(
        self, number: int, prompts: PromptList, revision: int, ticket: Ticket[LogitsPatch]
    ) -> None:
        if ticket.state is TicketState.DONE:
            answer = Answer(number, ticket.result(), ticket.progress.timings, revision)
            self.answered.emit(answer)
            self._tend(prompts, answer.patch)
        elif ticket.state is TicketState.FAILED and isinstance(ticket.error, Exception):
            self.failed.emit(number, ticket.error)
        self.ended.emit(number, ticket.state)

    def _tend(self, prompts: PromptList, patch: LogitsPatch) -> None:
        """While the user looks at the answer, keep and extend what was encoded."""
        work_ahead(
            self.thread,
            self.cache,
            self.model(),
            self.session.volume,
            prompts,
            patch,
            key=(id(self.session), "tend"),
        )


def work_ahead(
    thread: InferenceThread,
    cache: EncodingCache,
    model: Promptable,
    volume: Volume,
    prompts: PromptList,
    patch: LogitsPatch,
    key: Hashable,
) -> None:
    """Use the idle time after an answer: keep what was encoded, and encode ahead.

    ``key`` tells whose time it is: newer work of the same key supersedes.
    """
    if not isinstance(model, Storable | Prefetching):
        return
    region = model.region(volume.geometry, prompts)
    thread.submit(
        lambda _progress, cancel: cache.tend(model, volume, region, patch, cancel),
        key=key,
        idle=True,
    )
