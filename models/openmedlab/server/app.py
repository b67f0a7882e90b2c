"""`create_app`: the dialects put together, and what errors mean in HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.requests import Request

from openmedlab import __version__
from openmedlab.client.wire import TooLargeError
from openmedlab.core import Cancelled, InputError, MemoryGuardError
from openmedlab.server import monailabel, nninteractive, v1
from openmedlab.server.datastore import UnknownImageError
from openmedlab.server.guard import Guard
from openmedlab.server.jobs import UnknownJobError
from openmedlab.server.leases import CapacityError, GoneError
from openmedlab.server.models import NotReadyError, UnknownModelError
from openmedlab.server.monailabel_session import UnknownSessionError
from openmedlab.server.service import Service
from openmedlab.server.v1_words import UnknownObjectError

SWEEP = 15.0
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (GoneError, 410),
    (CapacityError, 503),
    (MemoryGuardError, 413),
    (TooLargeError, 413),
    (UnknownModelError, 404),
    (UnknownJobError, 404),
    (UnknownImageError, 404),
    (UnknownSessionError, 404),
    (UnknownObjectError, 404),
    (NotReadyError, 409),
    (InputError, 400),
)


def create_app(service: Service) -> FastAPI:
    """Return the application that serves ``service`` in every dialect."""
    app = FastAPI(
        title="OpenMEDLab",
        version=__version__,
        summary="Medical foundation models behind a click.",
        lifespan=_lifespan,
    )
    app.state.service = service
    app.include_router(v1.router(service))
    app.include_router(monailabel.router(service))
    clicks = nninteractive.router(service)
    app.include_router(clicks)
    app.include_router(clicks, prefix="/m/{model}", include_in_schema=False)
    for kind, status in STATUS:
        app.add_exception_handler(kind, _says(status))
    app.add_exception_handler(Cancelled, _stopped)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_middleware(Guard, settings=service.settings)
    return app


def _says(status: int):  # type: ignore[no-untyped-def]
    async def handler(request: Request, error: Exception) -> JSONResponse:
        headers = {"Retry-After": "10"} if status == 503 else None
        return JSONResponse({"detail": str(error)}, status, headers)

    return handler


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    own = request.url.path.startswith("/v1/")
    return JSONResponse({"detail": f"{where}: {first['msg']}."}, 422 if own else 400)


async def _stopped(request: Request, error: Exception) -> JSONResponse:
    if request.app.state.service.stopping:
        return JSONResponse({"detail": "The server is shutting down."}, 503)
    return JSONResponse({"detail": "The work was stopped.", "code": "cancelled"}, 409)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    service.warm_up()
    sweeper = asyncio.create_task(_sweep(service))
    yield
    sweeper.cancel()
    await asyncio.to_thread(service.close)


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(SWEEP)
        service.leases.sweep()
