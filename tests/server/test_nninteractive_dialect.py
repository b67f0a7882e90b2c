"""The official client, unchanged, against our server."""

from __future__ import annotations

import threading

import httpx
import numpy as np
import pytest

remote = pytest.importorskip("nnInteractive.inference.remote.remote_session")

from openmedlab.core import Box, ExtremePoints, Lasso, MaskPrompt, Point, Scribble  # noqa: E402
from openmedlab.server.run import running  # noqa: E402

SHAPE = (12, 20, 24)


def image():
    return np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)


@pytest.fixture
def connect(server):
    opened = []

    def make(prefix="", key=None):
        opened.append(remote.nnInteractiveRemoteInferenceSession(server + prefix, api_key=key))
        return opened[-1]

    yield make
    for session in opened:
        session.close()


@pytest.fixture
def session(connect):
    made = connect()
    made.set_image(image(), {"spacing": [3.0, 0.7, 0.8]})
    made.set_target_buffer(np.zeros(SHAPE, np.uint8))
    return made


def cube(center, reach=2):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(max(c - reach, 0), c + reach + 1) for c in center)] = True
    return mask


def test_capabilities_and_lease(connect, service):
    session = connect()
    assert session.supported_interactions["bbox2d"]
    assert session.supports_undo
    assert session.ping()
    assert session.channel_mapping["points"] == (3, 4)
    assert len(session.preferred_scribble_thickness) == 3
    assert session.lease_status()["idle_timeout_seconds"] == 600
    assert session.heartbeat() == 600
    assert len(service.leases) == 1
    session.close()
    assert len(service.leases) == 0


def test_a_click_reaches_the_model_in_its_own_frame(session, cubes):
    changed = session.add_point_interaction([5, 10, 12], True)
    assert changed == [[3, 8], [8, 13], [10, 15]]
    assert np.array_equal(session.target_buffer, cube((5, 10, 12)))
    prompts, previous, geometry = cubes.seen[-1]
    assert prompts == (Point((5, 10, 12)),)
    assert previous is None
    assert geometry.spacing == pytest.approx((3.0, 0.7, 0.8))
    assert geometry.shape == SHAPE


def test_the_next_click_refines_and_undo_takes_it_back(session, cubes):
    session.add_point_interaction([5, 10, 12], True)
    session.add_point_interaction([5, 10, 14], False)
    assert cubes.seen[-1][1] is not None
    assert session.target_buffer[5, 10, 14] == 0
    assert session.undo()
    assert np.array_equal(session.target_buffer, cube((5, 10, 12)))
    assert session.undo()
    assert not session.target_buffer.any()
    assert not session.undo()


def test_after_undo_the_next_click_knows_only_what_was_left(session, cubes):
    session.add_point_interaction([5, 10, 12], True)
    session.add_point_interaction([2, 3, 3], True)
    session.undo()
    session.add_point_interaction([5, 10, 16], True)
    points = [p for p in cubes.seen[-1][0] if isinstance(p, Point)]
    assert points == [Point((5, 10, 12)), Point((5, 10, 16))]
    assert np.array_equal(session.target_buffer, cube((5, 10, 12)) | cube((5, 10, 16)))


def test_a_flat_box_seeds_a_slice(session, cubes):
    session.add_bbox_interaction([[4, 5], [2, 9], [3, 12]], True)
    (box,) = cubes.seen[-1][0]
    assert box == Box((4, 2, 3), (4, 8, 11))
    assert box.flat_axis == 0


def test_scribble_as_a_crop_and_as_the_whole(session, cubes):
    stroke = np.zeros((1, 1, 5), np.uint8)
    stroke[0, 0, 1:4] = 1
    session.add_scribble_interaction(stroke, True, interaction_bbox=[[6, 7], [9, 10], [10, 15]])
    whole = np.zeros(SHAPE, np.uint8)
    whole[6, 9, 11:14] = 1
    session.add_scribble_interaction(whole, False)
    first, second = cubes.seen[-1][0]
    assert first == Scribble(((6, 9, 11), (6, 9, 12), (6, 9, 13)))
    assert second == Scribble(first.points, False)


