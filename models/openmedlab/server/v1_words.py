"""What the routes of version 1 share: parameters, answers, errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Header, Path, Response
from pydantic import BaseModel, ConfigDict

from openmedlab.client.wire import BINARY, META, meta_text, pack
from openmedlab.core import Edit, InputError, LabelVolume, Session
from openmedlab.server.bench import Bench
from openmedlab.server.leases import Lease
from openmedlab.server.service import Service

SessionId = Annotated[str, Path(description="What POST /v1/sessions returned.")]
Number = Annotated[int, Path(ge=1, le=65535, description="The object's number in the labelmap.")]
Meta = Annotated[str | None, Header(alias=META, description="A JSON object.")]

Responses = dict[int | str, dict[str, Any]]
PACKED: Responses = {
    200: {
        "description": "A packed array; X-Meta says where it lies.",
        "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_REASONS = {
    400: "The input cannot be used; `detail` says why.",
    401: "The token is missing or wrong.",
    403: "Asked from another origin or under another name.",
    404: "There is no such model, object or job.",
    409: "The model is not ready, or the work was stopped (`code`: cancelled).",
    410: "The session is unknown or has expired.",
    413: "Too large for this server.",
    503: "All sessions are in use, or the server is shutting down.",
}
ERRORS: Responses = {
    status: {
        "description": why,
        "content": {"application/json": {"schema": {"type": "object", "required": ["detail"]}}},
    }
    for status, why in _REASONS.items()
}


MOST_WORDS = 100


class UnknownObjectError(InputError):
    """The session has no object of that number."""


class Body(BaseModel):
    """A JSON body: unknown fields and NaN are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def bench(service: Service, session: str) -> tuple[Lease, Bench]:
    """Return the lease of a session and what it is for; this counts as work."""
    lease = service.leases.use(session, Bench)
    assert isinstance(lease.occupant, Bench)
    return lease, lease.occupant


def require_object(session: Session, number: int) -> None:
    """Raise `UnknownObjectError` when there is no object of that number."""
    if all(o.number != number for o in session.objects):
        raise UnknownObjectError(f"There is no object {number}; add it first.")


def packed(content: bytes, meta: Mapping[str, Any]) -> Response:
    """Return a binary answer with its description in the header."""
    return Response(content, media_type=BINARY, headers={META: meta_text(meta)})


def edited(session: Session, edit: Edit | None, **more: Any) -> Response:
    """Return an edit: the labels of its box afterwards, and where the box stands.

    An answer without a change has an empty body and ``start: null``.
    """
    if edit is None:
        return packed(b"", {"start": None, "stop": None, "changed": 0, **more})
    meta = {
        "start": edit.region.start,
        "stop": edit.region.stop,
        "changed": edit.changed,
        "geometry": session.volume.geometry.crop(edit.region).to_json(),
    }
    return packed(pack(edit.after), {**meta, **more})


def labelled(labels: LabelVolume) -> Response:
    """Return a labelmap: JSON of what its numbers mean, then the packed array.

    ``names_bytes`` in X-Meta is the length of the JSON; headers are too small for it.
    """
    rows = {n: {"name": v.name, "color": v.color, "code": v.code} for n, v in labels.labels.items()}
    words = json.dumps(rows).encode()
    return packed(words + pack(labels.array), {"names_bytes": len(words), "method": labels.method})
