"""Real servers over the loopback, with a model that is cheap and known."""

from __future__ import annotations

import threading
from importlib.util import find_spec

import numpy as np
import pytest

if any(find_spec(name) is None for name in ("fastapi", "blosc2", "python_multipart")):
    collect_ignore_glob = ["test_*.py"]

from openmedlab.core import (
    Capabilities,
    Encoding,
    LogitsPatch,
    Method,
    PromptError,
    Region,
    pin,
)
from openmedlab.engine import EncodingCache, InferenceThread
from openmedlab.zoo import OfferedMethod


class Cubes:
    """Draws a cube around the first positive place of every prompt.

    `gate` closed holds a prediction until it is opened or cancelled; `broken` makes it fail.
    """

    name = "cubes"
    version = "1"
    reach = 2

    def __init__(self):
        self.capabilities = Capabilities(
            frozenset({"point", "box", "scribble", "lasso", "extreme points", "mask"})
        )
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.broken = False
        self.seen = []

    def region(self, geometry, prompts):
        return geometry.region

    def encode(self, volume, region, progress, cancel):
        return Encoding(region, volume.geometry, 0)

    def predict(self, encoding, prompts, previous, progress, cancel):
        self.seen.append((tuple(prompts), previous, encoding.data))
        self.entered.set()
        progress.report(1, 2, "drawing cubes")
        while not self.gate.wait(0.01):
            cancel.check()
        if self.broken:
            raise RuntimeError("the model broke")
        mask = np.zeros(encoding.region.shape, bool)
        for prompt in prompts:
            if prompt.kind not in self.capabilities.prompts:
                raise PromptError(f"Cubes take no {prompt.kind}.")
            if not getattr(prompt, "positive", True):
                continue
            if prompt.kind == "mask":
                mask |= prompt.array(encoding.region)
                continue
            around = Region.around(prompt.positions())
            grown = around.padded(self.reach) if prompt.kind == "point" else around
            mask[grown.clipped(mask.shape).slices] = True
        logits = np.where(mask, np.float32(1), np.float32(-1))
        return pin(LogitsPatch(encoding.region, logits, self.name, ("cubes",)), prompts)

    def warm_up(self):
        pass


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def offered(promptable):
    method = Method(promptable.name, "Cubes", lambda: promptable)
    return OfferedMethod(method, "ready", "nothing to download")


@pytest.fixture
def cubes():
    return Cubes()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_service(cubes, clock):
    """Return a function that makes services; their threads end with the test."""
    from openmedlab.server.models import Models
    from openmedlab.server.service import Service
    from openmedlab.server.settings import Settings

    threads = []

    def make(**settings):
        threads.append(InferenceThread("test"))
        values = {"port": 0, "default_model": "cubes", **settings}
        return Service(
            Settings(**values),
            Models(lambda: {"cubes": offered(cubes)}),
            thread=threads[-1],
            cache=EncodingCache(),
            clock=clock,
        )

    yield make
    cubes.gate.set()
    for thread in threads:
        thread.close()


@pytest.fixture
def service(make_service):
    return make_service()


@pytest.fixture
def server(service):
    from openmedlab.server.run import running

    with running(service) as address:
        yield address
