"""`Training`: a fine-tuning under way, there to be looked at from the GUI thread."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from openmedlab.core import CancelToken, Progress

if TYPE_CHECKING:
    from openmedlab.tuning.finetune import Point, Result
    from openmedlab.tuning.plan import Plan


class Training:
    """A fine-tuning on a working thread.

    Parameters
    ----------
    plan
        What is done.

    Attributes
    ----------
    points
        Looks at the validation volumes so far, those of an earlier training first.
    done, total, text
        How far it is; updates once `resumed_from` is known.
    resumed_from
        Updates of an earlier training; None before the first update.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.points: list[Point] = []
        self.done, self.total, self.text = 0, 0, "waiting …"
        self.resumed_from: int | None = None
        self.stopping = False
        self._first = (0.0, 0)

    def work(self, _progress: Progress, cancel: CancelToken) -> Result:
        """Train; called on the working thread."""
        from openmedlab.tuning.finetune import finetune

        return finetune(self.plan, Progress(self._note), cancel, self.points.append)

    def _note(self, done: int, total: int, text: str) -> None:
        """Take in a report; looks are told before the first one that counts updates."""
        if self.points and self.resumed_from is None:
            self.resumed_from = done - 1
            self._first = (time.monotonic(), done)
        self.done, self.total, self.text = done, total, text

    @property
    def seconds_left(self) -> float | None:
        """Time for the updates that are left, as fast as those so far; None before the second."""
        began, first = self._first
        if self.resumed_from is None or self.done == first:
            return None
        return (time.monotonic() - began) / (self.done - first) * (self.total - self.done)

    def __str__(self) -> str:
        if self.stopping:
            return "Stopping after this update …"
        if self.resumed_from is None:
            return self.text
        since = f", went on from update {self.resumed_from}" if self.resumed_from else ""
        left = self.seconds_left
        rest = f", {duration(left)} left at most" if left is not None else ""
        return f"Update {self.done} of {self.total}{since}: {self.text}{rest}"


def duration(seconds: float) -> str:
    """Return a time in words as exact as a guess: ``"40 s"``, ``"7 min"``, ``"2 h 5 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def told(plan: Plan, result: Result) -> str:
    """Say how a training ended."""
    best, last = result.best, result.curve[-1].step
    early = last < plan.schedule.steps
    why = f"; {plan.schedule.patience} looks without a better one ended it early" if early else ""
    return (
        f"Best validation loss {best.validation:.4f} at update {best.step} of {last}{why}. The "
        "weights of that update are kept."
    )
