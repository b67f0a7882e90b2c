"""MONAI Label's datastore and its batch: a folder of images, labelled one after the other."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from openmedlab.core import Cancelled, InputError, LabelVolume, OpenMedLabError, Volume
from openmedlab.io import read_labels, write_labels
from openmedlab.labeling.methods import LabelerChoice
from openmedlab.server.datastore import FINAL, ORIGINAL, Datastore, UnknownImageError
from openmedlab.server.files_in import only_file, read_bounded, uploaded
from openmedlab.server.models import UnknownModelError
from openmedlab.server.service import Service

Labelling = Callable[[Volume, str], Awaitable[LabelVolume]]
RUNNING, DONE, FAILED, STOPPED = "RUNNING", "DONE", "ERROR", "CANCELLED"


class Store:
    """The datastore of a service, which may have none, with the image last read."""

    def __init__(self, service: Service) -> None:
        self.service = service
        folder = service.settings.datastore
        self._folder = Datastore(folder) if folder is not None else None
        self._last: tuple[Path, int, Volume] | None = None

    def require(self) -> Datastore:
        """Return the datastore; raise where there is none."""
        if self._folder is None:
            raise UnknownImageError("This server has no datastore; start it with --datastore.")
        return self._folder

    def status(self) -> dict[str, Any]:
        """Return the counts; empty without a datastore."""
        return self._folder.status() if self._folder is not None else {}

    def volume(self, name: str) -> Volume:
        """Return an image; the last one stays in memory for the next click."""
        path = self.require().image(name)
        changed = path.stat().st_mtime_ns
        if self._last is None or self._last[:2] != (path, changed):
            self._last = (path, changed, read_bounded(path, self.service.free_bytes))
        return self._last[2]


class Batch:
    """One run over the datastore."""

    def __init__(self, model: str) -> None:
        self.id = uuid4().hex
        self.model = model
        self.state = RUNNING
        self.task: asyncio.Task[None] | None = None
        self._details: list[dict[str, Any]] = []

    def note(self, message: str) -> None:
        """Add a line that clients show."""
        self._details.append({"ts": int(time.time()), "message": message})

    def to_json(self) -> dict[str, Any]:
        """Return the state as MONAI Label's clients read it."""
        return {
            "id": self.id,
            "category": "batch_infer",
            "title": self.model,
            "status": self.state,
            "details": self._details,
        }

    async def run(self, store: Store, label: Labelling, todo: list[str]) -> None:
        """Label every image of ``todo``; one that fails does not stop the others."""
        failed = 0
        try:
            for name in todo:
                try:
                    volume = await run_in_threadpool(store.volume, name)
                    done = await label(volume, self.model)
                    await run_in_threadpool(_save, store.require(), name, done)
                    self.note(f"{name}: done")
                except (OpenMedLabError, OSError) as error:
                    failed += 1
                    self.note(f"{name}: {error}")
            self.state = FAILED if failed else DONE
        except (Cancelled, asyncio.CancelledError):
            self.state = STOPPED
            self.note("stopped")


def add_routes(routes: APIRouter, store: Store, label: Labelling) -> None:
    """Add the routes; ``label`` labels one image."""
    _store_routes(routes, store)
    _batch_routes(routes, store, label)


def _store_routes(routes: APIRouter, store: Store) -> None:
    @routes.get("/datastore/")
    async def overview(
        output: Annotated[Literal["all", "stats", "train"] | None, Query()] = None,
    ) -> Any:
        """Return counts, everything there is, or pairs of image and final label."""
        folder = store.require()
        if output == "all":
            return await run_in_threadpool(folder.to_json)
        if output == "train":
            finals = folder.labels().get(FINAL, {})
            names = (n for n in folder.images() if n in finals)
            return [{"image": n, "label": n} for n in names]
        return await run_in_threadpool(folder.status)

    @routes.put("/datastore/")
    async def add_image(
        file: Annotated[UploadFile, File()], image: str | None = None
    ) -> dict[str, str]:
        """Keep an image under the name ``image``, or its file's."""
        folder = store.require()
        with uploaded([file]) as place:
            path = only_file(place)
            await run_in_threadpool(read_bounded, path, store.service.free_bytes)
            if path.is_dir():
                raise InputError("Send NIfTI, NRRD or MetaImage; put DICOM series in by hand.")
            name = await run_in_threadpool(folder.add_image, image or file.filename or "", path)
        return {"image": name}

    @routes.put("/datastore/label")
    async def save_label(
        image: str, label: Annotated[UploadFile, File()], tag: str = FINAL
    ) -> dict[str, str]:
        """Keep a label for an image."""
        folder = store.require()
        folder.image(image)
        with uploaded([label]) as place:
            path = only_file(place)
            await run_in_threadpool(read_bounded, path, store.service.free_bytes)
            await run_in_threadpool(read_labels, path)
            await run_in_threadpool(folder.save_label, image, path, tag or FINAL)
        return {"image": image, "label": image}

    @routes.get("/datastore/image")
    async def image(image: str) -> FileResponse:
        """Return an image's file."""
        return _file(store.require().image(image))

    @routes.get("/datastore/label")
    async def label(label: str, tag: str = FINAL) -> FileResponse:
        """Return a label's file."""
        return _file(store.require().label(label, tag))


def _batch_routes(routes: APIRouter, store: Store, label: Labelling) -> None:
    runs: list[Batch] = []

    @routes.post("/batch/infer/{model}", response_model=None)
    async def start(
        model: str,
        images: Literal["all", "labeled", "unlabeled"] = "all",
        run_sync: bool = False,
    ) -> dict[str, Any] | JSONResponse:
        """Label the datastore's images; the results get the tag ``original``."""
        offered = store.service.models.labelers()
        if model not in offered:
            raise UnknownModelError(f"{model!r} cannot label by itself; use {', '.join(offered)}.")
        store.service.models.require_labeler(LabelerChoice(model))
        if runs and runs[-1].state == RUNNING:
            return JSONResponse({"detail": "A batch is running already."}, 429)
        folder = store.require()
        known = {n for tag in folder.labels().values() for n in tag}
        wanted = {"all": lambda n: True, "labeled": known.__contains__}
        chosen = wanted.get(images, lambda n: n not in known)
        run = Batch(model)
        runs[:] = [run]
        todo = [n for n in folder.images() if chosen(n)]
        run.task = asyncio.create_task(run.run(store, label, todo))
        if run_sync:
            await run.task
        return run.to_json()

    @routes.get("/batch/infer", response_model=None)
    async def status(check_if_running: bool = False) -> dict[str, Any] | JSONResponse:
        """Say how the last batch stands."""
        if not runs or (check_if_running and runs[-1].state != RUNNING):
            return JSONResponse({"detail": "No batch is running."}, 404)
        return runs[-1].to_json()

    @routes.delete("/batch/infer", response_model=None)
    async def stop() -> dict[str, Any] | JSONResponse:
        """Stop the batch; what is labelled stays."""
        if not runs:
            return JSONResponse({"detail": "No batch is running."}, 404)
        task = runs[-1].task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])
        return runs[-1].to_json()


def _save(folder: Datastore, name: str, labels: LabelVolume) -> None:
    with tempfile.TemporaryDirectory(prefix="openmedlab-") as place:
        path = write_labels(labels, Path(place) / "result.nii.gz")
        folder.save_label(name, path, ORIGINAL)


def _file(path: Path) -> FileResponse:
    if path.is_dir():
        raise InputError("A DICOM series is a folder and cannot be sent as one file.")
    return FileResponse(path, filename=path.name)
