"""One file over HTTP into a ``.part`` file that the next attempt goes on with."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from openmedlab.core.progress import CancelToken, Progress
from openmedlab.zoo.errors import WeightsError
from openmedlab.zoo.files import CHUNK, human, require_room, write_error

RETRY_DELAYS = (0.5, 1.0, 2.0)
TIMEOUT = httpx.Timeout(30.0, read=60.0)


class _TryAgain(Exception):  # noqa: N818 - a control signal between attempts
    """The connection or the server failed in a way that may pass."""


@dataclass
class _Transfer:
    """State of one download: where it goes, and what must be there in the end."""

    url: str
    part: Path
    size: int
    progress: Progress
    cancel: CancelToken

    @property
    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    @property
    def _note(self) -> Path:
        return self.part.with_name(self.part.name + ".json")

    @property
    def validator(self) -> str:
        """ETag or date under which the bytes at hand were sent; empty where unknown."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note.get("url") == self.url:
                return str(note.get("validator", ""))
        return ""

    def started(self, response: httpx.Response) -> None:
        """Remember what the bytes to come belong to."""
        etag = response.headers.get("ETag", "")
        strong = etag if not etag.startswith("W/") else ""
        validator = strong or response.headers.get("Last-Modified", "")
        self._note.write_text(
            json.dumps({"url": self.url, "validator": validator}), encoding="utf-8"
        )

    def discard(self) -> None:
        """Forget the bytes at hand."""
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def download(url: str, part: Path, *, size: int, progress: Progress, cancel: CancelToken) -> None:
    """Fetch ``url`` into ``part``, going on where an earlier attempt stopped.

    A broken connection is taken up again by itself; proxies are taken from the environment
    (``HTTPS_PROXY``, ``NO_PROXY``). On any failure ``part`` keeps what came.

    Parameters
    ----------
    url
        Address of the file.
    part
        Where the bytes go.
    size
        Bytes expected; 0 to believe the server.

    Raises
    ------
    WeightsError
        No network, the server refuses or sends something else, or the disk is full.
    Cancelled
        ``cancel`` was raised.
    """
    transfer = _Transfer(url, part, size, progress, cancel)
    failures = 0
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT) as client:
        while True:
            before = transfer.have
            try:
                return _attempt(client, transfer)
            except (httpx.TransportError, _TryAgain) as error:
                failures = 0 if transfer.have > before else failures + 1
                if failures > len(RETRY_DELAYS):
                    raise _unreachable(transfer, error) from error
            except httpx.HTTPError as error:
                raise WeightsError(f"{url} cannot be fetched: {error}.") from error
            except OSError as error:
                raise write_error(error, part.parent) from error
            _wait(RETRY_DELAYS[max(failures - 1, 0)], cancel)


def _attempt(client: httpx.Client, transfer: _Transfer) -> None:
    transfer.cancel.check()
    have = transfer.have
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if transfer.validator:
            headers["If-Range"] = transfer.validator
    with client.stream("GET", transfer.url, headers=headers) as response:
        if response.status_code == 416:
            _at_the_end(response, transfer)
            return
        _check(response, transfer.url)
        resumed = response.status_code == 206 and _start(response) == have
        if response.status_code == 206 and not resumed:
            transfer.discard()
            raise _TryAgain("the server sent another part than asked for")
        have = have if resumed else 0
        total = have + int(response.headers.get("Content-Length", 0))
        total = total if total > have else transfer.size
        require_room(transfer.part.parent, max(total - have, 0), transfer.part.stem)
        if not resumed:
            transfer.started(response)
        with transfer.part.open("ab" if resumed else "wb") as file:
            _receive(response, file, transfer, have, total)
    if total and transfer.have < total:
        raise _TryAgain("the connection ended early")


def _receive(
    response: httpx.Response, file: IO[bytes], transfer: _Transfer, have: int, total: int
) -> None:
    told, of_total = -CHUNK, human(total) if total else "?"
    for block in response.iter_raw():
        transfer.cancel.check()
        file.write(block)
        have += len(block)
        if have - told >= CHUNK or have == total:
            told = have
            text = f"{transfer.part.stem}: {human(have)} of {of_total}"
            transfer.progress.report(have, total, text)


def _at_the_end(response: httpx.Response, transfer: _Transfer) -> None:
    """Nothing is left to send: either all is here, or what is here is not of this file."""
    length = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
    if length is None or int(length[1]) != transfer.have:
        transfer.discard()
        raise _TryAgain("the file changed on the server")


def _start(response: httpx.Response) -> int:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _check(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status in (408, 429) or status >= 500:
        raise _TryAgain(f"the server answered {status}")
    if status not in (200, 206):
        raise WeightsError(
            f"{url} cannot be fetched: the server answered {status} {response.reason_phrase}."
        )
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise WeightsError(
            f"{url} gave a web page instead of the file, perhaps a login or proxy page; "
            "download it in a browser and import it with: openmedlab models import FILE."
        )


def _unreachable(transfer: _Transfer, error: Exception) -> WeightsError:
    kept = (
        f" {human(transfer.have)} are kept, and the next try goes on there."
        if (transfer.have)
        else ""
    )
    return WeightsError(
        f"{transfer.url} cannot be reached ({error or type(error).__name__}); check the network "
        "or the proxy (HTTPS_PROXY), or download the file elsewhere and import it with: "
        f"openmedlab models import FILE.{kept}"
    )


def _wait(seconds: float, cancel: CancelToken) -> None:
    step = threading.Event()
    for _ in range(max(1, round(seconds / 0.1))):
        cancel.check()
        step.wait(0.1)
