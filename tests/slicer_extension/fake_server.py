"""A client that answers at once, or when told: what the module needs of `openmedlab.client`."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np

from openmedlab.core import Edit, Label, LabelVolume, Region, Session
from openmedlab.core.constraints import check_prompts


class FakeSession(Session):
    """Marks the voxels within two steps of each positive point, around what was there before."""

    def __init__(self, client, volume, labelmap):
        super().__init__(volume, labelmap)
        self.client = client
        self.closed = False

    def predict(self, number, *, model=None, progress=None, cancel=None):
        self.client.asked.append((model, self.model_prompts(number)))
        self.client.started.set()
        while not self.client.gate.wait(0.01):
            cancel.check()
        if self.client.failure:
            raise self.client.failure
        progress.report(1, 2, "half way")
        cancel.check()
        prompts = self.prompts(number)
        check_prompts(prompts, self.volume.geometry)
        region = self.volume.geometry.region
        after = (self.labelmap == number).astype(self.labelmap.dtype) * number
        for prompt in prompts:
            area = Region.around(prompt.positions()).padded(2).clipped(region.shape)
            after[area.slices] = number if getattr(prompt, "positive", True) else 0
        edit = Edit.between(self.labelmap, after, region)
        if edit is not None:
            edit.apply(self.labelmap)
            self._changed(edit, "fake")
        return edit

    def close(self):
        super().close()
        self.closed = True


class FakeClient:
    """Stands for `openmedlab.client.Client`."""

    def __init__(self, address="", token=None):
        self.address, self.token = address, token
        self.asked, self.sessions = [], []
        self.started, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.failure = None
        self.closed = False

    def test(self):
        return SimpleNamespace(problem="", text="ready", version="0")

    def models(self):
        return (
            SimpleNamespace(name="builtin", title="Built-in", task="promptable", state="ready"),
            SimpleNamespace(name="tissues", title="Tissues", task="labels", state="ready"),
        )

    def open(self, volume, *, model, labelmap):
        self.sessions.append(FakeSession(self, volume, labelmap))
        return self.sessions[-1]

    def label(self, volume, *, model, classes, fast, progress, cancel):
        array = np.zeros(volume.shape, np.uint8)
        array[2:5, 3:9, 3:9] = 1
        array[7:9, 3:9, 3:9] = 7
        names = {
            1: Label("kidney_left", (0.8, 0.4, 0.2), "64033007"),
            7: Label("tissue", (0.1, 0.5, 0.9), ""),
        }
        return LabelVolume(array, volume.geometry, names, volume.name, model)

    def close(self):
        self.closed = True