@pytest.mark.parametrize("filled", [True, False])
def test_lasso_outline_and_filled_mean_the_same(session, cubes, filled):
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[4, 5:12, 6:15] = 1
    if not filled:
        drawn[4, 6:11, 7:14] = 0
    session.add_lasso_interaction(drawn, True)
    (lasso,) = cubes.seen[-1][0]
    assert isinstance(lasso, Lasso)
    assert lasso.axis == 0
    assert lasso.positions().min(0).tolist() == [4, 5, 6]
    assert lasso.positions().max(0).tolist() == [4, 11, 14]


def test_initial_segmentation_is_refined_and_forgets_the_rest(session, cubes):
    session.add_point_interaction([1, 1, 1], True)
    start = cube((6, 10, 10), 3)
    session.add_initial_seg_interaction(start.astype(np.uint8))
    assert np.array_equal(session.target_buffer, start)
    session.add_point_interaction([6, 10, 18], True)
    mask, point = cubes.seen[-1][0]
    assert isinstance(mask, MaskPrompt)
    assert point == Point((6, 10, 18))
    assert np.array_equal(session.target_buffer, start | cube((6, 10, 18)))
    assert session.undo()
    assert np.array_equal(session.target_buffer, start)


def test_queued_prompts_run_at_predict(session, cubes):
    for x in (6, 18):
        assert session.add_point_interaction([5, 10, x], True, run_prediction=False) is None
    assert cubes.seen == []
    assert session._predict() == [[3, 8], [8, 13], [4, 21]]
    assert len(cubes.seen[-1][0]) == 2
    assert np.array_equal(session.target_buffer, cube((5, 10, 6)) | cube((5, 10, 18)))


@pytest.mark.parametrize(("prefix", "extreme"), [("/m/cubes+extreme", True), ("/m/cubes", False)])
def test_six_points_are_extreme_points_where_the_prefix_says_so(connect, cubes, prefix, extreme):
    session = connect(prefix)
    session.set_image(image())
    session.set_target_buffer(np.zeros(SHAPE, bool))
    six = [(2, 10, 10), (8, 10, 10), (5, 4, 10), (5, 16, 10), (5, 10, 3), (5, 10, 20)]
    for place in six:
        session.add_point_interaction(list(place), True, run_prediction=False)
    session._predict()
    prompts = cubes.seen[-1][0]
    assert isinstance(prompts[0], ExtremePoints if extreme else Point)
    assert len(prompts) == (1 if extreme else 6)
    session.undo()
    if extreme:
        assert not session.target_buffer.any()


def test_reset_and_a_second_image(session, cubes):
    session.add_point_interaction([5, 10, 12], True)
    session.reset_interactions()
    assert not session.undo()
    session.add_point_interaction([2, 2, 2], True)
    assert np.array_equal(session.target_buffer, cube((2, 2, 2)))
    session.set_image(np.zeros((1, 6, 7, 8), np.int16))
    session.set_target_buffer(np.zeros((6, 7, 8), np.uint8))
    assert session.add_point_interaction([3, 3, 3], True) == [[1, 6], [1, 6], [1, 6]]
    assert cubes.seen[-1][0] == (Point((3, 3, 3)),)


def test_only_negative_clicks_wait_for_a_positive_one(session):
    assert session.add_point_interaction([5, 10, 12], False) is None
    assert session.add_point_interaction([5, 10, 14], True) is not None
    assert session.target_buffer[5, 10, 12] == 0
    assert session.target_buffer[5, 10, 14] == 1


