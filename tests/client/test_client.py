"""The client against a real server: the same words and the same masks as locally."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from openmedlab.builtin.click import ClickSegmenter
from openmedlab.client import (
    Client,
    ServerFullError,
    SessionGoneError,
    UnreachableError,
)
from openmedlab.core import (
    Cancelled,
    CancelToken,
    Geometry,
    InputError,
    LabelPolicy,
    MaskPrompt,
    Point,
    PolicyMode,
    Progress,
    PromptError,
    Session,
    Volume,
)
from openmedlab.engine import EncodingCache, InferenceThread, Interaction, answer_prompts
from openmedlab.server.run import running
from openmedlab.server.service import Service
from openmedlab.server.settings import Settings


def balls(*centers, shape=(24, 32, 32), radius=6):
    grid = np.stack(np.mgrid[[slice(n) for n in shape]], -1)
    inside = np.zeros(shape, bool)
    for center in centers:
        inside |= ((grid - center) ** 2).sum(-1) < radius**2
    noise = np.random.default_rng(0).normal(0, 8, shape)
    affine = np.array([[0.1, 0.0, 0.8, 5], [0.2, 0.9, 0.0, 6], [1.9, -0.1, 0.1, 7], [0, 0, 0, 1]])
    array = np.where(inside, 60, -950) + noise
    return Volume(array.astype(np.int16), Geometry(shape, affine), "CT", "balls")


@pytest.fixture
def client(address):
    with Client(address) as made:
        yield made


def test_importing_the_client_loads_nothing_heavy():
    code = (
        "import sys, openmedlab.client; "
        "heavy = {'torch','monai','napari','skimage','scipy','SimpleITK','fastapi','psutil'};"
        "print(heavy & set(m.split('.')[0] for m in sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_a_remote_session_makes_the_masks_a_local_one_makes(client):
    volume = balls((12, 10, 10), (12, 22, 20))
    remote, local = client.open(volume), Session(volume)
    model, cache = ClickSegmenter(), EncodingCache()
    for place, positive in [((12, 10, 10), True), ((12, 16, 15), False), ((12, 8, 13), True)]:
        for session in (remote, local):
            if not session.objects:
                session.add_object("ball")
            session.add_prompt(1, Point(place, positive))
        edit = remote.predict(1)
        patch = answer_prompts(
            model, volume, local.model_prompts(1), local.previous(1, "builtin"), cache=cache
        )
        local.commit(1, patch)
        assert np.array_equal(remote.labelmap, local.labelmap)
        if edit is not None:
            assert (remote.labelmap[edit.region.slices] == edit.after).all()
    assert remote.labelmap.any()
    before = remote.labelmap.copy()
    assert remote.undo() is not None
    assert not np.array_equal(remote.labelmap, before)
    remote.redo()
    assert np.array_equal(remote.labelmap, before)
    remote.close()


def test_the_server_sees_the_volume_as_it_is(client, service):
    volume = balls((12, 10, 10))
    session = client.open(volume.array, volume.geometry)
    session.add_object("ball")
    session.add_prompt(1, Point((12, 10, 10)))
    session.predict(1)
    (lease,) = service.leases._held.values()
    held = lease.occupant.session.volume
    assert held.geometry == volume.geometry
    assert np.array_equal(held.array, volume.array)
    assert held.array.dtype == volume.array.dtype
    session.close()
    assert len(service.leases) == 0


def test_policy_brush_and_journal_are_this_sides(client, tmp_path):
    volume = balls((12, 10, 10), (12, 20, 20))
    session = client.open(volume, journal=tmp_path / "work.jsonl")
    session.policy = LabelPolicy(PolicyMode.ALLOW_OVERLAP)
    for place in ((12, 10, 10), (12, 20, 20)):
        number = session.add_object().number
        session.add_prompt(number, Point(place))
        session.predict(number)
    labels = session.labelmap.copy()
    session.close()
    again = Session.replay(tmp_path / "work.jsonl", volume)
    assert np.array_equal(again.labelmap, labels)
    assert again.policy.mode is PolicyMode.ALLOW_OVERLAP
    again.close()


def test_work_taken_up_from_the_journal_goes_on(client, tmp_path):
    volume = balls((12, 10, 10))
    session = client.open(volume, journal=tmp_path / "work.jsonl")
    session.add_object("ball")
    session.add_prompt(1, Point((12, 10, 10)))
    session.predict(1)
    labels = session.labelmap.copy()
    session.close()
    resumed = client.resume(tmp_path / "work.jsonl", volume)
    assert np.array_equal(resumed.labelmap, labels)
    assert resumed.objects[0].name == "ball"
    assert isinstance(resumed.model_prompts(1)[-1], MaskPrompt)
    resumed.add_prompt(1, Point((12, 25, 25), False))
    resumed.predict(1)
    assert resumed.labelmap.any()
    resumed.close()


def test_a_server_that_started_anew_is_given_everything_again(service):
    volume = balls((12, 10, 10), (12, 22, 20))
    with running(service) as address:
        client = Client(address)
        session = client.open(volume)
        session.add_object("ball")
        session.add_prompt(1, Point((12, 10, 10)))
        session.predict(1)
    port = int(address.rsplit(":", 1)[1])
    session.add_prompt(1, Point((12, 22, 20)))
    with pytest.raises(UnreachableError):
        session.predict(1)
    fresh = Service(
        Settings(port=port), service.models, thread=service.thread, cache=EncodingCache()
    )
    with running(fresh):
        assert session.predict(1) is not None
        assert session.labelmap[12, 10, 10] == session.labelmap[12, 22, 20] == 1
        session.close()
        client.close()


def test_an_expired_session_is_claimed_anew(client, service):
    session = client.open(balls((12, 10, 10)))
    session.add_object("ball")
    session.add_prompt(1, Point((12, 10, 10)))
    session.predict(1)
    service.leases.close()
    session.add_prompt(1, Point((2, 2, 2), False))
    session.predict(1)
    assert session.labelmap[12, 10, 10] == 1
    assert len(service.leases) == 1


def test_the_remote_promptable_serves_a_local_interaction(client):
    volume = balls((12, 10, 10))
    session = Session(volume)
    session.add_object("ball")
    session.add_prompt(1, Point((12, 10, 10)))
    thread = InferenceThread("local")
    interaction = Interaction(
        session, lambda: client.promptable("builtin"), thread, EncodingCache()
    )
    patch = interaction.request(1).result(60)
    assert session.commit(1, patch).changed > 100
    assert patch.method == "builtin"
    thread.close()


def test_cancel_reaches_the_server_and_reports_come_back(client, service, monkeypatch):
    entered, reports = threading.Event(), []

    def slow(self, encoding, prompts, previous, progress, cancel):
        entered.set()
        while True:
            progress.report(1, 3, "thinking")
            cancel.check()
            threading.Event().wait(0.01)

    monkeypatch.setattr(ClickSegmenter, "predict", slow)
    session = client.open(balls((12, 10, 10)))
    session.add_object("ball")
    session.add_prompt(1, Point((12, 10, 10)))
    cancel, heard = CancelToken(), threading.Event()

    def report(done, total, text):
        reports.append((done, total, text))
        if text == "thinking":
            heard.set()

    def stop():
        if heard.wait(30):
            cancel.cancel()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Cancelled):
        session.predict(1, progress=Progress(report), cancel=cancel)
    assert entered.is_set()
    assert (1, 3, "thinking") in reports
    assert not session.labelmap.any()


def test_a_newer_prediction_stops_the_older(client, monkeypatch):
    original, entered, ended = ClickSegmenter.predict, threading.Event(), []

    def slow_first(self, encoding, prompts, previous, progress, cancel):
        if len(prompts) == 1:
            entered.set()
            while True:
                cancel.check()
                threading.Event().wait(0.01)
        return original(self, encoding, prompts, previous, progress, cancel)

    monkeypatch.setattr(ClickSegmenter, "predict", slow_first)
    session = client.open(balls((12, 10, 10)))
    session.add_object("ball")
    session.add_prompt(1, Point((12, 10, 10)))

    def first():
        try:
            session.predict(1)
        except Cancelled:
            ended.append("cancelled")

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(30)
    session.add_prompt(1, Point((2, 2, 2), False))
    assert session.predict(1) is not None
    thread.join(30)
    assert ended == ["cancelled"]


def test_whole_body_labels_come_with_their_names(client):
    volume = balls((12, 10, 10))
    labels = client.label(volume, classes=["body", "bone"])
    assert labels.geometry == volume.geometry
    assert {v.name for v in labels.labels.values()} == {"body", "bone"}
    assert labels.method == "builtin-tissues"


def test_refusals_are_sentences(client):
    volume = balls((12, 10, 10))
    session = client.open(volume)
    session.add_object("ball")
    with pytest.raises(PromptError):
        session.predict(1)
    session.add_prompt(1, Point((12, 10, 10)))
    with pytest.raises(InputError, match="has no promptable"):
        session.predict(1, model="nothing")
    with pytest.raises(InputError, match="needs"):
        session.predict(1, model="sam-med3d")
    session.update_object(1, locked=True)
    with pytest.raises(InputError, match="locked"):
        session.predict(1)
    with pytest.raises(InputError, match="geometry"):
        client.open(volume.array)
    with pytest.raises(InputError, match="not an address"):
        Client("ftp://nowhere")


def test_a_full_server_says_so(service):
    settings = Settings(port=0, max_sessions=1)
    small = Service(settings, service.models, thread=service.thread, cache=EncodingCache())
    with running(small) as address, Client(address) as client:
        client.label(balls((12, 10, 10)), classes=["body"])
        with pytest.raises(ServerFullError):
            client.label(balls((10, 10, 10)), classes=["body"])


class Stranger(BaseHTTPRequestHandler):
    """Another program, or a proxy that cannot reach the server."""

    proxy = False

    def do_GET(self):
        self.send_response(502 if self.proxy else 404)
        if self.proxy:
            self.send_header("Via", "1.1 proxy.example")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("proxy", [False, True])
def test_wrong_port_and_proxy_are_told_apart(proxy, monkeypatch):
    monkeypatch.setattr(Stranger, "proxy", proxy)
    with HTTPServer(("127.0.0.1", 0), Stranger) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        with Client(f"127.0.0.1:{other.server_port}") as client:
            found = client.test()
        other.shutdown()
    assert found.problem == ("proxy" if proxy else "wrong port")
    assert not found


def test_unreachable_wrong_token_and_all_well(service, address):
    with Client(address) as client:
        found = client.test()
        assert found
        assert found.version
    guarded = Service(Settings(port=0, token="right"), service.models, thread=service.thread)
    with running(guarded) as where:
        for token, problem in [(None, "wrong token"), ("wrong", "wrong token"), ("right", "")]:
            with Client(where, token) as client:
                assert client.test().problem == problem
    with Client(where, "right") as client:
        assert client.test().problem == "unreachable"


def test_the_errors_are_kinds_of_one():
    from openmedlab.client import ServerError

    assert issubclass(SessionGoneError, ServerError)
