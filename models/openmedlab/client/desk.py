"""A volume's place on the server: claimed when first needed, claimed anew when lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from openmedlab.client.connection import QUICK, Connection
from openmedlab.client.errors import ServerError, SessionGoneError
from openmedlab.client.wire import pack
from openmedlab.core.errors import Cancelled, InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.volume import Volume

T = TypeVar("T")
LOOK = 0.05
PATIENCE = 0.4


class Desk:
    """The server's session for one volume.

    Parameters
    ----------
    connection
        To the server.
    volume
        Sent when first needed, and again when the server has lost it.
    on_close
        Called once the session was given back.

    Attributes
    ----------
    generation
        How often the volume was sent; grows when the server had forgotten it.
    users
        Sessions that work with it.
    """

    def __init__(
        self, connection: Connection, volume: Volume, on_close: Callable[[], object]
    ) -> None:
        self._on_close = on_close
        self.connection = connection
        self.volume = volume
        self.generation = 0
        self.users = 0
        self._lease = ""
        self._lock = threading.Lock()
        self._beat = threading.Event()

    def claim(self, progress: Progress | None = None) -> str:
        """Return the path of the session, sending the volume if the server has it not."""
        with self._lock:
            if not self._lease:
                if progress is not None:
                    progress.report(0, 0, "sending the image to the server")
                self._open()
            return f"/v1/sessions/{self._lease}"

    def _open(self) -> None:
        volume = self.volume
        meta = {
            "geometry": volume.geometry.to_json(),
            "modality": volume.modality,
            "name": volume.name,
        }
        answer = self.connection.request(
            "POST", "/v1/sessions", array=pack(volume.read()), meta=meta
        ).json()
        self._lease = answer["id"]
        self.generation += 1
        self._beat.set()
        self._beat = threading.Event()
        threading.Thread(
            target=self._keep_alive,
            args=(self._lease, answer["liveness_seconds"] / 3, self._beat),
            name="openmedlab-heartbeat",
            daemon=True,
        ).start()

    def _keep_alive(self, lease: str, every: float, stop: threading.Event) -> None:
        while not stop.wait(every):
            try:
                self.connection.request("POST", f"/v1/sessions/{lease}/heartbeat", timeout=QUICK)
            except SessionGoneError:
                return
            except (ServerError, InputError, RuntimeError):
                continue

    def lose(self) -> None:
        """Forget the server's session; the next request claims another."""
        with self._lock:
            self._lease = ""
            self._beat.set()

    def ask(
        self, path: str, body: dict[str, Any], progress: Progress, cancel: CancelToken
    ) -> httpx.Response:
        """Post a request that takes time; follow its progress and pass a cancel on.

        A session that the server has forgotten is claimed anew, once.
        """
        try:
            return self._ask_once(self.claim(progress), path, body, progress, cancel)
        except SessionGoneError:
            self.lose()
            return self._ask_once(self.claim(progress), path, body, progress, cancel)

    def _ask_once(
        self,
        place: str,
        path: str,
        body: dict[str, Any],
        progress: Progress,
        cancel: CancelToken,
    ) -> httpx.Response:
        cancel.check()
        job = uuid4().hex
        answer = _in_thread(
            lambda: self.connection.request("POST", f"{place}/{path}", json={**body, "job": job})
        )
        follower: threading.Thread | None = None
        waited, told = 0.0, False
        while True:
            try:
                return answer.result(LOOK)
            except TimeoutError:
                waited += LOOK
            if cancel.cancelled and not told:
                told = True
                self._stop(f"{place}/jobs/{job}")
            if follower is None and waited > PATIENCE:
                follower = threading.Thread(
                    target=self._follow, args=(f"{place}/jobs/{job}/events", progress), daemon=True
                )
                follower.start()

    def _stop(self, job: str) -> None:
        try:
            self.connection.request("DELETE", job, timeout=QUICK)
        except (ServerError, InputError, Cancelled):
            return

    def _follow(self, path: str, progress: Progress) -> None:
        import json

        for text in self.connection.events(path):
            event = json.loads(text)
            if "total" in event:
                progress.report(event["done"], event["total"], event["text"])

    def close(self) -> None:
        """Give the session back."""
        with self._lock:
            lease, self._lease = self._lease, ""
            self._beat.set()
        if lease:
            self._stop(f"/v1/sessions/{lease}")
        self._on_close()


def _in_thread(work: Callable[[], T]) -> Future[T]:
    """Run ``work`` on a thread of its own that does not keep the program from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="openmedlab-request", daemon=True).start()
    return future
