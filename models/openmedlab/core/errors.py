"""Errors whose text is one sentence a user can act on."""

from __future__ import annotations


class OpenMedLabError(Exception):
    """Base of every error meant for a user's eyes: what was wrong, where, what to do."""


class InputError(OpenMedLabError, ValueError):
    """A file, layer, argument or prompt cannot be used as it is."""


class PromptError(InputError):
    """A prompt is malformed, empty, or lies outside the volume."""


class MemoryGuardError(OpenMedLabError, MemoryError):
    """The work does not fit into memory even in its smallest form."""


class Cancelled(Exception):  # noqa: N818 - a control signal, not a failure
    """Raised between tiles, iterations and blocks once a `CancelToken` was cancelled."""
