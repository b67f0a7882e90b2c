"""nnInteractive's dialect (client 2.6): every route at the root and below ``/m/MODEL``.

Its arrays are (first, second, third) axis = our (z, y, x); the spacing has that order too.
It knows no orientation: axes are taken as patient axes S, P, L.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from openmedlab.client.wire import BINARY, LEASE, META, TooLargeError, meta_text, pack, read_meta
from openmedlab.core import (
    Edit,
    Geometry,
    InputError,
    Point,
    Prompt,
    Region,
)
from openmedlab.server.bench import new_journal
from openmedlab.server.intake import as_volume, read_array, read_start
from openmedlab.server.leases import Lease
from openmedlab.server.one_object import (
    NUMBER,
    OneObject,
    box_prompt,
    lasso_prompt,
    scribble_prompt,
)
from openmedlab.server.service import Service

SPEAKS = "2.6.0"
EXTREME = "+extreme"
BUFFERS = frozenset(
    ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
)
Whole = Annotated[int, Field(ge=-(2**40), le=2**40)]
Pair = tuple[Whole, Whole]
Count = Annotated[int, Field(ge=1, le=2**20)]


class _Body(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)


class Interaction(_Body):
    """What all prompts say."""

    include_interaction: bool
    run_prediction: bool = True
    override_capability_checks: bool = False


class PointBody(Interaction):
    """A click."""

    coordinates: tuple[float, float, float]


class BoxBody(Interaction):
    """A half-open box; one voxel thick along one axis: a rectangle on a slice."""

    bbox_coords: tuple[Pair, Pair, Pair]


class BufferBody(_Body):
    """Shape and type of the client's mask."""

    shape: tuple[Count, Count, Count]
    dtype: str


class ZoomBody(_Body):
    """Whether to zoom out for large objects."""

    do_autozoom: bool


class PredictBody(_Body):
    """Ask for the mask of all prompts so far."""

    force_full_refine: bool = False


Meta = Annotated[str | None, Header(alias=META)]
Claimed = Annotated[str | None, Header(alias=LEASE)]


async def _asked(request: Request) -> str:
    """Return the model that the path names, checked to be ready."""
    service: Service = request.app.state.service
    name = str(request.path_params.get("model", service.settings.default_model))
    await run_in_threadpool(service.models.require, name.removesuffix(EXTREME))
    return name


Asked = Annotated[str, Depends(_asked)]


def router(service: Service) -> APIRouter:
    """Return the routes, to be included bare and below ``/m/{model}``."""
    routes = APIRouter(tags=["nnInteractive"])
    desk = _Desk(service)
    _session_routes(routes, desk)
    _image_routes(routes, desk)
    _prompt_routes(routes, desk)
    _answer_routes(routes, desk)
    return routes


class _Desk:
    """What the routes share: finding the lease, asking, answering."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def use(self, lease: str | None) -> tuple[Lease, OneObject]:
        held = self.service.leases.use(lease or "", OneObject)
        assert isinstance(held.occupant, OneObject)
        return held, held.occupant

    async def prompted(
        self, request: Request, lease: str | None, model: str, prompt: Prompt, run: bool
    ) -> Response:
        """Take a prompt and, where asked for, answer with the mask's change."""
        held, place = self.use(lease)
        async with held.lock:
            place.add(prompt)
            if not run:
                return _reply(False, None, place)
            try:
                return await self.predicted(request, held, place, model)
            except BaseException:
                place.take_back()
                raise

    async def predicted(
        self, request: Request, held: Lease, place: OneObject, model: str
    ) -> Response:
        """Ask the model; the caller holds the lock."""
        session = place.require()
        if not place.asks:
            return _reply(False, None, place)
        name = model.removesuffix(EXTREME)
        done = await self.service.answer(
            request,
            held,
            session.volume,
            name,
            session.model_prompts(NUMBER),
            lambda method: session.previous(NUMBER, method),
        )
        edit = await run_in_threadpool(place.commit, done.patch)
        return await run_in_threadpool(_reply, True, edit, place)


