"""MONAI Label's sessions: an image sent once, named by an id afterwards."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from starlette.concurrency import run_in_threadpool

from openmedlab.core import InputError, Volume
from openmedlab.server.files_in import only_file, read_bounded, uploaded
from openmedlab.server.leases import GoneError, Lease
from openmedlab.server.service import Service

LIFE = 3600.0


class UnknownSessionError(InputError):
    """There is no session of that id."""


class FileSession:
    """What a lease of this dialect is for: one image."""

    def __init__(self, volume: Volume, expiry: float) -> None:
        self.volume = volume
        self.expiry = expiry
        self.made = time.time()

    @property
    def nbytes(self) -> int:
        return self.volume.geometry.region.size * self.volume.dtype.itemsize

    def close(self) -> None:
        """Nothing is kept outside of memory."""


def find(service: Service, session_id: str, *, use: bool = True) -> Lease:
    """Return a session's lease; ``use`` keeps it from idling."""
    look = service.leases.use if use else service.leases.look
    try:
        return look(session_id, FileSession)
    except GoneError as error:
        raise UnknownSessionError("This session is unknown or has expired.") from error


def add_routes(routes: APIRouter, service: Service) -> None:
    """Add the routes for ``service``."""

    @routes.put("/session/")
    async def create(
        files: Annotated[list[UploadFile], File()],
        uncompress: bool = False,
        expiry: Annotated[int, Query(ge=0, le=86_400)] = 0,
    ) -> dict[str, Any]:
        """Take an image file, or the files of one DICOM series."""
        if uncompress:
            raise InputError("Archives are not unpacked here; send the image's files.")
        service.leases.require_room()
        with uploaded(files) as folder:
            limit = service.free_bytes
            volume = await run_in_threadpool(read_bounded, only_file(folder), limit)
        place = FileSession(volume, expiry or LIFE)
        service.reserve(place.nbytes, "the session")
        lease = service.leases.claim(lambda: place, idle=place.expiry, liveness=place.expiry)
        return {"session_id": lease.token, "session_info": _info(lease)}

    @routes.get("/session/{session_id}")
    async def get(session_id: str, update_ts: bool = False) -> dict[str, Any]:
        """Return what is known of a session."""
        return _info(find(service, session_id, use=update_ts))

    @routes.delete("/session/{session_id}")
    async def remove(session_id: str) -> dict[str, Any]:
        """End a session."""
        lease = find(service, session_id)
        service.leases.release(session_id)
        return _info(lease)


def _info(lease: Lease) -> dict[str, Any]:
    place = lease.occupant
    assert isinstance(place, FileSession)
    return {
        "name": lease.token,
        "path": "",
        "image": place.volume.name,
        "meta": {},
        "create_ts": int(place.made),
        "last_access_ts": int(place.made),
        "expiry": int(place.expiry),
    }
