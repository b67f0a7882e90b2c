"""`Bench`: our own dialect's session, a volume with its objects, prompts and masks."""

from __future__ import annotations

import secrets
from collections import OrderedDict

from openmedlab.core import Journal, LogitsPatch, Session, Volume
from openmedlab.server.settings import Settings

KEPT_ANSWERS = 32


class Bench:
    """What a lease of our own dialect is for.

    Attributes
    ----------
    session
        Objects, prompts, labelmap, undo, journal.
    """

    def __init__(self, volume: Volume, journal: Journal | None = None) -> None:
        self.session = Session(volume, journal=journal)
        self._answers: OrderedDict[str, LogitsPatch] = OrderedDict()

    @property
    def nbytes(self) -> int:
        volume = self.session.volume
        image = volume.geometry.region.size * volume.dtype.itemsize
        kept = sum(p.logits.nbytes for p in self._answers.values())
        return image + int(self.session.labelmap.nbytes) + kept

    def keep(self, patch: LogitsPatch) -> str:
        """Remember an answer; return the word by which a later request names it."""
        word = secrets.token_hex(8)
        self._answers[word] = patch
        while len(self._answers) > KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return word

    def answer(self, word: str | None, method: str) -> LogitsPatch | None:
        """Return a remembered answer of a method; None when it is no longer known."""
        patch = self._answers.get(word) if word else None
        return patch if patch is not None and patch.method == method else None

    def close(self) -> None:
        self.session.close()


def new_journal(settings: Settings) -> Journal | None:
    """Return a journal for a new session, in the folder for them."""
    if settings.journals is None:
        return None
    return Journal(settings.journals / f"{secrets.token_hex(8)}.jsonl")
