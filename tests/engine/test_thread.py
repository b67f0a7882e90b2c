import threading

import pytest

from openmedlab.core import Cancelled
from openmedlab.engine import InferenceThread, TicketState


@pytest.fixture
def thread():
    thread = InferenceThread("test")
    yield thread
    thread.close()


@pytest.fixture
def gate(thread):
    """Hold the thread with a running ticket until the test opens the gate."""
    opened, started = threading.Event(), threading.Event()

    def work(_progress, cancel):
        started.set()
        while not opened.wait(0.005):
            cancel.check()
        return "held"

    ticket = thread.submit(work, key="gate")
    assert started.wait(5)
    return ticket, opened


def test_everything_runs_on_one_and_the_same_thread(thread):
    names = [thread.submit(lambda _p, _c: threading.get_ident()).result(5) for _ in range(5)]
    assert len(set(names)) == 1
    assert names[0] != threading.get_ident()


def test_the_newest_click_of_a_key_supersedes_the_waiting_one(thread, gate):
    ran = []
    _, opened = gate
    first = thread.submit(lambda _p, _c: ran.append(1), key="a")
    other = thread.submit(lambda _p, _c: ran.append("b"), key="b")
    second = thread.submit(lambda _p, _c: ran.append(2), key="a")
    opened.set()
    second.result(5)
    other.result(5)
    assert ran == ["b", 2]
    assert first.state is TicketState.SUPERSEDED
    with pytest.raises(Cancelled):
        first.result(5)


def test_the_newest_click_stops_the_running_one_of_its_key(thread, gate):
    running, _ = gate
    newer = thread.submit(lambda _p, _c: "new", key="gate")
    assert newer.result(5) == "new"
    assert running.state is TicketState.SUPERSEDED


def test_cancel_while_waiting_and_while_running(thread, gate):
    running, _ = gate
    ended = []
    waiting = thread.submit(lambda _p, _c: 1, on_end=ended.append)
    waiting.cancel()
    assert ended == [waiting]
    running.cancel()
    with pytest.raises(Cancelled):
        running.result(5)
    assert running.state is TicketState.CANCELLED
    assert thread.submit(lambda _p, _c: 3).result(5) == 3


def test_prefetch_waits_and_gives_way_to_a_click(thread, gate):
    _, opened = gate
    order, started = [], threading.Event()

    def prefetch(_progress, cancel):
        started.set()
        while True:
            cancel.check()

    idle = thread.submit(prefetch, idle=True)
    click = thread.submit(lambda _p, _c: order.append("click"))
    opened.set()
    click.result(5)
    assert started.wait(5)
    assert thread.submit(lambda _p, _c: "now").result(5) == "now"
    assert idle.state is TicketState.SUPERSEDED
    assert order == ["click"]


def test_a_failing_request_harms_no_other(thread):
    bad = thread.submit(lambda _p, _c: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bad.result(5)
    assert bad.state is TicketState.FAILED
    assert thread.submit(lambda _p, _c: "fine").result(5) == "fine"


def test_progress_and_the_four_times(thread, gate):
    _, opened = gate
    heard = []

    def work(progress, _cancel):
        with progress.stage("infer"):
            progress.report(1, 2, "half")
        return progress.timings

    ticket = thread.submit(work, on_report=lambda *a: heard.append(a))
    opened.set()
    timings = ticket.result(5)
    assert heard == [(1, 2, "half")]
    assert timings.queue > 0
    assert timings.total == pytest.approx(sum(timings.to_json().values()))


def test_closing_cancels_what_is_left():
    thread = InferenceThread("closing")
    release = threading.Event()

    def loop(_progress, cancel):
        release.set()
        while True:
            cancel.check()

    running = thread.submit(loop)
    assert release.wait(5)
    waiting = thread.submit(lambda _p, _c: 1)
    thread.close()
    assert {running.state, waiting.state} == {TicketState.CANCELLED}
    with pytest.raises(RuntimeError, match="shut down"):
        thread.submit(lambda _p, _c: 1)
