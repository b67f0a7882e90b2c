"""A viewer with the Segment widget, and methods that need no model."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari_desk import SHAPE, Desk, FakeBalls, offered

from openmedlab import zoo
from openmedlab.core import Method


@pytest.fixture
def models(monkeypatch, tmp_path):
    """The methods of the widget: fast, slow, and one without weights."""
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    made = SimpleNamespace(fast=FakeBalls("fast"), slow=FakeBalls("slow"))
    made.slow.gate.clear()
    methods = {"fast": offered(made.fast), "slow": offered(made.slow)}
    bare = Method("bare", "Bare model", lambda: None)
    methods["bare"] = zoo.OfferedMethod(bare, "needs weights", "400 MB, Apache-2.0")
    made.offer_bare = lambda: methods.update(bare=offered(FakeBalls("bare")))
    monkeypatch.setattr(zoo, "methods", lambda: methods)
    yield made
    made.slow.gate.set()


@pytest.fixture
def volume_data():
    rng = np.random.default_rng(0)
    return rng.normal(0, 10, SHAPE).astype(np.float32)


@pytest.fixture
def desk(models, make_napari_viewer, qtbot, volume_data):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(volume_data, name="ct", scale=(2, 1, 1), units="mm")
    return Desk(viewer, qtbot)