def _session_routes(routes: APIRouter, desk: _Desk) -> None:
    service, leases = desk.service, desk.service.leases

    @routes.get("/healthz")
    async def healthz() -> dict[str, bool]:
        """Say that the server is there; needs no key."""
        return {"ok": True}

    @routes.post("/claim")
    async def claim(model: Asked) -> dict[str, Any]:
        """Give out a session."""
        leases.require_room()
        lease = leases.claim(lambda: OneObject(new_journal(service.settings)))
        return {
            "lease_token": lease.token,
            "idle_timeout_seconds": leases.idle,
            "liveness_timeout_seconds": leases.liveness,
            "max_sessions": leases.limit,
        }

    @routes.post("/release")
    async def release(lease: Claimed = None) -> dict[str, bool]:
        """Take a session back; one that is gone is no error."""
        leases.release(lease or "")
        return {"ok": True}

    @routes.post("/heartbeat")
    async def heartbeat(lease: Claimed = None) -> dict[str, float]:
        """Take a sign of life; the idle time runs on."""
        held = leases.beat(lease or "", OneObject)
        return {"remaining_seconds": leases.remaining(held)}

    @routes.get("/lease_status")
    async def lease_status(lease: Claimed = None) -> dict[str, float]:
        """Say how long the session may idle; refreshes nothing."""
        held = leases.look(lease or "", OneObject)
        return {
            "remaining_seconds": leases.remaining(held),
            "idle_timeout_seconds": leases.idle,
            "liveness_timeout_seconds": leases.liveness,
        }

    @routes.get("/capabilities")
    async def capabilities(model: Asked) -> dict[str, Any]:
        """Say what the model takes."""
        return _capabilities(service, model.removesuffix(EXTREME))


def _image_routes(routes: APIRouter, desk: _Desk) -> None:
    service = desk.service

    @routes.post("/set_image")
    async def set_image(request: Request, lease: Claimed = None, meta: Meta = None) -> Any:
        """Take the image: packed, one channel in front."""
        held, place = desk.use(lease)
        properties = read_meta(meta).get("image_properties") or {}
        async with held.lock:
            image = await read_array(request, service.free_bytes + place.nbytes)
            if image.ndim != 4 or image.shape[0] != 1 or 0 in image.shape:
                raise InputError(f"The image must be [1, X, Y, Z], not {list(image.shape)}.")
            service.reserve(max(0, image.nbytes + image.size - place.nbytes), "the image")
            geometry = _geometry(image.shape[1:], properties)
            volume = await run_in_threadpool(as_volume, image[0], geometry)
            place.set_image(volume)
        return {"original_image_shape": list(image.shape)}

    @routes.post("/set_target_buffer")
    async def set_target_buffer(body: BufferBody, lease: Claimed = None) -> dict[str, bool]:
        """Take shape and type of the client's mask."""
        _held, place = desk.use(lease)
        if body.dtype not in BUFFERS:
            raise InputError(f"A target buffer of {body.dtype!r} is not taken; use bool or int.")
        size = np.dtype(body.dtype).itemsize
        for n in body.shape:
            size *= n
        if size > service.settings.max_memory // 4:
            raise TooLargeError("The target buffer is larger than this server accepts.")
        if place.session is not None and body.shape != place.session.volume.shape:
            raise InputError(
                f"The target buffer has {list(body.shape)} voxels, the image "
                f"{list(place.session.volume.shape)}."
            )
        place.buffer = (body.shape, np.dtype(body.dtype))
        return {"ok": True}

    @routes.post("/set_do_autozoom")
    async def set_do_autozoom(body: ZoomBody, lease: Claimed = None) -> dict[str, bool]:
        """Keep the client's wish; our models zoom as they need."""
        _held, place = desk.use(lease)
        place.autozoom = body.do_autozoom
        return {"ok": True}


def _prompt_routes(routes: APIRouter, desk: _Desk) -> None:
    @routes.post("/add_point_interaction", response_class=Response)
    async def point(
        request: Request, body: PointBody, model: Asked, lease: Claimed = None
    ) -> Response:
        """Take a click."""
        prompt = Point(body.coordinates, body.include_interaction)
        return await desk.prompted(request, lease, model, prompt, body.run_prediction)

    @routes.post("/add_bbox_interaction", response_class=Response)
    async def box(request: Request, body: BoxBody, model: Asked, lease: Claimed = None) -> Response:
        """Take a box."""
        z, y, x = body.bbox_coords
        region = Region((z[0], y[0], x[0]), (z[1], y[1], x[1]))
        prompt = box_prompt(region, body.include_interaction)
        return await desk.prompted(request, lease, model, prompt, body.run_prediction)

    async def drawn(
        request: Request, model: str, lease: str | None, meta: str | None, make: Any
    ) -> Response:
        _held, place = desk.use(lease)
        words, shape = _drawn(meta), place.require().volume.shape
        mask = await read_array(request, place.require().volume.geometry.region.size * 8)
        start = read_start(words.get("interaction_bbox"), mask.shape, shape)
        prompt = await run_in_threadpool(make, mask != 0, start, words["include_interaction"])
        return await desk.prompted(request, lease, model, prompt, words["run_prediction"])

    @routes.post("/add_scribble_interaction", response_class=Response)
    async def scribble(
        request: Request, model: Asked, lease: Claimed = None, meta: Meta = None
    ) -> Response:
        """Take the voxels of a stroke: a packed mask, whole or a crop."""
        return await drawn(request, model, lease, meta, scribble_prompt)

    @routes.post("/add_lasso_interaction", response_class=Response)
    async def lasso(
        request: Request, model: Asked, lease: Claimed = None, meta: Meta = None
    ) -> Response:
        """Take an outline: a packed mask, whole or a crop."""
        return await drawn(request, model, lease, meta, lasso_prompt)

    @routes.post("/add_initial_seg_interaction", response_class=Response)
    async def initial(
        request: Request, model: Asked, lease: Claimed = None, meta: Meta = None
    ) -> Response:
        """Start from an existing mask; earlier prompts are forgotten."""
        held, place = desk.use(lease)
        run = read_meta(meta).get("run_prediction", False) is True
        mask = await read_array(request, place.require().volume.geometry.region.size * 8)
        async with held.lock:
            await run_in_threadpool(place.start_from, mask != 0)
            if not run:
                return _reply(False, None, place)
            return await desk.predicted(request, held, place, model)


