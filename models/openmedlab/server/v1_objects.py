"""Version 1, a session's contents: objects, prompts, policy, edits, undo and redo."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from openmedlab.client.wire import read_meta
from openmedlab.core import Edit, InputError, LabelPolicy, PolicyMode, Region
from openmedlab.server.intake import LABEL_BYTES, read_array, read_prompts
from openmedlab.server.service import Service
from openmedlab.server.v1_words import (
    MOST_WORDS,
    PACKED,
    Body,
    Meta,
    Number,
    SessionId,
    bench,
    edited,
    labelled,
    require_object,
)

Shade = Annotated[float, Field(ge=0, le=1)]
Color = tuple[Shade, Shade, Shade]
Name = Annotated[str, Field(max_length=200)]
TRIES = 3


class ObjectBody(Body):
    """A new object."""

    name: Name = ""
    number: int | None = Field(None, ge=1, le=65535)
    color: Color | None = None
    code: Name = ""


class ObjectChanges(Body):
    """What changes of an object; what is absent stays."""

    name: Name | None = None
    color: Color | None = None
    code: Name | None = None
    locked: bool | None = None
    visible: bool | None = None


class PromptsBody(Body):
    """Prompts, oldest first, as `Prompt.to_json` writes them."""

    prompts: list[dict[str, Any]]


class PolicyBody(Body):
    """How masks enter the labelmap."""

    mode: PolicyMode
    labels: list[Annotated[int, Field(ge=0, le=65535)]] = Field([], max_length=1000)


class PredictBody(Body):
    """Which model draws."""

    model: str
    job: str = Field("", max_length=64, description="A word of your own, for events and cancel.")


def add_routes(routes: APIRouter, service: Service) -> None:
    """Add the routes for ``service``."""
    _overview_routes(routes, service)
    _object_routes(routes, service)
    _prompt_routes(routes, service)
    _label_routes(routes, service)


def _overview_routes(routes: APIRouter, service: Service) -> None:
    @routes.get("/sessions/{session}", tags=["session"])
    async def overview(session: SessionId) -> dict[str, Any]:
        """Return the volume's geometry, the objects, the policy and the time left."""
        lease, place = bench(service, session)
        held = place.session
        return {
            "name": held.volume.name,
            "geometry": held.volume.geometry.to_json(),
            "objects": [asdict(o) for o in held.objects],
            "policy": held.policy.to_json(),
            "remaining_seconds": service.leases.remaining(lease),
        }

    @routes.put("/sessions/{session}/policy", tags=["session"])
    async def set_policy(session: SessionId, body: PolicyBody) -> dict[str, Any]:
        """Say how masks enter the labelmap."""
        _lease, place = bench(service, session)
        place.session.policy = LabelPolicy(body.mode, frozenset(body.labels))
        return place.session.policy.to_json()


def _object_routes(routes: APIRouter, service: Service) -> None:
    @routes.post("/sessions/{session}/objects", tags=["objects"], status_code=201)
    async def add(session: SessionId, body: ObjectBody) -> dict[str, Any]:
        """Add an object with the next free number, or the one given."""
        _lease, place = bench(service, session)
        made = place.session.add_object(
            body.name, number=body.number, color=body.color, code=body.code
        )
        return asdict(made)

    @routes.patch("/sessions/{session}/objects/{number}", tags=["objects"])
    async def change(session: SessionId, number: Number, body: ObjectChanges) -> dict[str, Any]:
        """Change an object's name, colour, code, lock or visibility."""
        _lease, place = bench(service, session)
        require_object(place.session, number)
        return asdict(place.session.update_object(number, **body.model_dump(exclude_none=True)))

    @routes.delete("/sessions/{session}/objects/{number}", tags=["objects"], responses=PACKED)
    async def remove(session: SessionId, number: Number) -> Response:
        """Forget an object; its voxels become background, which the answer says."""
        _lease, place = bench(service, session)
        require_object(place.session, number)
        edit = place.session.remove_object(number)
        if edit is not None:
            edit.apply(place.session.labelmap)
            place.session.adopt(edit, "object removed")
        return edited(place.session, edit)


