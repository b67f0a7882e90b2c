"""Starting and stopping: a socket of our own, jobs ended before connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from openmedlab.core import InputError
from openmedlab.server.app import create_app
from openmedlab.server.service import Service
from openmedlab.server.settings import Settings

GRACE = 15
MAX_CONNECTIONS = 500
READY = 60.0


class Server(uvicorn.Server):
    """uvicorn that stops the service's jobs first, so that open requests can end.

    ``on_ready`` is called once requests are taken.
    """

    def __init__(self, service: Service, on_ready: Callable[[], object] = lambda: None) -> None:
        self.service = service
        self._on_ready = on_ready
        super().__init__(
            uvicorn.Config(
                create_app(service),
                log_level="warning",
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=GRACE,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.stop()
        await super().shutdown(sockets)


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens where ``settings`` say.

    Raises
    ------
    InputError
        The port is taken, or the address is not this machine's.
    """
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, settings.port))
    except (OSError, OverflowError) as error:
        made.close()
        raise InputError(
            f"Nobody can listen on {settings.host} port {settings.port} ({error}); choose another "
            "port, or 0 for a free one."
        ) from error
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def address(made: socket.socket) -> str:
    """Return the address of a listening socket, for a client on this machine."""
    host, port = made.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, made: socket.socket, on_ready: Callable[[], object]) -> None:
    """Serve until SIGINT or SIGTERM; sessions' journals are complete when this returns."""
    Server(service, on_ready).run([made])


@contextmanager
def running(service: Service) -> Iterator[str]:
    """Serve from a thread of this process; yield the address. For tests and notebooks."""
    ready = threading.Event()
    made = listen(service.settings)
    server = Server(service, ready.set)
    thread = threading.Thread(target=server.run, args=([made],), name="server", daemon=True)
    thread.start()
    try:
        if not ready.wait(READY):
            raise InputError("The server did not start.")
        yield address(made)
    finally:
        server.should_exit = True
        thread.join(READY)
        made.close()
