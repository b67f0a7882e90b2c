"""One place where errors become a sentence and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from openmedlab.cli.console import say

BAD_INPUT = 2
CANCELLED = 3


class Group(TyperGroup):
    """Commands whose errors for users end in one sentence on stderr: 2 bad input, 3 cancelled."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _explained():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _explained():
            return super().invoke(ctx)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say("Cancelled.")
        raise typer.Exit(CANCELLED) from None
    except Exception as error:
        sentence, code = _explain(error)
        if not code:
            raise
        say(sentence)
        raise typer.Exit(code) from None


def _explain(error: Exception) -> tuple[str, int]:
    """Return what to say and the exit code; 0 for what is not a user's to mend."""
    if isinstance(error, typer.Exit):
        return "", 0
    from openmedlab.core.errors import Cancelled, OpenMedLabError

    if isinstance(error, Cancelled):
        return "Cancelled.", CANCELLED
    if isinstance(error, OpenMedLabError):
        return f"Error: {error}", BAD_INPUT
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"Error: {error.filename}: {error.strerror}.", BAD_INPUT
    if isinstance(error, ModuleNotFoundError) and error.name == "napari":
        return (
            "Error: this needs napari; install it with: pip install 'napari-openmedlab[napari]'.",
            BAD_INPUT,
        )
    return "", 0