def _prompt_routes(routes: APIRouter, service: Service) -> None:
    @routes.get("/sessions/{session}/objects/{number}/prompts", tags=["objects"])
    async def prompts(session: SessionId, number: Number) -> dict[str, Any]:
        """Return an object's prompts, oldest first."""
        _lease, place = bench(service, session)
        require_object(place.session, number)
        return {"prompts": [p.to_json() for p in place.session.prompts(number)]}

    @routes.put("/sessions/{session}/objects/{number}/prompts", tags=["objects"])
    async def set_prompts(session: SessionId, number: Number, body: PromptsBody) -> dict[str, int]:
        """Replace an object's prompts."""
        _lease, place = bench(service, session)
        require_object(place.session, number)
        place.session.set_prompts(number, read_prompts(body.prompts, place.session.volume.geometry))
        return {"count": len(body.prompts)}

    @routes.post("/sessions/{session}/objects/{number}/prompts", tags=["objects"])
    async def add_prompts(session: SessionId, number: Number, body: PromptsBody) -> dict[str, int]:
        """Add prompts behind those that are there."""
        _lease, place = bench(service, session)
        held = place.session
        require_object(held, number)
        more = read_prompts(body.prompts, held.volume.geometry)
        held.set_prompts(number, [*held.prompts(number), *more])
        return {"count": len(held.prompts(number))}

    @routes.post("/sessions/{session}/objects/{number}/predict", tags=["masks"], responses=PACKED)
    async def predict(
        request: Request, session: SessionId, number: Number, body: PredictBody
    ) -> Response:
        """Draw an object from its prompts and let it into the labelmap; the newest call wins.

        The answer is the change: the labels of a box afterwards.
        """
        lease, place = bench(service, session)
        held = place.session
        require_object(held, number)
        for _ in range(TRIES):
            revision = held.revision(number)
            done = await service.answer(
                request,
                lease,
                held.volume,
                body.model,
                held.model_prompts(number),
                lambda method: held.previous(number, method),
                key=(lease.token, number),
                name=body.job,
            )
            require_object(held, number)
            if held.revision(number) == revision:
                break
        edit = held.commit(number, done.patch)
        return await run_in_threadpool(
            edited,
            held,
            edit,
            method=done.patch.method,
            given=done.patch.given[:MOST_WORDS],
            timings=done.timings.to_json(),
        )


def _label_routes(routes: APIRouter, service: Service) -> None:
    @routes.get("/sessions/{session}/labels", tags=["masks"], responses=PACKED)
    async def labels(session: SessionId) -> Response:
        """Return the labelmap, and the objects' names."""
        _lease, place = bench(service, session)
        return await run_in_threadpool(labelled, place.session.labels())

    @routes.post("/sessions/{session}/edits", tags=["masks"], responses=PACKED)
    async def edit(request: Request, session: SessionId, meta: Meta = None) -> Response:
        """Take labels changed by hand: a packed box, its first voxel as ``start`` in X-Meta."""
        _lease, place = bench(service, session)
        held = place.session
        drawn = await read_array(request, held.volume.geometry.region.size * 8)
        region = _region(read_meta(meta).get("start"), drawn.shape)
        if not region or not held.volume.geometry.region.contains(region):
            raise InputError("The edit is empty or sticks out of the volume.")
        if drawn.dtype.kind not in "bu" or drawn.dtype.itemsize > LABEL_BYTES:
            raise InputError(f"Labels are unsigned, 8 or 16 bits, not {drawn.dtype}.")
        before = held.labelmap[region.slices]
        change = Edit.between(before, drawn.astype(before.dtype), region)
        if change is not None:
            change.apply(held.labelmap)
            held.adopt(change)
        return edited(held, change)

    @routes.post("/sessions/{session}/undo", tags=["masks"], responses=PACKED)
    async def undo(session: SessionId) -> Response:
        """Take back the newest change of the labels."""
        _lease, place = bench(service, session)
        return edited(place.session, place.session.undo())

    @routes.post("/sessions/{session}/redo", tags=["masks"], responses=PACKED)
    async def redo(session: SessionId) -> Response:
        """Do again what undo took back."""
        _lease, place = bench(service, session)
        return edited(place.session, place.session.redo())


def _region(start: Any, shape: tuple[int, ...]) -> Region:
    try:
        z, y, x = (int(v) for v in start)
        depth, height, width = shape
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("X-Meta needs start [z, y, x], and the body three axes.") from error
    return Region((z, y, x), (z + depth, y + height, x + width))
