"""Our own routes, version 1: sessions, masks, whole-body labels, models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from openmedlab import __version__
from openmedlab.client.client import PROTOCOL
from openmedlab.client.wire import pack, read_meta
from openmedlab.labeling.methods import LabelerChoice
from openmedlab.localization.methods import LocalizerChoice
from openmedlab.server import v1_objects as objects
from openmedlab.server.bench import Bench, new_journal
from openmedlab.server.intake import LABEL_BYTES, as_volume, read_array, read_geometry, read_prompts
from openmedlab.server.jobs import UnknownJobError
from openmedlab.server.service import Service
from openmedlab.server.v1_words import (
    ERRORS,
    MOST_WORDS,
    PACKED,
    Body,
    Meta,
    SessionId,
    bench,
    labelled,
    packed,
)


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


class AnswerBody(Body):
    """All prompts of one object, oldest first, in (z, y, x) indices."""

    model: str
    prompts: list[dict[str, Any]] = Field(description="As `Prompt.to_json` writes them.")
    previous: str | None = Field(None, description="`state` of the last answer for the object.")
    job: str = Field("", max_length=64, description="A word of your own, for events and cancel.")


class LabelBody(Body):
    """What to label."""

    model: str = "builtin-tissues"
    classes: list[str] | None = Field(None, description="Names; all by default.")
    fast: bool = False
    job: str = Field("", max_length=64)


class LocalizeBody(Body):
    """What to find."""

    model: str = "builtin"
    organs: list[str] | None = Field(None, description="Names; all that have templates by default.")
    job: str = Field("", max_length=64)


def router(service: Service) -> APIRouter:
    """Return the routes for ``service``."""
    routes = APIRouter(prefix="/v1", responses=ERRORS)
    _server_routes(routes, service)
    _lease_routes(routes, service)
    _mask_routes(routes, service)
    _localize_routes(routes, service)
    _job_routes(routes, service)
    objects.add_routes(routes, service)
    return routes


def _server_routes(routes: APIRouter, service: Service) -> None:
    @routes.get("/hello", tags=["server"])
    async def hello() -> dict[str, Any]:
        """Who is there; needs no token."""
        return {"name": "OpenMEDLab", "version": __version__, "protocol": PROTOCOL}

    @routes.get("/models", tags=["server"])
    async def models() -> dict[str, Any]:
        """What the server can run, and what is missing where it cannot yet."""
        rows = await run_in_threadpool(service.models.describe)
        return {"models": rows, "default": service.settings.default_model}


def _lease_routes(routes: APIRouter, service: Service) -> None:
    @routes.post("/sessions", tags=["session"], status_code=201)
    async def open_session(request: Request, meta: Meta = None) -> dict[str, Any]:
        """Open a session on a volume: a packed array (z, y, x), and its geometry in X-Meta."""
        service.leases.require_room()
        words = read_meta(meta)
        array = await read_array(request, service.free_bytes)
        geometry = read_geometry(words.get("geometry"), array.shape)
        service.reserve(array.nbytes + LABEL_BYTES * array.size, "the session")
        volume = await run_in_threadpool(
            as_volume, array, geometry, words.get("modality"), words.get("name", "volume")
        )
        lease = service.leases.claim(lambda: Bench(volume, new_journal(service.settings)))
        return {
            "id": lease.token,
            "identity": volume.identity,
            "idle_seconds": service.settings.idle,
            "liveness_seconds": service.settings.liveness,
        }

    @routes.post("/sessions/{session}/heartbeat", tags=["session"])
    async def heartbeat(session: SessionId) -> dict[str, float]:
        """Say that the client lives; this is not work and stops no idle time."""
        lease = service.leases.beat(session, Bench)
        return {"remaining_seconds": service.leases.remaining(lease)}

    @routes.delete("/sessions/{session}", tags=["session"], status_code=204)
    async def close_session(session: SessionId) -> None:
        """Give the session back; one that is gone is no error."""
        service.leases.release(session)


def _mask_routes(routes: APIRouter, service: Service) -> None:
    @routes.post("/sessions/{session}/answer", tags=["masks"], responses=PACKED)
    async def answer(request: Request, session: SessionId, body: AnswerBody) -> Response:
        """Return the mask for one object's prompts; the session's labels stay as they are."""
        lease, place = bench(service, session)
        volume = place.session.volume
        done = await service.answer(
            request,
            lease,
            volume,
            body.model,
            read_prompts(body.prompts, volume.geometry),
            lambda method: place.answer(body.previous, method),
            name=body.job,
        )
        patch = done.patch
        meta = {
            "start": patch.region.start,
            "stop": patch.region.stop,
            "method": patch.method,
            "given": patch.given[:MOST_WORDS],
            "timings": done.timings.to_json(),
            "state": place.keep(patch),
        }
        return packed(await run_in_threadpool(pack, patch.mask), meta)

    @routes.post("/sessions/{session}/label", tags=["masks"], responses=PACKED)
    async def label(request: Request, session: SessionId, body: LabelBody) -> Response:
        """Return all structures of the volume, or the named ones, as a packed labelmap."""
        lease, place = bench(service, session)
        choice = LabelerChoice(body.model, fast=body.fast)
        labels, _timings = await service.label(
            request, lease, place.session.volume, choice, body.classes, name=body.job
        )
        return await run_in_threadpool(labelled, labels)


def _localize_routes(routes: APIRouter, service: Service) -> None:
    @routes.get("/templates", tags=["localisation"])
    async def templates() -> dict[str, Any]:
        """Return the organs that have templates, and the templates."""
        library = await run_in_threadpool(service.templates)
        rows = [{"name": t.name, "organ": t.organ, "code": t.code} for t in library.templates]
        return {"organs": list(library.organs), "templates": rows}

    @routes.post("/sessions/{session}/localize", tags=["localisation"])
    async def localize(
        request: Request, session: SessionId, body: LocalizeBody
    ) -> dict[str, dict[str, Any]]:
        """Find organs by their templates: six extreme points and a confidence (0..1) each."""
        lease, place = bench(service, session)
        found = await service.localize(
            request,
            lease,
            place.session.volume,
            LocalizerChoice(body.model),
            body.organs,
            name=body.job,
        )
        return {
            organ: {"points": f.points.points, "confidence": f.confidence}
            for organ, f in found.items()
        }


def _job_routes(routes: APIRouter, service: Service) -> None:
    @routes.get("/sessions/{session}/jobs/{job}/events", tags=["jobs"], response_class=EventStream)
    async def events(session: SessionId, job: str) -> EventStream:
        """Follow a request under way: server-sent events ``progress`` and ``end``."""
        found = bench(service, session)[0].job(job)
        if found is None:
            raise UnknownJobError(f"Nothing called {job!r} is under way in this session.")
        return EventStream(found.events())

    @routes.delete("/sessions/{session}/jobs/{job}", tags=["jobs"], status_code=204)
    async def cancel(session: SessionId, job: str) -> None:
        """Cancel a request under way; one that is over already is no error."""
        found = bench(service, session)[0].job(job)
        if found is not None:
            found.ticket.cancel()
