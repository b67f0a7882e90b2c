"""A real server whose model is the built-in one."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if any(find_spec(name) is None for name in ("fastapi", "blosc2", "python_multipart")):
    collect_ignore_glob = ["test_*.py"]

from openmedlab.engine import EncodingCache, InferenceThread


@pytest.fixture
def service():
    from openmedlab.server.models import Models
    from openmedlab.server.service import Service
    from openmedlab.server.settings import Settings

    thread = InferenceThread("test")
    yield Service(Settings(port=0), Models(), thread=thread, cache=EncodingCache())
    thread.close()


@pytest.fixture
def address(service):
    from openmedlab.server.run import running

    with running(service) as where:
        yield where
