"""Work on model weights - fetch, import, verify, remove - each job on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psygnal import Signal

from openmedlab.core import Cancelled, CancelToken, OpenMedLabError, Progress
from openmedlab.zoo import AmbiguousError, WeightsStore, weights_changed
from openmedlab.zoo.files import human

log = logging.getLogger(__name__)
IMPORT = "import"
WINDOW_S = 3.0
Work = Callable[[Progress, CancelToken], str]


@dataclass(frozen=True)
class Outcome:
    """What a job came to: a sentence, and the models that an imported file could be."""

    told: str
    error: bool = False
    fits: tuple[str, ...] = ()


class Job:
    """One piece of work: its thread notes how far it is, the GUI thread looks now and then.

    Parameters
    ----------
    doing
        What is being done, for the user.
    stoppable
        Whether it looks at the token.
    file
        What is imported.

    Attributes
    ----------
    text, done, total, speed
        What is being done, how far it is (``total`` 0 where that is not known), bytes per
        second over the last seconds.
    """

    def __init__(self, doing: str, stoppable: bool = True, file: Path | None = None) -> None:
        self.text = doing
        self.stoppable = stoppable
        self.file = file
        self.cancel = CancelToken()
        self.done = 0
        self.total = 0
        self.speed = 0.0
        self._seen: deque[tuple[float, int]] = deque()

    def report(self, done: int, total: int, text: str) -> None:
        """Take in what the work reported."""
        now = time.monotonic()
        if done < self.done or not total:
            self._seen.clear()
        self._seen.append((now, done))
        while now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        began, first = self._seen[0]
        self.speed = (done - first) / (now - began) if now > began else 0.0
        self.done, self.total, self.text = done, total, text or self.text

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1; 0 where that is not known."""
        return self.done / self.total if self.total else 0.0

    def __str__(self) -> str:
        if self.cancel.cancelled:
            return "Stopping …"
        return f"{self.text}, {human(self.speed)}/s" if self.speed else self.text


class Jobs:
    """The jobs under way, by model name (`IMPORT` for a file that is not recognised yet).

    They outlive the widget that began them; one job per model runs at a time.

    Notes
    -----
    Signals, on the GUI thread: ``told(str, bool)`` a sentence and whether it is an error;
    ``changed(str)`` a job began, was asked to stop, or ended; ``undecided(Path, tuple)`` a
    file fits these models, and the user has to say which it is; ``weights_changed(str)`` a
    model's weights came or went, by a job or by other means in this process.
    """

    told = Signal(str, bool)
    changed = Signal(str)
    undecided = Signal(Path, tuple)
    weights_changed = Signal(str)
    _ended = Signal(str, Outcome)

    def __init__(self) -> None:
        self._running: dict[str, Job] = {}
        self._ended.connect(self._on_end, thread="main")
        weights_changed.connect(self.weights_changed.emit, thread="main")

    def get(self, key: str) -> Job | None:
        """Return the job of a model, if there is one."""
        return self._running.get(key)

    @property
    def any(self) -> bool:
        """Whether anything is under way."""
        return bool(self._running)

    def cancel(self, key: str) -> None:
        """Ask a job to stop; a download keeps what came."""
        if (job := self.get(key)) is not None:
            job.cancel.cancel()
            self.changed.emit(key)

    def download(self, name: str) -> None:
        """Fetch a model's weights, going on where an earlier download stopped."""

        def work(progress: Progress, cancel: CancelToken) -> str:
            store = WeightsStore()
            try:
                store.fetch(name, progress, cancel)
            except Cancelled:
                kept = store.unfinished(name)
                rest = f"{human(kept)} are kept for the next try" if kept else "nothing had come"
                return f"The download was stopped; {rest}."
            return f"{_title(name)} is ready."

        self._start(name, f"Connecting for {_title(name)}", work)

    def import_file(self, file: Path, name: str | None = None) -> None:
        """Store a checkpoint downloaded by hand, as model ``name`` or recognised by its tensors."""

        def work(_: Progress, cancel: CancelToken) -> str:
            found = WeightsStore().import_checkpoint(file, name, cancel)
            return f"{file.name} is {found.card.title}; it is stored and ready."

        self._start(IMPORT, f"Importing {file.name}", work, file=file)

    def verify(self, name: str) -> None:
        """Check that stored weights are unchanged and fit their network."""

        def work(*_: object) -> str:
            WeightsStore().verify(name)
            return f"{_title(name)} is as it was stored, and fits its network."

        self._start(name, f"Verifying {_title(name)}", work, stoppable=False)

    def remove(self, name: str) -> None:
        """Delete a model's weights and what is left of unfinished downloads."""

        def work(*_: object) -> str:
            freed = human(WeightsStore().remove(name))
            return f"{_title(name)} is removed; {freed} are free again."

        self._start(name, f"Removing {_title(name)}", work, stoppable=False)

    def _start(
        self, key: str, doing: str, work: Work, stoppable: bool = True, file: Path | None = None
    ) -> None:
        if key in self._running:
            return
        job = self._running[key] = Job(f"{doing} …", stoppable, file)
        self.told.emit("", False)
        self.changed.emit(key)
        name = f"weights-{key}"
        threading.Thread(target=self._run, args=(key, job, work), name=name, daemon=True).start()

    def _run(self, key: str, job: Job, work: Work) -> None:
        try:
            outcome = Outcome(work(Progress(job.report), job.cancel))
        except Cancelled:
            outcome = Outcome("Stopped; nothing was changed.")
        except AmbiguousError as error:
            outcome = Outcome(str(error), error=True, fits=error.names)
        except OpenMedLabError as error:
            outcome = Outcome(str(error), error=True)
        except Exception as error:
            log.exception("%s failed", job.text)
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            outcome = Outcome(f"That failed ({what}); the weights are as they were.", error=True)
        self._ended.emit(key, outcome)

    def _on_end(self, key: str, outcome: Outcome) -> None:
        job = self._running.pop(key)
        self.changed.emit(key)
        if outcome.fits and job.file is not None:
            self.undecided.emit(job.file, outcome.fits)
        else:
            self.told.emit(outcome.told, outcome.error)


jobs = Jobs()
"""Those of this process."""


def _title(name: str) -> str:
    return WeightsStore().info(name).card.title
