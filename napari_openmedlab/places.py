"""Where masks are computed: on this computer, or on a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from openmedlab import zoo
from openmedlab.client import Client, ServerError
from openmedlab.core import Method

Offered = Mapping[str, zoo.OfferedMethod]


@dataclass(frozen=True, eq=False)
class Place:
    """A place that computes masks.

    Attributes
    ----------
    name
        ``"this computer"``, or the server's address.
    methods
        Returns the promptables on offer there; called on the GUI thread, so it is quick.
    """

    name: str
    methods: Callable[[], Offered]

    @property
    def is_remote(self) -> bool:
        """Whether volumes are sent away."""
        return self is not HERE


HERE = Place("this computer", lambda: zoo.methods())


def server(address: str, token: str | None) -> Place:
    """Connect to a server and ask what it offers; blocks, so call it from a thread.

    Raises
    ------
    InputError
        The address is none.
    ServerError
        Its sentence tells a wrong port, a wrong token and a proxy apart.
    """
    client = Client(address, token)
    try:
        if not (found := client.test()):
            raise ServerError(found.text)
        offered = _offered(client)
    except BaseException:
        client.close()
        raise
    return Place(client.connection.address, lambda: offered)


def _offered(client: Client) -> dict[str, zoo.OfferedMethod]:
    found: dict[str, zoo.OfferedMethod] = {}
    for model in client.models():
        if model.task == "promptable":
            make = partial(client.promptable, model.name)
            method = Method(model.name, model.title, make)
            state: Any = model.state
            found[model.name] = zoo.OfferedMethod(method, state, model.detail)
    return found
