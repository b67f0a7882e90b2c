"""`Settings`: where a server listens, whom it lets in, and how much it gives out."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from openmedlab.core import InputError

PORT = 1527
HALF = 2


def _half_of_memory() -> int:
    return int(psutil.virtual_memory().total) // HALF


@dataclass(frozen=True)
class Settings:
    """How a server runs.

    Attributes
    ----------
    host, port
        Where it listens; port 0 takes a free one.
    token
        What clients must show; None only on this machine's own loopback.
    default_model
        The promptable that the bare root serves.
    max_sessions
        Sessions given out at once.
    max_body
        Bytes of one request.
    max_memory
        Bytes of all sessions' images and labels together.
    idle, liveness
        Seconds without work, and without a sign of life, after which a session ends.
    journals
        Folder for the sessions' journals; None keeps none.
    datastore
        Folder of images served in MONAI Label's language; None serves none.
    templates
        Library of templates for localisation; None offers none.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str | None = None
    default_model: str = "builtin"
    max_sessions: int = 8
    max_body: int = 2 << 30
    max_memory: int = field(default_factory=_half_of_memory)
    idle: float = 600.0
    liveness: float = 60.0
    journals: Path | None = None
    datastore: Path | None = None
    templates: Path | None = None

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise InputError(
                f"On {self.host} anybody in the network could use this server; give a token, or "
                "listen on 127.0.0.1."
            )
        for what, folder in (("datastore", self.datastore), ("templates", self.templates)):
            if folder is not None and not folder.is_dir():
                raise InputError(f"{folder}, given as {what}, is not a folder.")
        if min(self.max_sessions, self.max_body, self.max_memory) < 1:
            raise InputError("The limits on sessions, body size and memory must be at least 1.")


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine to itself only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
