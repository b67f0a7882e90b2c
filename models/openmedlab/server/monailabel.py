"""MONAI Label's dialect: what its 3D Slicer client needs to label and to click.

Whole-body labelers are ``segmentation`` models, promptables ``deepgrow``. Its points are
(i, j, k) of the file, that is (x, y, z).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import numpy as np
from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from starlette.concurrency import run_in_threadpool

from openmedlab import __version__
from openmedlab.core import (
    InputError,
    Label,
    LabelVolume,
    MaskPrompt,
    Point,
    Prompt,
    PromptError,
    Volume,
)
from openmedlab.io import read_labels, write_labels
from openmedlab.labeling.methods import LabelerChoice
from openmedlab.server import monailabel_session, monailabel_store
from openmedlab.server.files_in import only_file, read_bounded, uploaded
from openmedlab.server.guard import same_token
from openmedlab.server.intake import UNUSABLE, read_roi
from openmedlab.server.leases import Lease
from openmedlab.server.monailabel_session import FileSession
from openmedlab.server.monailabel_store import Store
from openmedlab.server.service import Service

ENDINGS = (".nrrd", ".seg.nrrd", ".nii.gz", ".nii", ".mha")
OBJECT = "object"
Output = Literal["image", "json", "all", "dicom_seg"]
TAG = "MONAI Label"


def router(service: Service) -> APIRouter:
    """Return the routes for ``service``."""
    routes = APIRouter(tags=[TAG])
    store = Store(service)
    _info_routes(routes, service, store)
    _auth_routes(routes, service)
    monailabel_session.add_routes(routes, service)
    monailabel_store.add_routes(routes, store, lambda image, model: _batch(service, image, model))
    _infer_routes(routes, service, store)
    return routes


def _info_routes(routes: APIRouter, service: Service, store: Store) -> None:
    @routes.get("/info/")
    async def info() -> dict[str, Any]:
        """Say which models there are and what they label."""
        rows = await run_in_threadpool(service.models.describe)
        labelling = (r for r in rows if r["state"] == "ready" and r["task"] != "localize")
        models = {r["name"]: _described(r) for r in labelling}
        known = (name for m in models.values() for name in m["labels"])
        return {
            "name": "OpenMEDLab",
            "description": "Medical foundation models behind a click.",
            "version": __version__,
            "labels": list(dict.fromkeys(known)),
            "models": models,
            "trainers": {},
            "strategies": {},
            "scoring": {},
            "train_stats": {},
            "datastore": store.status(),
        }


def _described(row: dict[str, Any]) -> dict[str, Any]:
    clicks = row["task"] == "promptable"
    classes = row["classes"] or {}
    return {
        "type": "deepgrow" if clicks else "segmentation",
        "labels": [OBJECT] if clicks else {name: int(n) for n, name in classes.items()},
        "dimension": 3,
        "description": f"{row['title']} ({row['licence']})",
        "config": {},
    }


def _auth_routes(routes: APIRouter, service: Service) -> None:
    token = service.settings.token

    @routes.get("/auth/")
    async def enabled() -> dict[str, Any]:
        """Say whether a token is wanted."""
        return {"enabled": token is not None, "client_id": "openmedlab", "realm": ""}

    @routes.post("/auth/token", response_model=None)
    async def log_in(
        password: Annotated[str, Form()] = "", username: Annotated[str, Form()] = ""
    ) -> dict[str, str | None] | Response:
        """Take the server's token as the password of any user."""
        if token is None:
            return {"access_token": None, "token_type": None}
        if not same_token(password, token):
            return Response(json.dumps({"detail": "The token is wrong."}), 401)
        return {"access_token": token, "token_type": "bearer"}

    @routes.get("/auth/token/valid")
    async def valid() -> dict[str, Any]:
        """Say that the token shown is right; nobody else gets here."""
        roles = ["user", "annotator", "reviewer"]
        return {"username": "user", "email": None, "name": "user", "roles": roles}


