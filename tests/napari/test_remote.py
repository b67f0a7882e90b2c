"""The switch between *Local* and *Remote*, against a real server over the loopback."""

import numpy as np
import pytest
from napari_desk import LEFT, FakeBalls, offered
from qtpy.QtTest import QTest

pytest.importorskip("fastapi", reason="needs the server extra")
pytest.importorskip("blosc2", reason="needs the server extra")

from openmedlab.engine import EncodingCache, InferenceThread
from openmedlab.server.models import Models
from openmedlab.server.run import running
from openmedlab.server.service import Service
from openmedlab.server.settings import Settings

SPOT = (12, 30, 36)
WAIT = 30_000


@pytest.fixture
def far():
    """The server's model, whose balls are counted."""
    return FakeBalls("far")


@pytest.fixture
def address(far):
    thread = InferenceThread("server")
    settings = Settings(port=0, default_model="far", token="secret")
    models = Models(lambda: {"far": offered(far)})
    service = Service(settings, models, thread=thread, cache=EncodingCache())
    with running(service) as where:
        yield where
    thread.close()


def connect(desk, address, token):
    place = desk.widget.place_panel
    place.switch.setCurrentIndex(1)
    place.switch.activated.emit(1)
    place.address_edit.setText(address)
    place.token_edit.setText(token)
    QTest.mouseClick(place.connect_button, LEFT)
    desk.qtbot.waitUntil(place.connect_button.isEnabled, timeout=WAIT)
    return place


def test_a_click_is_answered_by_the_server_and_again_by_this_computer(desk, far, address, models):
    place = connect(desk, address, "secret")
    assert place.connect_button.text() == "Connected"
    assert "volumes are sent there" in desk.status
    assert desk.widget.method_combo.count() == 1
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.qtbot.waitUntil(lambda: desk.mask().any(), timeout=WAIT)
    assert far.runs == 1
    assert "far" in desk.widget.made_label.text()
    remote = desk.mask().copy()
    assert remote[SPOT]
    place.switch.setCurrentIndex(0)
    place.switch.activated.emit(0)
    assert "computed here" in desk.status
    desk.qtbot.waitUntil(lambda: models.fast.runs > 0, timeout=WAIT)
    desk.settle()
    assert far.runs == 1
    np.testing.assert_array_equal(desk.mask(), remote)


def test_a_wrong_token_is_told_and_masks_stay_local(desk, far, address, models):
    connect(desk, address, "guess")
    assert "token" in desk.status
    assert not desk.controller.runner.place.is_remote
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask()
    assert far.runs == 0
    assert models.fast.runs == 1
