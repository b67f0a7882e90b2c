"""A plan before its start: in words, whether it can start, and what it goes on from."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_openmedlab.finetune.settings import Settings
from openmedlab.core import InputError
from openmedlab.core.errors import MemoryGuardError
from openmedlab.tuning.data import Cohort

if TYPE_CHECKING:
    from openmedlab.tuning.plan import Plan

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Stopped:
    """An earlier training in the same folder: updates done, and looks since the best one."""

    step: int
    waited: int

    def told(self, plan: Plan) -> str:
        """Say what a start will do with it."""
        if self.step >= plan.schedule.steps or self.waited >= plan.schedule.patience:
            return f"was trained to its end there, {self.step} updates; a start shows the result"
        return f"goes on from update {self.step} of an earlier training there"


@dataclass(frozen=True)
class Ready:
    """A plan.

    Attributes
    ----------
    settings
        What it was made for.
    plan
        What will be done.
    text
        The same in a few lines, with what the folder holds already.
    lacking
        Why it cannot start; empty where it can.
    stopped
        What an earlier training left in the same folder, if there was one.
    """

    settings: Settings
    plan: Plan
    text: str
    lacking: str
    stopped: Stopped | None

    @classmethod
    def of(cls, settings: Settings, cohort: Cohort) -> Ready:
        """Plan; call it off the GUI thread.

        Raises
        ------
        InputError, WeightsError
            The settings do not fit the model or the cohort.
        """
        from openmedlab.tuning.plan import plan

        made = plan(settings.request(cohort))
        stopped = stopped_at(made.request.out)
        lines, lacking = [made.text], ""
        try:
            made.require_memory()
            lines.append("that fits")
        except MemoryGuardError as error:
            lacking = str(error)
        if stopped is not None:
            lines.append(stopped.told(made))
        return cls(settings, made, "\n".join(lines), lacking, stopped)


def stopped_at(folder: Path) -> Stopped | None:
    """Return how far the training of a folder's checkpoint came; None without one.

    Raises
    ------
    InputError
        It cannot be read.
    """
    import torch

    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        state: Any = torch.load(path, map_location="meta", weights_only=True)
        return Stopped(state["history"]["step"], state["history"]["waited"])
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}); remove it or choose another folder."
        ) from error