def _infer_routes(routes: APIRouter, service: Service, store: Store) -> None:
    @routes.post("/infer/{model}", response_model=None)
    async def infer(
        request: Request,
        model: str,
        image: str = "",
        session_id: str = "",
        output: Annotated[Output | None, Query()] = None,
        params: Annotated[str, Form()] = "{}",
        file: Annotated[UploadFile | None, File()] = None,
        label: Annotated[UploadFile | None, File()] = None,
    ) -> Response | dict[str, Any]:
        """Label an image of a session, of the datastore, or sent along."""
        words = read_words(params)
        ending = words.get("result_extension", ENDINGS[0])
        if output == "dicom_seg" or ending not in ENDINGS:
            raise InputError(f"Results come as {', '.join(ENDINGS)}; no other format is written.")
        lease, volume = await _volume(service, store, session_id, image, file)
        start = None if label is None else await _drawn(label, volume)
        labels, times = await _labelled(service, request, lease, volume, model, words, start)
        told = {
            "label_names": {v.name: n for n, v in labels.labels.items()},
            "latencies": times,
            "model": model,
        }
        if output == "json":
            return told
        content = await run_in_threadpool(_as_file, labels, ending)
        if output == "image":
            return Response(content, media_type="application/octet-stream")
        return _multipart(told, content, f"result{ending}")


async def _volume(
    service: Service, store: Store, session_id: str, image: str, file: UploadFile | None
) -> tuple[Lease | None, Volume]:
    if session_id:
        lease = monailabel_session.find(service, session_id)
        assert isinstance(lease.occupant, FileSession)
        return lease, lease.occupant.volume
    if image:
        return None, await run_in_threadpool(store.volume, image)
    if file is None:
        raise InputError("Send a session_id, the name of an image, or a file.")
    with uploaded([file]) as folder:
        return None, await run_in_threadpool(read_bounded, only_file(folder), service.free_bytes)


async def _drawn(file: UploadFile, volume: Volume) -> MaskPrompt:
    """Return a label file as the mask to start from."""
    with uploaded([file]) as folder:
        path = only_file(folder)
        await run_in_threadpool(read_bounded, path, 8 * volume.geometry.region.size)
        labels = await run_in_threadpool(read_labels, path)
    if labels.geometry.shape != volume.shape:
        raise InputError("The label sent along has another size than the image.")
    return MaskPrompt.from_array(labels.array != 0)


async def _labelled(
    service: Service,
    request: Request,
    lease: Lease | None,
    volume: Volume,
    model: str,
    words: dict[str, Any],
    start: MaskPrompt | None,
) -> tuple[LabelVolume, dict[str, float]]:
    if model in service.models.labelers():
        names = read_names(words.get("classes"))
        done, timings = await service.label(request, lease, volume, LabelerChoice(model), names)
        return done, timings.to_json()
    prompts: list[Prompt] = [*([start] if start else []), *read_clicks(words)]
    answered = await service.answer(request, lease, volume, model, prompts, lambda _method: None)
    mask = np.zeros(volume.shape, np.uint8)
    patch = answered.patch
    inside = patch.region.clipped(volume.shape)
    mask[inside.slices] = patch.mask[inside.relative_to(patch.region).slices]
    name = str(words.get("label") or OBJECT)[:100]
    labels = LabelVolume(mask, volume.geometry, {1: Label(name)}, volume.name, patch.method)
    return labels, answered.timings.to_json()


async def _batch(service: Service, volume: Volume, model: str) -> LabelVolume:
    """Label one image of the datastore's batch."""
    return (await service.label(None, None, volume, LabelerChoice(model), None))[0]


def read_words(params: str) -> dict[str, Any]:
    """Return the JSON object that a client sends as ``params``."""
    try:
        words = json.loads(params or "{}")
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, dict):
        raise InputError("params is not a JSON object.")
    return words


def read_names(names: Any) -> list[str] | None:
    """Return names of structures; None for all."""
    if names is None or names == []:
        return None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InputError("classes is a list of names.")
    return names


def read_clicks(words: dict[str, Any]) -> list[Prompt]:
    """Return the prompts in ``foreground``, ``background`` and ``roi``."""
    prompts: list[Prompt] = []
    try:
        if words.get("roi"):
            prompts.append(read_roi(words["roi"]))
        for key, positive in (("foreground", True), ("background", False)):
            for i, j, k in words.get(key) or ():
                prompts.append(Point((k, j, i), positive))
    except UNUSABLE as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError("foreground and background are lists of [i, j, k].") from error
    return prompts


def _as_file(labels: LabelVolume, ending: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="openmedlab-") as folder:
        return write_labels(labels, Path(folder) / f"result{ending}").read_bytes()


def _multipart(words: dict[str, Any], content: bytes, name: str) -> Response:
    """Return a form of two parts: ``params`` as JSON and the ``image`` file."""
    form = httpx.Request(
        "POST",
        "http://localhost",
        files={
            "params": (None, json.dumps(words).encode(), "application/json"),
            "image": (name, content, "application/octet-stream"),
        },
    )
    return Response(form.read(), media_type=form.headers["content-type"])
