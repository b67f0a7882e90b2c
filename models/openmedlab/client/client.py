"""`Client`: what a server offers, from a program that has no torch."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy.typing as npt

from openmedlab.client.connection import QUICK, Connection
from openmedlab.client.desk import Desk
from openmedlab.client.errors import (
    NotOpenMedLabError,
    ProxyError,
    ServerError,
    UnreachableError,
    WrongTokenError,
)
from openmedlab.client.promptable import RemotePromptable
from openmedlab.client.session import RemoteSession
from openmedlab.client.wire import META, read_meta, unpack
from openmedlab.core.contracts import Capabilities, Localization
from openmedlab.core.errors import InputError
from openmedlab.core.geometry import Geometry
from openmedlab.core.journal import Journal
from openmedlab.core.policy import LabelPolicy
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.prompts import ExtremePoints
from openmedlab.core.volume import Label, LabelVolume, Volume

PROTOCOL = 1
LABEL_BYTES = 2
Problem = Literal["", "unreachable", "wrong port", "proxy", "wrong token", "other version"]


@dataclass(frozen=True)
class TestResult:
    """What `Client.test` found.

    Attributes
    ----------
    problem
        Empty when all is well; else which of the known troubles it is.
    text
        A sentence for the user.
    version
        The server's version, where it told.
    """

    problem: Problem
    text: str
    version: str = ""
    __test__ = False

    def __bool__(self) -> bool:
        return not self.problem


@dataclass(frozen=True)
class RemoteModel:
    """A model on offer at the server.

    Attributes
    ----------
    name, title
        Stable word, and what a menu shows.
    task
        ``"promptable"``, ``"labels"`` or ``"localize"``.
    state, detail
        ``"ready"``, ``"needs weights"`` or ``"needs torch"``, and the same in words.
    licence
        Of the weights.
    capabilities
        What a promptable takes; None for other tasks.
    classes
        Names by number of a labeler, where known before it is loaded.
    """

    name: str
    title: str
    task: str
    state: str
    detail: str = ""
    licence: str = ""
    capabilities: Capabilities | None = None
    classes: dict[int, str] | None = None


class Client:
    """A connection to an OpenMEDLab server.

    Parameters
    ----------
    address
        ``http://host:port`` or ``host:port``.
    token
        What the server printed at its start; None where it asks for none.

    Raises
    ------
    InputError
        The address is not one.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self.connection = Connection(address, token)
        self._desks: dict[str, Desk] = {}
        self._lock = threading.Lock()

    def test(self) -> TestResult:
        """Say whether the server can be worked with, and if not, what is in the way."""
        try:
            hello = self.connection.request("GET", "/v1/hello", timeout=QUICK).json()
            if hello["protocol"] != PROTOCOL:
                return TestResult(
                    "other version",
                    f"The server speaks protocol {hello['protocol']}, this client {PROTOCOL}; "
                    "install the same version on both sides.",
                    hello["version"],
                )
            self.connection.request("GET", "/v1/models")
        except ServerError as error:
            return TestResult(_problem(error), str(error))
        return TestResult("", f"OpenMEDLab {hello['version']} is ready.", hello["version"])

    def models(self) -> tuple[RemoteModel, ...]:
        """Return what the server offers, the built-in methods first."""
        rows = self.connection.request("GET", "/v1/models").json()["models"]
        return tuple(_model(row) for row in rows)

    def promptable(self, name: str) -> RemotePromptable:
        """Return one of the server's promptables, for `engine.Interaction` or `predict`."""
        known = {m.name: m for m in self.models() if m.capabilities is not None}
        if name not in known:
            raise InputError(
                f"The server has no promptable model {name!r}; it has {', '.join(known)}."
            )
        capabilities = known[name].capabilities
        assert capabilities is not None
        return RemotePromptable(name, f"remote {self.connection.address}", capabilities, self._desk)

    def open(
        self,
        volume: Volume | npt.NDArray[Any],
        geometry: Geometry | None = None,
        *,
        model: str = "builtin",
        labelmap: npt.NDArray[Any] | None = None,
        policy: LabelPolicy | None = None,
        journal: Path | None = None,
    ) -> RemoteSession:
        """Begin to work on a volume; it is sent when the first mask is asked for.

        Parameters
        ----------
        volume, geometry
            A `Volume`, or a (z, y, x) array and its geometry.
        model
            Name of the promptable that `RemoteSession.predict` uses.
        labelmap
            Array to edit in place; by default an empty one.
        policy
            How masks enter the labelmap; by default neighbours are protected.
        journal
            File that records the work.
        """
        image = _as_volume(volume, geometry)
        desk = self._desk(image)
        desk.users += 1
        known: dict[str, RemotePromptable] = {}

        def find(name: str) -> RemotePromptable:
            if name not in known:
                known[name] = self.promptable(name)
            return known[name]

        return RemoteSession(
            image,
            labelmap,
            policy=policy,
            journal=Journal(journal) if journal is not None else None,
            model=model,
            promptable=find,
            desk=desk,
        )

    def resume(self, journal: Path, volume: Volume, *, model: str = "builtin") -> RemoteSession:
        """Take up the work that a journal records; it goes on in the same file.

        Raises
        ------
        InputError
            The journal is damaged, empty, or belongs to another volume.
        """
        session = self.open(volume, model=model)
        session.resume(journal)
        return session

    def label(
        self,
        volume: Volume | npt.NDArray[Any],
        geometry: Geometry | None = None,
        *,
        model: str = "builtin-tissues",
        classes: Collection[str] | None = None,
        fast: bool = False,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> LabelVolume:
        """Return all structures of a volume, or those named by ``classes``."""
        image = _as_volume(volume, geometry)
        body = {
            "model": model,
            "classes": None if classes is None else sorted(classes),
            "fast": fast,
        }
        answer = self._desk(image).ask(
            "label", body, progress or Progress(), cancel or CancelToken()
        )
        meta = read_meta(answer.headers.get(META))
        ahead = meta["names_bytes"]
        names = {
            int(n): Label(row["name"], row["color"] and tuple(row["color"]), row["code"])
            for n, row in json.loads(answer.content[:ahead]).items()
        }
        array = unpack(answer.content[ahead:], LABEL_BYTES * image.geometry.region.size)
        return LabelVolume(array, image.geometry, names, image.name, meta["method"])

    def organs(self) -> tuple[str, ...]:
        """Return the organs that the server's templates can find.

        Raises
        ------
        InputError
            The server has no templates.
        """
        return tuple(self.connection.request("GET", "/v1/templates").json()["organs"])

    def localize(
        self,
        volume: Volume | npt.NDArray[Any],
        geometry: Geometry | None = None,
        *,
        organs: Collection[str] | None = None,
        model: str = "builtin",
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> dict[str, Localization]:
        """Return extreme points and confidence of the organs found, by the server's templates."""
        body = {"model": model, "organs": None if organs is None else sorted(organs)}
        answer = self._desk(_as_volume(volume, geometry)).ask(
            "localize", body, progress or Progress(), cancel or CancelToken()
        )
        return {
            organ: Localization(ExtremePoints(row["points"]), row["confidence"])
            for organ, row in answer.json().items()
        }

    def _desk(self, volume: Volume) -> Desk:
        key = volume.identity
        with self._lock:
            if key not in self._desks:
                self._desks[key] = Desk(self.connection, volume, lambda: self._desks.pop(key, None))
            return self._desks[key]

    def close(self) -> None:
        """Give all sessions back and close the connection."""
        for desk in list(self._desks.values()):
            desk.close()
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _problem(error: ServerError) -> Problem:
    kinds: tuple[tuple[type[ServerError], Problem], ...] = (
        (ProxyError, "proxy"),
        (NotOpenMedLabError, "wrong port"),
        (WrongTokenError, "wrong token"),
        (UnreachableError, "unreachable"),
    )
    return next((word for kind, word in kinds if isinstance(error, kind)), "other version")


def _model(row: dict[str, Any]) -> RemoteModel:
    takes, classes = row["capabilities"], row["classes"]
    return RemoteModel(
        name=row["name"],
        title=row["title"],
        task=row["task"],
        state=row["state"],
        detail=row["detail"],
        licence=row["licence"],
        capabilities=takes
        and Capabilities(
            frozenset(takes["prompts"]), takes["negative"], takes["dimensions"], takes["refines"]
        ),
        classes=classes and {int(n): name for n, name in classes.items()},
    )


def _as_volume(volume: Volume | npt.NDArray[Any], geometry: Geometry | None) -> Volume:
    if isinstance(volume, Volume):
        return volume
    if geometry is None:
        raise InputError("An array needs its geometry; pass a Volume, or array and geometry.")
    return Volume(volume, geometry)
