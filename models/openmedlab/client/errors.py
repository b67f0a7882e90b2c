"""What can go wrong between a client and a server, told apart."""

from __future__ import annotations

from openmedlab.core.errors import OpenMedLabError


class ServerError(OpenMedLabError):
    """The server answered with an error that is none of the others."""


class UnreachableError(ServerError):
    """Nobody listens at that address and port, or the network is down."""


class NotOpenMedLabError(ServerError):
    """Another program answered: the port is wrong."""


class ProxyError(NotOpenMedLabError):
    """A proxy answered in place of the server."""


class WrongTokenError(ServerError):
    """The server wants a token, or another one."""


class ServerFullError(ServerError):
    """The server has given out all its sessions; try again later."""


class SessionGoneError(ServerError):
    """The server knows the session no more: it waited too long, or the server started anew."""
