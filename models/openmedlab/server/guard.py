"""`Guard`: who may ask, how much, from where; and every error becomes one sentence."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openmedlab import __version__
from openmedlab.client.connection import VERSION_HEADER
from openmedlab.server.settings import Settings, is_loopback

log = logging.getLogger(__name__)
OPEN_PATHS = ("/healthz", "/v1/hello", "/auth/", "/auth/token")


class BodyTooLargeError(Exception):
    """The request's body went over the limit."""


class Guard:
    """ASGI middleware in front of all routes.

    Checks the token in constant time, refuses web pages of other origins and, without a
    token, other names for this machine (DNS rebinding), counts the body's bytes as they
    arrive, and answers what no route caught with 500 and one sentence.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def tell(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], _VERSION]
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await _answer(tell, *refused)
            return
        try:
            await self._app(scope, self._counted(receive), tell)
        except BodyTooLargeError:
            if not started:
                await _answer(tell, 413, self._too_large())
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                await _answer(tell, 500, "The server failed at this request; see its log.")

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {k.decode("latin1").lower(): v.decode("latin1") for k, v in scope["headers"]}
        host = headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and origin.split("://", 1)[-1] != host:
            return 403, "Web pages of other origins may not use this server."
        if self._settings.token is None and not is_loopback(_name(host)):
            return 403, "Without a token this server answers to 127.0.0.1 and localhost only."
        if not self._knows(headers.get("authorization", "")) and not _is_open(scope["path"]):
            return 401, "This server wants its token, or another one; see where it was started."
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.max_body:
            return 413, self._too_large()
        return None

    def _knows(self, authorization: str) -> bool:
        scheme, _, shown = authorization.partition(" ")
        same = same_token(shown.strip(), self._settings.token)
        return self._settings.token is None or (same and scheme.lower() == "bearer")

    def _counted(self, receive: Receive) -> Receive:
        left = self._settings.max_body

        async def counted() -> Message:
            nonlocal left
            message: MutableMapping[str, Any] = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise BodyTooLargeError
            return message

        return counted

    def _too_large(self) -> str:
        return f"A request may have at most {self._settings.max_body / 1e6:.0f} MB."


_VERSION = (VERSION_HEADER.lower().encode(), __version__.encode())


def same_token(shown: str, token: str | None) -> bool:
    """Whether ``shown`` is the server's token, compared in constant time."""
    return hmac.compare_digest(shown.encode(), (token or "").encode())


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or (path.startswith("/m/") and path.endswith("/healthz"))


def _name(host: str) -> str:
    """Return the host part of ``host:port``."""
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
