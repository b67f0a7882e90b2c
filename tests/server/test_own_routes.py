"""Our own routes: sessions, objects, masks, undo, jobs, and their limits."""

from __future__ import annotations

import json
import threading

import httpx
import numpy as np
import pytest

from openmedlab.client.wire import META, pack, unpack
from openmedlab.core import Geometry, MaskPrompt, Point
from openmedlab.server.run import running

SHAPE = (10, 16, 18)
GEOMETRY = Geometry.from_spacing(SHAPE, (2.0, 0.5, 0.5), (10.0, 20.0, 30.0))


def described(**more):
    return {META: json.dumps({"geometry": GEOMETRY.to_json(), "name": "scan", **more})}


def meta(answer):
    return json.loads(answer.headers[META])


class User:
    """A program that speaks HTTP and nothing else."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=address, timeout=60)
        image = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
        opened = self.http.post("/v1/sessions", content=pack(image), headers=described())
        assert opened.status_code == 201
        self.id = opened.json()["id"]

    def ask(self, method, path="", **kwargs):
        return self.http.request(method, f"/v1/sessions/{self.id}{path}", **kwargs)

    def point(self, number, place, positive=True):
        rows = [Point(place, positive).to_json()]
        return self.ask("POST", f"/objects/{number}/prompts", json={"prompts": rows})

    def predict(self, number, **more):
        return self.ask("POST", f"/objects/{number}/predict", json={"model": "cubes", **more})

    def labels(self):
        answer = self.ask("GET", "/labels")
        return unpack(answer.content[meta(answer)["names_bytes"] :], 1 << 20)


@pytest.fixture
def user(server):
    made = User(server)
    yield made
    made.http.close()


def test_objects_prompts_masks_undo_redo(user):
    first = user.ask("POST", "/objects", json={"name": "liver", "code": "10200004"}).json()
    assert first["number"] == 1
    assert user.point(1, (5, 8, 8)).json() == {"count": 1}
    drawn = user.predict(1)
    words = meta(drawn)
    assert (words["start"], words["stop"], words["changed"]) == ([3, 6, 6], [8, 11, 11], 125)
    assert (unpack(drawn.content, 1000) == 1).all()
    crop = Geometry.from_json(words["geometry"])
    assert crop.origin == pytest.approx(tuple(GEOMETRY.index_to_world((3, 6, 6))))
    assert user.labels().sum() == 125
    assert meta(user.ask("POST", "/undo"))["changed"] == 125
    assert not user.labels().any()
    assert meta(user.ask("POST", "/undo"))["start"] is None
    assert meta(user.ask("POST", "/redo"))["changed"] == 125
    overview = user.ask("GET").json()
    assert overview["objects"][0]["name"] == "liver"
    assert Geometry.from_json(overview["geometry"]) == GEOMETRY


def test_policy_and_locks_protect_neighbours(user):
    for name in ("left", "right"):
        user.ask("POST", "/objects", json={"name": name})
    user.point(1, (5, 8, 6))
    user.predict(1)
    user.point(2, (5, 8, 8))
    assert meta(user.predict(2))["changed"] == 2 * 25
    policy = {"mode": "allow overlap"}
    assert user.ask("PUT", "/policy", json=policy).json()["mode"] == "allow overlap"
    assert meta(user.predict(2))["changed"] == 3 * 25
    user.ask("PATCH", "/objects/2", json={"locked": True})
    user.point(2, (2, 8, 8))
    refused = user.predict(2)
    assert refused.status_code == 400
    assert "locked" in refused.json()["detail"]


def test_hand_edits_reach_the_model_and_removal_clears(user, cubes):
    user.ask("POST", "/objects", json={})
    box = np.ones((2, 3, 4), np.uint8)
    done = user.ask("POST", "/edits", content=pack(box), headers={META: '{"start":[1,2,3]}'})
    assert meta(done)["changed"] == 24
    user.point(1, (8, 12, 12))
    user.predict(1)
    assert isinstance(cubes.seen[-1][0][0], MaskPrompt)
    assert user.labels()[1, 2, 3] == 1
    assert meta(user.ask("DELETE", "/objects/1"))["changed"] > 24
    assert not user.labels().any()
    assert user.predict(1).status_code == 404


def test_answers_without_state_and_their_sequel(user, cubes):
    body = {"model": "cubes", "prompts": [Point((5, 8, 8)).to_json()]}
    first = user.ask("POST", "/answer", json=body)
    assert unpack(first.content, 1 << 20).sum() == 125
    body["prompts"].append(Point((5, 8, 10), False).to_json())
    user.ask("POST", "/answer", json={**body, "previous": meta(first)["state"]})
    assert cubes.seen[-1][1] is not None
    user.ask("POST", "/answer", json={**body, "previous": "unknown"})
    assert cubes.seen[-1][1] is None
    assert not user.labels().any()


def test_progress_is_streamed_and_cancel_leaves_everything_as_it_was(user, cubes):
    user.ask("POST", "/objects", json={})
    user.point(1, (5, 8, 8))
    cubes.gate.clear()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(user.predict(1, job="mine")))
    thread.start()
    assert cubes.entered.wait(30)
    with user.http.stream("GET", f"/v1/sessions/{user.id}/jobs/mine/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = []
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
            if events and events[-1].get("text") == "drawing cubes":
                assert user.ask("DELETE", "/jobs/mine").status_code == 204
    thread.join(30)
    assert events[-1] == {"state": "cancelled"}
    assert answers[0].status_code == 409
    assert answers[0].json()["code"] == "cancelled"
    assert not user.labels().any()
    assert user.ask("GET", "/jobs/mine/events").status_code == 404


def test_the_newest_click_wins(user, cubes):
    user.ask("POST", "/objects", json={})
    user.point(1, (5, 8, 8))
    cubes.gate.clear()
    answers = []
    old = threading.Thread(target=lambda: answers.append(user.predict(1)))
    old.start()
    assert cubes.entered.wait(30)
    user.point(1, (5, 8, 12))
    cubes.entered.clear()
    new = threading.Thread(target=lambda: answers.append(user.predict(1)))
    new.start()
    old.join(30)
    assert answers[0].status_code == 409
    cubes.gate.set()
    new.join(30)
    assert answers[1].status_code == 200
    assert user.labels().sum() == 125 + 4 * 25


def test_a_client_that_hangs_up_frees_the_model(user, server, cubes):
    user.ask("POST", "/objects", json={})
    user.point(1, (5, 8, 8))
    cubes.gate.clear()
    with pytest.raises(httpx.ReadTimeout):
        user.ask(
            "POST",
            "/objects/1/predict",
            json={"model": "cubes"},
            timeout=httpx.Timeout(30, read=0.3),
        )
    other = User(server)
    other.ask("POST", "/objects", json={})
    other.point(1, (2, 3, 3))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(other.predict(1)))
    cubes.entered.clear()
    thread.start()
    assert cubes.entered.wait(30), "the abandoned prediction still holds the model"
    cubes.gate.set()
    thread.join(30)
    assert answers[0].status_code == 200
    other.http.close()


def test_bad_input_is_one_sentence(user):
    user.ask("POST", "/objects", json={})
    square = {"kind": "mask", "start": [0, 0, 0], "stop": [4, 4, 4]}
    cases = [
        ("/objects/1/prompts", {"prompts": [{"kind": "point", "position": [99, 0, 0]}]}, 400),
        ("/objects/1/prompts", {"prompts": [{"kind": "point", "position": "no"}]}, 400),
        ("/objects/1/prompts", {"prompts": [{"kind": "magic"}]}, 400),
        ("/objects/1/prompts", {"prompts": [{**square, "bits": "AAAA"}]}, 400),
        ("/objects/1/prompts", {"prompts": [{**square, "bits": 5}]}, 400),
        ("/objects/9/prompts", {"prompts": []}, 404),
        ("/objects/1/predict", {"model": "cubes"}, 400),
        ("/objects/1/predict", {"model": "nothing"}, 404),
        ("/objects/1/predict", {}, 422),
        ("/objects", {"number": 1}, 400),
        ("/label", {"model": "nothing"}, 404),
        ("/label", {"classes": ["no such organ"]}, 400),
    ]
    for path, body, status in cases:
        answer = user.ask("POST", path, json=body)
        assert (answer.status_code, path, body) == (status, path, body)
        assert answer.json()["detail"].endswith(".")


def test_an_image_and_its_geometry_must_agree(server):
    image = pack(np.zeros((3, 4, 5), np.int16))
    wrong = [
        described(),
        {},
        {META: "not json"},
        {META: '{"geometry": {"shape": [3,4,5], "affine": [[0]], "unit": "millimeter"}}'},
    ]
    for headers in wrong:
        answer = httpx.post(f"{server}/v1/sessions", content=image, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["detail"].endswith(".")


def test_limits_are_kept_before_memory_is_taken(make_service):
    service = make_service(max_body=2000, max_memory=30_000)
    geometry = Geometry.from_spacing((64, 64, 64))
    headers = {META: json.dumps({"geometry": geometry.to_json()})}
    with running(service) as address:
        bomb = pack(np.zeros((64, 64, 64), np.int16))
        assert len(bomb) < 2000
        answer = httpx.post(f"{address}/v1/sessions", content=bomb, headers=headers)
        assert answer.status_code == 413
        answer = httpx.post(f"{address}/v1/sessions", content=b"x" * 3000)
        assert answer.status_code == 413
        pieces = (b"x" * 500 for _ in range(10))
        answer = httpx.post(f"{address}/v1/sessions", content=pieces)
        assert answer.status_code == 413
        assert len(service.leases) == 0
        assert httpx.get(f"{address}/healthz").status_code == 200


def test_who_may_ask(make_service):
    with running(make_service(token="secret")) as address:
        assert httpx.get(f"{address}/v1/hello").status_code == 200
        assert httpx.get(f"{address}/v1/models").status_code == 401
        assert httpx.get(f"{address}/openapi.json").status_code == 401
        for shown in ("Bearer wrong", "Basic secret", "secret", "Bearer secret2", "Bearer"):
            answer = httpx.get(f"{address}/v1/models", headers={"Authorization": shown})
            assert answer.status_code == 401
        good = {"Authorization": "Bearer secret"}
        assert httpx.get(f"{address}/v1/models", headers=good).status_code == 200
        foreign = {**good, "Origin": "https://evil.example"}
        assert httpx.get(f"{address}/v1/models", headers=foreign).status_code == 403


def test_without_a_token_other_names_for_this_machine_are_refused(server):
    answer = httpx.get(f"{server}/v1/models", headers={"Host": "evil.example"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_models_tell_what_they_take(server):
    rows = {m["name"]: m for m in httpx.get(f"{server}/v1/models").json()["models"]}
    assert rows["cubes"]["capabilities"]["prompts"][0] == "box"
    assert rows["cubes"]["state"] == "ready"
    assert rows["builtin-tissues"]["classes"]["2"] == "lung_left"
    assert rows["stu-net-s"]["state"] != "ready"
    assert len(rows["stu-net-s"]["classes"]) == 104


def test_a_journal_for_every_session_outlives_the_server(make_service, tmp_path):
    service = make_service(journals=tmp_path)
    with running(service) as address:
        user = User(address)
        user.ask("POST", "/objects", json={"name": "liver"})
        user.point(1, (5, 8, 8))
        user.predict(1)
        user.http.close()
    (journal,) = tmp_path.glob("*.jsonl")
    ops = [json.loads(line)["op"] for line in journal.read_text().splitlines()]
    assert ops == ["open", "object", "prompts", "edit"]


def test_stopping_ends_what_runs(make_service, cubes):
    answers = []
    cubes.gate.clear()
    with running(make_service()) as address:
        user = User(address)
        user.ask("POST", "/objects", json={})
        user.point(1, (5, 8, 8))
        thread = threading.Thread(target=lambda: answers.append(user.predict(1)))
        thread.start()
        assert cubes.entered.wait(30)
    thread.join(30)
    assert answers[0].status_code == 503
    user.http.close()
