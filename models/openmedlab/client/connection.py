"""`Connection`: HTTP to one server, with errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from openmedlab.client.errors import (
    NotOpenMedLabError,
    ProxyError,
    ServerError,
    ServerFullError,
    SessionGoneError,
    UnreachableError,
    WrongTokenError,
)
from openmedlab.client.wire import BINARY, META, meta_text
from openmedlab.core.errors import Cancelled, InputError

VERSION_HEADER = "X-OpenMEDLab"
TIMEOUT = httpx.Timeout(connect=10, read=600, write=600, pool=10)
QUICK = httpx.Timeout(5)
STOPPED = ("cancelled", "superseded")


class Connection:
    """Requests to one server.

    Parameters
    ----------
    address
        ``http://host:port``, ``https://...`` or plain ``host:port``.
    token
        What the server printed when it started; None where it asks for none.

    Notes
    -----
    A proxy set in the environment is used for hosts that are not this machine.
    Safe to use from several threads.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = _full(address)
        self.token = token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        local = httpx.URL(self.address).host in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.address, headers=headers, timeout=TIMEOUT, trust_env=not local
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        array: bytes | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> httpx.Response:
        """Send one request and return the answer.

        Raises
        ------
        ServerError
            One of its kinds, by what went wrong.
        InputError
            The server refused the input; its sentence.
        Cancelled
            The work was cancelled, or a newer request took its place.
        """
        headers = {} if meta is None else {META: meta_text(meta)}
        if array is not None:
            headers["Content-Type"] = BINARY
        try:
            answer = self._http.request(
                method, path, json=json, content=array, headers=headers, timeout=timeout
            )
        except httpx.HTTPError as error:
            raise _unreachable(self.address, error) from error
        self.raise_for(answer)
        return answer

    def events(self, path: str) -> Iterator[str]:
        """Yield the data of a stream of server-sent events until it ends or breaks."""
        try:
            with self._http.stream("GET", path) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield line.removeprefix("data: ")
        except httpx.HTTPError:
            return

    def raise_for(self, answer: httpx.Response) -> None:
        """Raise what an answer's status means."""
        known = VERSION_HEADER in answer.headers
        if not known:
            raise _foreign(self.address, answer)
        if answer.is_success:
            return
        text, code = _reason(answer)
        if code in STOPPED:
            raise Cancelled
        kinds: dict[int, type[Exception]] = {
            401: WrongTokenError,
            410: SessionGoneError,
            503: ServerFullError,
        }
        refused = answer.status_code in (400, 404, 409, 413, 422)
        raise kinds.get(answer.status_code, InputError if refused else ServerError)(text)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _full(address: str) -> str:
    text = address.strip().rstrip("/")
    full = text if "://" in text else f"http://{text}"
    try:
        url = httpx.URL(full)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(
            f"{address!r} is not an address of a server; write it like http://127.0.0.1:1527."
        )
    return full


def _reason(answer: httpx.Response) -> tuple[str, str]:
    try:
        data = answer.json()
        detail = data["detail"]
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code} {answer.reason_phrase}.", ""
    text = detail if isinstance(detail, str) else f"The server refused the request: {detail}."
    return text, str(data.get("code", ""))


def _unreachable(address: str, error: httpx.HTTPError) -> UnreachableError:
    why = "it does not answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
    return UnreachableError(
        f"No server can be reached at {address} ({why or type(error).__name__}); is it running, "
        "and are host and port right?"
    )


def _foreign(address: str, answer: httpx.Response) -> NotOpenMedLabError:
    signs = ("via", "proxy-authenticate", "proxy-connection", "x-cache", "x-squid-error")
    if answer.status_code in (407, 502, 504) or any(h in answer.headers for h in signs):
        return ProxyError(
            f"A proxy answered in place of the server at {address} (status {answer.status_code}); "
            "set NO_PROXY for this host, or ask who runs the proxy."
        )
    return NotOpenMedLabError(
        f"Another program answers at {address} (status {answer.status_code}), not an OpenMEDLab "
        "server; check the port."
    )
