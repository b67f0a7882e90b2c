"""`RemoteSession`: a session whose masks a server computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from openmedlab.client.desk import Desk
from openmedlab.client.promptable import RemotePromptable
from openmedlab.core.constraints import check_prompts, pin
from openmedlab.core.contracts import LogitsPatch
from openmedlab.core.edit import Edit
from openmedlab.core.journal import Journal
from openmedlab.core.policy import LabelPolicy
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.session import Session
from openmedlab.core.volume import Volume


class RemoteSession(Session):
    """A `Session` with `predict`; made by `Client.open`.

    Parameters
    ----------
    volume, labelmap, policy, journal
        As for `Session`.
    model
        Name of the server's model for objects whose `predict` names none.
    promptable
        Finds a server's model by name.
    desk
        The server's session for the volume.
    """

    def __init__(
        self,
        volume: Volume,
        labelmap: npt.NDArray[Any] | None = None,
        *,
        policy: LabelPolicy | None = None,
        journal: Journal | None = None,
        model: str,
        promptable: Callable[[str], RemotePromptable],
        desk: Desk,
    ) -> None:
        super().__init__(volume, labelmap, policy=policy, journal=journal)
        self.model = model
        self._promptable = promptable
        self._desk = desk
        self._asked: dict[int, CancelToken] = {}

    def ask(
        self,
        number: int,
        *,
        model: str | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> LogitsPatch:
        """Return the server's mask for an object's prompts; the labelmap stays as it is.

        Raises
        ------
        PromptError
            No prompt is positive, one lies outside, or the model cannot take it.
        ServerError
            The server cannot be reached, or refused.
        Cancelled
            ``cancel`` was raised, or a newer request for the object was made.
        """
        progress, cancel = progress or Progress(), cancel or CancelToken()
        self._supersede(number, cancel)
        promptable = self._promptable(model or self.model)
        encoding = promptable.encode(self.volume, self.volume.geometry.region, progress, cancel)
        prompts = self.model_prompts(number)
        check_prompts(prompts, self.volume.geometry)
        previous = self.previous(number, promptable.name)
        return pin(promptable.predict(encoding, prompts, previous, progress, cancel), prompts)

    def _supersede(self, number: int, cancel: CancelToken) -> None:
        """Stop the earlier request for the same object."""
        earlier, self._asked[number] = self._asked.get(number), cancel
        if earlier is not None and earlier is not cancel:
            earlier.cancel()

    def predict(
        self,
        number: int,
        *,
        model: str | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Edit | None:
        """Let the server's mask for an object's prompts enter the labelmap.

        Raises like `ask`, and `InputError` for a locked object.

        Returns
        -------
        Edit or None
            What changed, already applied to `labelmap`.
        """
        return self.commit(number, self.ask(number, model=model, progress=progress, cancel=cancel))

    def close(self) -> None:
        """Finish the journal and give the server's session back."""
        super().close()
        self._desk.users -= 1
        if self._desk.users <= 0:
            self._desk.close()
