"""``openmedlab serve``: one server for many viewers."""

from __future__ import annotations

import json
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openmedlab.cli.console import say

if TYPE_CHECKING:
    from openmedlab.server.settings import Settings

TOKEN = "OPENMEDLAB_TOKEN"
MB = 1_000_000


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own wants a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 1527,
    token: Annotated[
        str | None,
        typer.Option(
            help=f"What clients must show; also read from {TOKEN}. "
            "One is made and printed where the network is let in."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Promptable behind the bare address.")] = "builtin",
    datastore: Annotated[
        Path | None, typer.Option(help="Folder of images to offer to MONAI Label's clients.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(help="Folder of a template library, for localisation.")
    ] = None,
    max_sessions: Annotated[int, typer.Option(min=1, help="Sessions at once.")] = 8,
    max_body: Annotated[int, typer.Option(min=1, help="Megabytes of one request.")] = 2000,
    max_memory: Annotated[
        int | None, typer.Option(min=1, help="Megabytes of all sessions; half of the machine's.")
    ] = None,
    idle: Annotated[float, typer.Option(min=1, help="Seconds without work; ends a session.")] = 600,
    liveness: Annotated[
        float, typer.Option(min=1, help="Seconds without a sign of life; ends a session.")
    ] = 60,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print address and token as JSON when ready.")
    ] = False,
) -> None:
    """Serve clicks, whole-body labels and localisation to napari, 3D Slicer and scripts.

    Speaks nnInteractive's language (the bare address, and /m/MODEL), MONAI Label's, and its
    own (/v1, described at /docs).
    """
    from openmedlab.engine import home
    from openmedlab.server import Settings, is_loopback

    known = token if token is not None else os.environ.get(TOKEN)
    if known is None and not is_loopback(host):
        known = secrets.token_urlsafe(24)
    limits = {} if max_memory is None else {"max_memory": max_memory * MB}
    settings = Settings(
        host=host,
        port=port,
        token=known or None,
        default_model=model,
        max_sessions=max_sessions,
        max_body=max_body * MB,
        idle=idle,
        liveness=liveness,
        journals=home() / "journals" / "server",
        datastore=datastore,
        templates=templates,
        **limits,
    )
    _run(settings, as_json)


def _run(settings: Settings, as_json: bool) -> None:
    from openmedlab.core.errors import InputError

    try:
        from openmedlab.server.run import address, listen, serve
        from openmedlab.server.service import Service
    except ModuleNotFoundError as error:
        raise InputError(
            f"The server needs {error.name}; install it with: "
            "pip install 'napari-openmedlab[server]'."
        ) from error

    service = Service(settings)
    service.models.require(settings.default_model)
    with listen(settings) as made:
        serve(service, made, lambda: _tell(settings, address(made), made, as_json))


def _tell(settings: Settings, where: str, made: socket.socket, as_json: bool) -> None:
    """Say where the server is; as JSON on one line, for the program that started it."""
    record = {"address": where, "token": settings.token, "port": made.getsockname()[1]}
    if as_json:
        print(json.dumps(record), flush=True)  # noqa: T201 - read line by line
        return
    say(f"Serving at {where}" + (f"\nToken: {settings.token}" if settings.token else ""))
    say("Stop with Ctrl-C.")
