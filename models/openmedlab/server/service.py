"""`Service`: the engine behind every dialect; one way to ask, wait, cancel and stop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from openmedlab.client.wire import TooLargeError
from openmedlab.core import (
    Cancelled,
    CancelToken,
    InputError,
    LabelVolume,
    Localization,
    LogitsPatch,
    Progress,
    Timings,
    Volume,
    check_prompts,
)
from openmedlab.core.contracts import PromptList
from openmedlab.engine import (
    EncodingCache,
    InferenceThread,
    answer_prompts,
    inference_thread,
    require_memory,
    shared_cache,
    work_ahead,
)
from openmedlab.engine.thread import Work
from openmedlab.labeling.methods import LabelerChoice
from openmedlab.localization.methods import LocalizerChoice
from openmedlab.localization.templates import TemplateLibrary
from openmedlab.server.jobs import Job
from openmedlab.server.leases import Lease, Leases
from openmedlab.server.models import Models
from openmedlab.server.settings import Settings

T = TypeVar("T")
GLANCE = 0.5


@dataclass(frozen=True, eq=False)
class Answered:
    """A mask and what it cost."""

    patch: LogitsPatch
    timings: Timings


class Service:
    """What all dialects share.

    Parameters
    ----------
    settings
        Limits.
    models
        What there is to run.
    thread, cache
        The engine's; this process's own by default.
    clock
        Returns seconds; leases live by it.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models | None = None,
        *,
        thread: InferenceThread | None = None,
        cache: EncodingCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.models = models or Models()
        self.thread = thread or inference_thread()
        self.cache = cache or shared_cache()
        self.leases = Leases(clock, settings.max_sessions, settings.idle, settings.liveness)
        self.stopping = False
        self._jobs: set[Job] = set()
        self._templates: TemplateLibrary | None = None
        self._templates_lock = threading.Lock()

    # ---------------------------------------------------------------- memory
    @property
    def free_bytes(self) -> int:
        """What sessions may still take."""
        return max(0, self.settings.max_memory - self.leases.nbytes)

    def reserve(self, nbytes: int, what: str) -> None:
        """Raise when ``nbytes`` for ``what`` go beyond the limit or this machine's memory."""
        if nbytes > self.free_bytes:
            raise TooLargeError(
                f"{what} needs {nbytes / 1e6:.0f} MB; the server has {self.free_bytes / 1e6:.0f} "
                "MB left for sessions. Crop the image, or try again later."
            )
        require_memory(nbytes, what)

    # ------------------------------------------------------------------ work
    async def run(
        self,
        request: Request | None,
        lease: Lease | None,
        work: Work[T],
        *,
        key: Any = None,
        name: str = "",
    ) -> tuple[T, Timings]:
        """Do ``work`` on the inference thread; a client that hung up cancels it.

        ``lease`` is the session it belongs to, where it belongs to one; there ``name`` is how
        its events and its cancel find it.
        """
        if self.stopping:
            raise Cancelled
        job = Job(name, self.thread.submit, work, key)
        self._jobs.add(job)
        if lease is not None:
            lease.begin(job)
        try:
            future = asyncio.wrap_future(job.ticket.future)
            while not (await asyncio.wait([future], timeout=GLANCE))[0]:
                if request is not None and await request.is_disconnected():
                    job.ticket.cancel()
            return future.result(), job.ticket.progress.timings
        finally:
            job.ticket.cancel()
            self._jobs.discard(job)
            if lease is not None:
                lease.end(job, self.leases.clock())
            job.end()

    def warm_up(self) -> None:
        """Load the default model and run it once, when nothing else is to do."""
        name = self.settings.default_model
        self.thread.submit(lambda _p, _c: self.models.promptable(name).warm_up(), idle=True)

    async def answer(
        self,
        request: Request | None,
        lease: Lease | None,
        volume: Volume,
        model: str,
        prompts: PromptList,
        previous: Callable[[str], LogitsPatch | None],
        *,
        key: Any = None,
        name: str = "",
    ) -> Answered:
        """Return a model's mask for one object's prompts; newest of the same ``key`` wins.

        ``previous`` returns the last answer that the method of a given name gave.
        """
        self.models.require(model)
        check_prompts(prompts, volume.geometry)

        def work(progress: Progress, cancel: CancelToken) -> LogitsPatch:
            promptable = self.models.promptable(model)
            patch = answer_prompts(
                promptable,
                volume,
                prompts,
                previous(promptable.name),
                cache=self.cache,
                progress=progress,
                cancel=cancel,
            )
            work_ahead(self.thread, self.cache, promptable, volume, prompts, patch, (lease, "tend"))
            return patch

        patch, timings = await self.run(request, lease, work, key=key, name=name)
        return Answered(patch, timings)

    async def label(
        self,
        request: Request | None,
        lease: Lease | None,
        volume: Volume,
        choice: LabelerChoice,
        classes: list[str] | None,
        *,
        name: str = "",
    ) -> tuple[LabelVolume, Timings]:
        """Return all structures of a volume, or the named ones."""
        self.models.require_labeler(choice)
        self.reserve(2 * volume.geometry.region.size, "the labelmap")

        def work(progress: Progress, cancel: CancelToken) -> LabelVolume:
            return self.models.labeler(choice).label(volume, classes, progress, cancel)

        return await self.run(request, lease, work, name=name)

    def templates(self, organs: list[str] | None = None) -> TemplateLibrary:
        """Return the templates, or those of ``organs``, as they are on disk now.

        Raises
        ------
        InputError
            This server was started without any, or an organ has none.
        """
        if self.settings.templates is None:
            raise InputError("This server has no templates; start it with --templates FOLDER.")
        with self._templates_lock:
            if self._templates is None:
                self._templates = TemplateLibrary(self.settings.templates)
            self._templates.reload()
            return self._templates.only(self._templates.organs if organs is None else organs)

    async def localize(
        self,
        request: Request | None,
        lease: Lease | None,
        volume: Volume,
        choice: LocalizerChoice,
        organs: list[str] | None,
        *,
        name: str = "",
    ) -> Mapping[str, Localization]:
        """Find the organs of the templates, or the named ones."""
        self.models.require_localizer(choice)
        wanted = await asyncio.to_thread(self.templates, organs)

        def work(progress: Progress, cancel: CancelToken) -> Mapping[str, Localization]:
            return self.models.localizer(choice).localize(wanted, volume, progress, cancel)

        return (await self.run(request, lease, work, name=name))[0]

    def stop(self) -> None:
        """Cancel all that waits and runs, so that open requests end; sessions stay."""
        self.stopping = True
        for job in list(self._jobs):
            job.ticket.cancel()

    def close(self) -> None:
        """End all sessions; their journals are written to the end."""
        self.stop()
        self.leases.close()
