"""The one place that talks to a server: what the module asks for, in the client's words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmedlab.core import CancelToken, Edit, InputError, Progress, Prompt, Region, Volume
from OpenMEDLabLib.masks import Mask

ONLY = 1


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked about one segment.

    Attributes
    ----------
    key
        The segment, so that later questions go on where the last one ended.
    volume
        The image.
    prompts
        Oldest first.
    model
        Name of the server's model.
    hand
        The segment as somebody other than the model left it (region and mask), or None
        where nobody touched it since the last answer.
    """

    key: Hashable
    volume: Volume
    prompts: tuple[Prompt, ...]
    model: str
    hand: tuple[Region, Mask] | None = None


class Remote:
    """A server and the sessions held there, one per segment; used on the worker's thread alone.

    Parameters
    ----------
    make_client
        Returns a client for an address and a token; by default `openmedlab.client.Client`.
    """

    def __init__(self, make_client: Callable[[str, str | None], Any] | None = None) -> None:
        self._make_client = make_client or _client
        self._where: tuple[str, str | None] | None = None
        self._client: Any = None
        self._sessions: dict[Hashable, Any] = {}

    def connect(self, address: str, token: str | None) -> Any:
        """Return the client for an address, kept until another one is wanted.

        Raises
        ------
        InputError
            There is no address, or it is not one.
        """
        if not address.strip():
            raise InputError("No server is chosen; start one or give an address under Server.")
        if self._where != (address, token):
            self.close()
            self._client = self._make_client(address, token)
            self._where = (address, token)
        return self._client

    def test(self, address: str, token: str | None) -> Any:
        """Return the client's finding: whether the server can be worked with, and a sentence."""
        return self.connect(address, token).test()

    def models(self, address: str, token: str | None) -> tuple[Any, ...]:
        """Return the models on offer."""
        return self.connect(address, token).models()

    def segment(
        self, client: Any, question: Question, progress: Progress, cancel: CancelToken
    ) -> tuple[Region, Mask]:
        """Return the object that the prompts describe: where it lies and its mask there.

        Raises
        ------
        PromptError
            No prompt is positive, or the model cannot take one.
        ServerError
            The server is away or refused.
        Cancelled
            A newer question came, or the user cancelled.
        """
        session = self._session(client, question)
        if question.hand is not None:
            _adopt(session, *question.hand)
        session.set_prompts(ONLY, question.prompts)
        session.predict(ONLY, model=question.model, progress=progress, cancel=cancel)
        region = session.extent(ONLY)
        return region, session.labelmap[region.slices] == ONLY

    def label(
        self,
        client: Any,
        volume: Volume,
        model: str,
        classes: Collection[str] | None,
        fast: bool,
        progress: Progress,
        cancel: CancelToken,
    ) -> Any:
        """Return a labelmap of the structures named by ``classes`` (None: all)."""
        return client.label(
            volume, model=model, classes=classes, fast=fast, progress=progress, cancel=cancel
        )

    def organs(self, address: str, token: str | None) -> tuple[str, ...]:
        """Return the organs that the server's templates can find."""
        return tuple(self.connect(address, token).organs())

    def localize(
        self,
        client: Any,
        volume: Volume,
        model: str,
        organs: Collection[str] | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> Any:
        """Return where ``organs`` (None: all that have a template) are, by name."""
        return client.localize(volume, model=model, organs=organs, progress=progress, cancel=cancel)

    def forget(self, key: Hashable) -> None:
        """End the session of a segment: its next question begins anew."""
        session = self._sessions.pop(key, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Give all sessions back and close the connection."""
        for key in list(self._sessions):
            self.forget(key)
        if self._client is not None:
            self._client.close()
            self._client, self._where = None, None

    def _session(self, client: Any, question: Question) -> Any:
        """Return the segment's session, a fresh one when the volume is not the one it knew."""
        known = self._sessions.get(question.key)
        if known is not None and known.volume.identity == question.volume.identity:
            return known
        self.forget(question.key)
        labelmap = np.zeros(question.volume.shape, np.uint8)
        session = client.open(question.volume, model=question.model, labelmap=labelmap)
        session.add_object(number=ONLY)
        self._sessions[question.key] = session
        return session


def _adopt(session: Any, region: Region, mask: Mask) -> None:
    """Tell a session that its object now is ``mask``, drawn by hand."""
    area = region.union(session.extent(ONLY))
    if not area:
        return
    before = session.labelmap[area.slices]
    after = np.zeros_like(before)
    after[region.relative_to(area).slices] = np.where(mask, ONLY, 0)
    edit = Edit.between(before, after, area)
    if edit is not None:
        edit.apply(session.labelmap)
        session.adopt(edit)


def _client(address: str, token: str | None) -> Any:
    from openmedlab.client import Client

    return Client(address, token)
