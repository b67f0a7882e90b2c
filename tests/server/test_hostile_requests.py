"""Garbage, killed clients, many sessions: no 500, nobody else is harmed, nothing leaks."""

from __future__ import annotations

import gc
import json
import socket
import threading

import httpx
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openmedlab.client.wire import LEASE, META, pack
from openmedlab.core import Geometry
from openmedlab.server.run import running

SHAPE = (6, 8, 8)
EXAMPLES = 8
QUIET = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PACKED_ROUTES = (
    "/set_image",
    "/add_scribble_interaction",
    "/add_lasso_interaction",
    "/add_initial_seg_interaction",
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
arrays = st.sampled_from(["bool", "uint8", "int16", "float32", "int64"]).flatmap(
    lambda dtype: st.lists(st.integers(0, 9), min_size=0, max_size=4).map(
        lambda shape: np.ones(shape, dtype)
    )
)


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client


@pytest.fixture
def claimed(http):
    lease = http.post("/claim").json()["lease_token"]
    http.headers[LEASE] = lease
    assert http.post("/set_image", content=pack(np.zeros((1, *SHAPE), np.int16))).is_success
    return http


def alive(http):
    body = {"coordinates": [3, 4, 4], "include_interaction": True}
    answer = http.post("/add_point_interaction", json=body)
    assert answer.status_code == 200
    assert json.loads(answer.headers[META])["ran_prediction"] is True


def test_noise_bodies(claimed):
    @QUIET
    @given(st.sampled_from(PACKED_ROUTES), st.binary(max_size=60), st.booleans())
    def check(path, body, headed):
        answer = claimed.post(path, content=(b"NNIA\x01\x01" if headed else b"") + body)
        assert 400 <= answer.status_code < 500

    check()
    alive(claimed)


def test_packed_arrays_of_any_shape_and_any_meta(claimed):
    @QUIET
    @given(st.sampled_from(PACKED_ROUTES), arrays, values)
    def check(path, array, meta):
        text = json.dumps(meta)
        if len(text) > 2000 or not text.isascii():
            return
        answer = claimed.post(path, content=pack(array), headers={META: text})
        assert answer.status_code < 500

    check()
    claimed.post("/set_image", content=pack(np.zeros((1, *SHAPE), np.int16)))
    claimed.post("/reset_interactions", json={})
    alive(claimed)


def test_json_of_any_kind(claimed):
    paths = (
        "/add_point_interaction",
        "/add_bbox_interaction",
        "/set_target_buffer",
        "/set_do_autozoom",
        "/predict",
        "/undo",
    )
    keys = ("coordinates", "bbox_coords", "shape", "dtype", "include_interaction", "do_autozoom")

    @QUIET
    @given(st.sampled_from(paths), st.dictionaries(st.sampled_from(keys), values))
    def check(path, body):
        answer = claimed.post(path, content=json.dumps(body))
        assert answer.status_code < 500

    check()
    for text in (b"", b"nonsense", b"[" * 10_000, b'{"coordinates": [1e999, 1, 1]}', b"\xff\xfe"):
        assert claimed.post("/add_point_interaction", content=text).status_code == 400
    big = b'{"coordinates": [' + b"9" * 400 + b', 1, 1], "include_interaction": true}'
    assert claimed.post("/add_point_interaction", content=big).status_code == 400
    alive(claimed)


def test_any_prompt_in_our_own_words(http):
    headers = {META: json.dumps({"geometry": Geometry.from_spacing(SHAPE).to_json()})}
    opened = http.post("/v1/sessions", content=pack(np.zeros(SHAPE, np.int16)), headers=headers)
    place = f"/v1/sessions/{opened.json()['id']}/answer"
    kinds = ["point", "box", "scribble", "lasso", "extreme points", "mask", "class name"]
    names = ("position", "lower", "upper", "points", "vertices", "positive", "start", "stop")
    prompts = st.fixed_dictionaries(
        {"kind": st.sampled_from(kinds)},
        optional=dict.fromkeys((*names, "bits", "name"), values),
    )

    @QUIET
    @given(st.lists(prompts, max_size=3))
    def check(rows):
        body = json.dumps({"model": "cubes", "prompts": rows})
        answer = http.post(place, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500

    check()


@pytest.mark.slow
def test_schemathesis_finds_no_server_error(server):
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{server}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case):
            answer = case.call()
            assert answer.status_code < 500 or answer.status_code == 503, case.as_curl_command()

        check()


def test_a_client_killed_in_the_middle_of_a_request(server, claimed, cubes):
    host, port = server.removeprefix("http://").split(":")
    lease = httpx.post(f"{server}/claim").json()["lease_token"]
    with socket.create_connection((host, int(port))) as half:
        head = f"POST /set_image HTTP/1.1\r\nHost: 127.0.0.1\r\n{LEASE}: {lease}\r\n"
        half.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + b"NNIA")
    httpx.post(
        f"{server}/set_image",
        content=pack(np.zeros((1, *SHAPE), np.int16)),
        headers={LEASE: lease},
    ).raise_for_status()
    cubes.gate.clear()
    body = json.dumps({"coordinates": [3, 4, 4], "include_interaction": True}).encode()
    with socket.create_connection((host, int(port))) as killed:
        head = f"POST /add_point_interaction HTTP/1.1\r\nHost: 127.0.0.1\r\n{LEASE}: {lease}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        killed.sendall(head.encode() + body)
        assert cubes.entered.wait(30)
    others = []
    thread = threading.Thread(target=lambda: others.append(alive(claimed)))
    cubes.entered.clear()
    thread.start()
    assert cubes.entered.wait(30), "the dead client's work still holds the model"
    cubes.gate.set()
    thread.join(30)
    assert others == [None]
    assert not httpx.post(f"{server}/undo", headers={LEASE: lease}).content


@pytest.mark.slow
def test_a_thousand_sessions_leave_nothing_behind(make_service, tmp_path):
    service = make_service(max_sessions=4, journals=tmp_path)
    image = pack(np.zeros((1, 16, 64, 64), np.int16))
    point = {"coordinates": [3, 4, 4], "include_interaction": True}
    this = psutil.Process()

    def session(http, end):
        lease = {LEASE: http.post("/claim").json()["lease_token"]}
        http.post("/set_image", content=image, headers=lease).raise_for_status()
        http.post("/add_point_interaction", json=point, headers=lease).raise_for_status()
        if end:
            http.post("/release", headers=lease)

    with running(service) as address, httpx.Client(base_url=address, timeout=60) as http:
        for _ in range(100):
            session(http, True)
        gc.collect()
        before = this.memory_info().rss, this.num_threads(), this.num_fds()
        for count in range(1000):
            session(http, count % 10 != 0)
            if count % 10 == 0:
                service.leases.clock.now += 3600
        service.leases.sweep()
        gc.collect()
        after = this.memory_info().rss, this.num_threads(), this.num_fds()
        assert len(service.leases) == 0
    assert after[0] - before[0] < 60_000_000
    assert after[1] - before[1] <= 2
    assert after[2] - before[2] <= 2
