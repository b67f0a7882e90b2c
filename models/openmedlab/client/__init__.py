"""Work with a server of OpenMEDLab: numpy, psygnal, httpx and blosc2, no torch, no viewer.

::

    from openmedlab.client import Client
    from openmedlab.core import Point

    with Client("http://127.0.0.1:1527", token=None) as client:
        client.test()                          # TestResult(problem="", text="...")
        client.models()                        # what the server offers
        session = client.open(volume, model="builtin")
        liver = session.add_object("liver")
        session.add_prompt(liver.number, Point((40, 210, 160)))
        edit = session.predict(liver.number)   # Edit: region, before, after; None: no change
        session.undo(), session.redo()         # Edits as well
        tissues = client.label(volume)         # LabelVolume
        found = client.localize(volume)        # {organ: Localization}, by the server's templates

`RemoteSession` *is* a `core.Session`: objects, prompts, label policy, edits, undo, redo,
signals and the journal live here, on this side; the server computes. It has one word
more, `predict`. A server that started anew, or threw the session out because it waited too
long, is given the volume and all prompts again without a word to the user.

`Client.promptable` is a model for an `engine.Interaction` on a `core.Session`: what runs
there and what runs here differ in nothing else.

All calls block: make them from a thread of your own, pass a `CancelToken` that your GUI
cancels and a `Progress` that reports to it. A newer `predict` of the same object makes the
older one raise `Cancelled`. Errors are sentences: `InputError` (what was asked for cannot
be done) or a kind of `ServerError`.
"""

from openmedlab.client.client import Client, RemoteModel, TestResult
from openmedlab.client.errors import (
    NotOpenMedLabError,
    ProxyError,
    ServerError,
    ServerFullError,
    SessionGoneError,
    UnreachableError,
    WrongTokenError,
)
from openmedlab.client.promptable import RemotePromptable
from openmedlab.client.session import RemoteSession

__all__ = [
    "Client",
    "NotOpenMedLabError",
    "ProxyError",
    "RemoteModel",
    "RemotePromptable",
    "RemoteSession",
    "ServerError",
    "ServerFullError",
    "SessionGoneError",
    "TestResult",
    "UnreachableError",
    "WrongTokenError",
]
