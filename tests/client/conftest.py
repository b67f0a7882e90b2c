"""A real server whose model is the built-in one."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="needs the server extra")
pytest.importorskip("blosc2", reason="needs the server extra")

from openmedlab.engine import EncodingCache, InferenceThread
from openmedlab.server.models import Models
from openmedlab.server.run import running
from openmedlab.server.service import Service
from openmedlab.server.settings import Settings


@pytest.fixture
def service():
    thread = InferenceThread("test")
    yield Service(Settings(port=0), Models(), thread=thread, cache=EncodingCache())
    thread.close()


@pytest.fixture
def address(service):
    with running(service) as where:
        yield where