def test_bad_values_are_400_with_a_sentence_and_change_nothing(session, cubes):
    session.add_point_interaction([5, 10, 12], True)
    before = session.target_buffer.copy()
    calls = [
        lambda: session.add_point_interaction([5, 10, 99], True),
        lambda: session.add_point_interaction([5, float("1e300"), 9], True),
        lambda: session.add_bbox_interaction([[4, 4], [2, 9], [3, 12]], True),
        lambda: session.add_bbox_interaction([[4, 5], [2, 3], [3, 12]], True),
        lambda: session.add_bbox_interaction([[-9, 5], [2, 8], [3, 12]], True),
        lambda: session.add_scribble_interaction(np.zeros(SHAPE, np.uint8), True),
        lambda: session.add_scribble_interaction(np.ones((1, 1, 3), np.uint8), True),
        lambda: session.add_lasso_interaction(np.zeros(SHAPE, np.uint8), True),
        lambda: session.set_target_buffer(np.zeros((3, 3, 3), np.uint8)),
        lambda: session.set_image(np.zeros((2, 4, 4, 4), np.uint8)),
        lambda: session.set_image(np.full((1, 4, 4, 4), np.nan, np.float32)),
        lambda: session.set_image(image(), {"spacing": [0, 1, 1]}),
        lambda: session.set_image(image(), {"spacing": "wide"}),
    ]
    for call in calls:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            call()
        assert caught.value.response.status_code == 400
        assert caught.value.response.json()["detail"].endswith(".")
    session.target_buffer = before.copy()
    session.undo()
    assert not session.target_buffer.any()


def test_a_model_that_breaks_harms_nobody(session, cubes):
    cubes.broken = True
    with pytest.raises(httpx.HTTPStatusError) as caught:
        session.add_point_interaction([5, 10, 12], True)
    assert caught.value.response.status_code == 500
    assert "Traceback" not in caught.value.response.text
    cubes.broken = False
    session.add_point_interaction([5, 10, 12], True)
    assert np.array_equal(session.target_buffer, cube((5, 10, 12)))
    assert len(cubes.seen[-1][0]) == 1


def test_wrong_key(make_service):
    with running(make_service(token="right")) as address:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            remote.nnInteractiveRemoteInferenceSession(address, api_key="wrong")
        assert caught.value.response.status_code == 401
        assert httpx.get(f"{address}/healthz").json() == {"ok": True}
        with remote.nnInteractiveRemoteInferenceSession(address, api_key="right") as session:
            assert session.heartbeat() > 0


def test_full(make_service):
    with running(make_service(max_sessions=1)) as address:
        first = remote.nnInteractiveRemoteInferenceSession(address)
        with pytest.raises(remote.ServerAtCapacityError):
            remote.nnInteractiveRemoteInferenceSession(address)
        assert httpx.post(f"{address}/claim").headers["retry-after"] == "10"
        first.close()
        remote.nnInteractiveRemoteInferenceSession(address).close()


def test_leases_end_by_idling_and_by_silence(connect, clock, service):
    idler = connect()
    clock.now += 50
    idler.heartbeat()
    for _ in range(11):
        clock.now += 50
        idler.heartbeat()
    clock.now += 50
    with pytest.raises(remote.SessionExpiredError):
        idler.heartbeat()
    silent = connect()
    clock.now += 61
    with pytest.raises(remote.SessionExpiredError):
        silent.set_image(image())
    assert len(service.leases) == 0


def test_four_clients_at_once(connect):
    sessions = [connect() for _ in range(4)]
    masks = [None] * 4

    def work(k):
        session = sessions[k]
        session.set_image(image())
        session.set_target_buffer(np.zeros(SHAPE, np.uint8))
        for x in range(3, 20, 4):
            session.add_point_interaction([2 + 2 * k, 10, x], True)
        session.undo()
        masks[k] = session.target_buffer

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for k, mask in enumerate(masks):
        expected = np.logical_or.reduce([cube((2 + 2 * k, 10, x)) for x in range(3, 16, 4)])
        assert np.array_equal(mask, expected)