def _answer_routes(routes: APIRouter, desk: _Desk) -> None:
    @routes.post("/predict", response_class=Response)
    async def predict(
        request: Request, body: PredictBody, model: Asked, lease: Claimed = None
    ) -> Response:
        """Make the mask of all prompts given with ``run_prediction=false``."""
        held, place = desk.use(lease)
        async with held.lock:
            place.require()
            if model.endswith(EXTREME):
                place.join_extremes()
            return await desk.predicted(request, held, place, model)

    @routes.post("/reset_interactions")
    async def reset(lease: Claimed = None) -> dict[str, bool]:
        """Forget prompts and mask."""
        held, place = desk.use(lease)
        async with held.lock:
            if place.session is not None:
                place.reset()
        return {"ok": True}

    @routes.post("/undo", response_class=Response)
    async def undo(lease: Claimed = None) -> Response:
        """Take the newest prompt back, with what it changed."""
        held, place = desk.use(lease)
        async with held.lock:
            place.require()
            done, edit = place.undo()
            return _reply(done, edit, place)


def _drawn(meta: str | None) -> dict[str, Any]:
    words = {"include_interaction": True, "run_prediction": True, **read_meta(meta)}
    for name in ("include_interaction", "run_prediction"):
        if not isinstance(words[name], bool):
            raise InputError(f"{name} is true or false.")
    return words


def _reply(ran: bool, edit: Edit | None, place: OneObject) -> Response:
    """Return the change as a box of the client's mask."""
    meta: dict[str, Any] = {"ran_prediction": ran, "bbox": None, "dtype": None, "shape": None}
    if edit is None:
        return Response(b"", media_type=BINARY, headers={META: meta_text(meta)})
    region, inside = edit.region, (edit.after != 0).astype(place.dtype)
    meta["bbox"] = [list(pair) for pair in zip(region.start, region.stop, strict=True)]
    meta["dtype"], meta["shape"] = inside.dtype.name, list(inside.shape)
    return Response(pack(inside), media_type=BINARY, headers={META: meta_text(meta)})


def _geometry(shape: tuple[int, ...], properties: Any) -> Geometry:
    given = properties.get("spacing") if isinstance(properties, dict) else None
    try:
        spacing = [1.0] * 3 if given is None else [float(v) for v in given]
    except (TypeError, ValueError, OverflowError):
        spacing = []
    if len(spacing) != 3 or not all(1e-6 < v < 1e6 for v in spacing):
        raise InputError(f"The spacing must be three positive numbers, not {given!r}.")
    return Geometry.from_spacing(shape, spacing)


def _capabilities(service: Service, name: str) -> dict[str, Any]:
    """Every kind of prompt is offered: what a model does not take natively is translated."""
    card = service.models.require(name).card
    kinds = ("points", "bbox2d", "bbox3d", "scribble", "lasso")
    return {
        "supported_interactions": dict.fromkeys(kinds, True),
        "channel_mapping": {
            "initial_seg": 0,
            "bbox": [1, 2],
            "lasso": [1, 2],
            "points": [3, 4],
            "scribble": [5, 6],
        },
        "num_interaction_channels": 7,
        "supports_initial_label": True,
        "supports_zero_shot_label_refinement": True,
        "preferred_scribble_thickness": [2, 2, 2],
        "interaction_decay": 0.98,
        "patch_size": [128, 128, 128],
        "do_autozoom": True,
        "inference_session_version": SPEAKS,
        "license": card.licence if card else "Apache-2.0",
        "supports_undo": True,
        "x_openmedlab": {"model": name, "routes": "/v1", "extreme": f"/m/{name}{EXTREME}"},
    }
