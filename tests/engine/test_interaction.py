import threading

import numpy as np
import pytest

from openmedlab.core import (
    Capabilities,
    Encoding,
    Geometry,
    LogitsPatch,
    Point,
    PromptError,
    Region,
    Session,
    Volume,
)
from openmedlab.engine import EncodingCache, InferenceThread, Interaction, TicketState

SHAPE = (8, 9, 10)


class Cubes:
    """A 3-voxel cube around every positive point; counts its work; keeps encodings on disk."""

    name = "cubes"
    capabilities = Capabilities(frozenset({"point"}))

    def __init__(self, version="1"):
        self.version = version
        self.encoded = self.predicted = 0
        self.previous = []
        self.hold = None

    def region(self, geometry, prompts):
        return geometry.region

    def encode(self, volume, region, progress, cancel):
        self.encoded += 1
        return Encoding(region, volume.read(region).astype(np.float32), 4 * region.size)

    def predict(self, encoding, prompts, previous, progress, cancel):
        while self.hold is not None and not self.hold.wait(0.005):
            cancel.check()
        self.predicted += 1
        self.previous.append(previous)
        logits = np.full(encoding.region.shape, -1, np.float32)
        for p in prompts:
            box = Region.around([p.position]).padded(1).clipped(SHAPE)
            logits[box.slices] = 1 if p.positive else -1
        progress.report(1, 1, "done")
        return LogitsPatch(encoding.region, logits, self.name)

    def warm_up(self):
        self.warm = threading.current_thread().name

    def pack(self, encoding):
        return {"image": encoding.data}

    def unpack(self, volume, region, arrays):
        return Encoding(region, arrays["image"], arrays["image"].nbytes)


@pytest.fixture
def thread():
    thread = InferenceThread("test")
    yield thread
    thread.close()


@pytest.fixture
def session():
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    session = Session(Volume(image, Geometry.from_spacing(SHAPE)))
    session.add_object("thing")
    return session


def test_clicks_become_answers_encoded_once(session, thread):
    model = Cubes()
    interaction = Interaction(session, lambda: model, thread, EncodingCache())
    answers, ends = [], []
    interaction.answered.connect(answers.append)
    interaction.ended.connect(lambda number, state: ends.append((number, state)))
    for position in ((2, 2, 2), (6, 6, 6)):
        session.add_prompt(1, Point(position))
        interaction.request(1).result(5)
        thread.submit(lambda _p, _c: None).result(5)
        session.commit(1, answers[-1].patch)
    assert session.labelmap.sum() == 54
    assert model.encoded == 1
    assert model.previous[0] is None
    assert model.previous[1] is answers[0].patch
    assert ends == [(1, TicketState.DONE)] * 2


def test_two_quick_clicks_yield_one_answer(session, thread):
    model = Cubes()
    model.hold = threading.Event()
    interaction = Interaction(session, lambda: model, thread, EncodingCache())
    answers = []
    interaction.answered.connect(answers.append)
    session.add_prompt(1, Point((2, 2, 2)))
    first = interaction.request(1)
    session.add_prompt(1, Point((6, 6, 6)))
    second = interaction.request(1)
    model.hold.set()
    second.result(5)
    thread.submit(lambda _p, _c: None).result(5)
    assert first.state is TicketState.SUPERSEDED
    assert [int(a.patch.mask.sum()) for a in answers] == [54]


def test_failures_are_told_and_bad_prompts_never_queued(session, thread):
    def broken():
        raise PromptError("No such model.")

    interaction = Interaction(session, broken, thread, EncodingCache())
    heard = []
    interaction.failed.connect(lambda number, error: heard.append((number, str(error))))
    with pytest.raises(PromptError, match="Only negative"):
        interaction.request(1)
    session.add_prompt(1, Point((1, 1, 1)))
    with pytest.raises(PromptError):
        interaction.request(1).result(5)
    thread.submit(lambda _p, _c: None).result(5)
    assert heard == [(1, "No such model.")]


def test_a_click_by_hand_meanwhile_shows_in_the_revision(session, thread):
    from openmedlab.core import Edit

    model = Cubes()
    model.hold = threading.Event()
    interaction = Interaction(session, lambda: model, thread, EncodingCache())
    answers = []
    interaction.answered.connect(answers.append)
    session.add_prompt(1, Point((2, 2, 2)))
    ticket = interaction.request(1)
    region = Region((0, 0, 0), (1, 1, 1))
    edit = Edit(region, np.zeros((1, 1, 1), np.uint16), np.ones((1, 1, 1), np.uint16))
    edit.apply(session.labelmap)
    session.adopt(edit)
    model.hold.set()
    ticket.result(5)
    thread.submit(lambda _p, _c: None).result(5)
    assert answers[0].revision != session.revision(1)


def test_warm_up_runs_on_the_inference_thread(session, thread):
    model = Cubes()
    Interaction(session, lambda: model, thread).warm_up().result(5)
    assert model.warm == "inference-test"


def test_encodings_are_found_on_disk_and_redone_when_the_model_changes(tmp_path, session, thread):
    first = Cubes()
    session.add_prompt(1, Point((2, 2, 2)))

    def run(model):
        cache = EncodingCache(folder=tmp_path)
        mask = Interaction(session, lambda: model, thread, cache).request(1).result(5).mask
        thread.submit(lambda _p, _c: None, idle=True).result(5)
        return mask

    expected = run(first)
    again, changed = Cubes(), Cubes(version="2")
    np.testing.assert_array_equal(run(again), expected)
    assert (first.encoded, again.encoded) == (1, 0)
    run(changed)
    assert changed.encoded == 1
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:50])
    damaged = Cubes()
    np.testing.assert_array_equal(run(damaged), expected)
    assert damaged.encoded == 1


def test_memory_and_disk_of_the_cache_are_bounded(tmp_path, session):
    from openmedlab.core import CancelToken, Progress

    one = int(4 * np.prod(SHAPE))
    cache = EncodingCache(max_bytes=2 * one, folder=tmp_path, max_disk_bytes=3 * one)
    for version in "abcd":
        model = Cubes(version)
        region = session.volume.geometry.region
        cache.encode(model, session.volume, region, Progress(), CancelToken())
        cache.store(model, session.volume, region)
    assert cache.nbytes == 2 * one
    assert len(list(tmp_path.glob("*"))) == 2
    cache.clear()
    assert cache.nbytes == 0


def test_idle_time_after_an_answer_is_used_to_work_ahead(session, thread):
    class Ahead(Cubes):
        def prefetch(self, encoding, patch, cancel):
            self.ahead = (encoding.region, int(patch.mask.sum()))

    model = Ahead()
    session.add_prompt(1, Point((2, 2, 2)))
    Interaction(session, lambda: model, thread, EncodingCache()).request(1).result(5)
    thread.submit(lambda _p, _c: None, idle=True).result(5)
    assert model.ahead == (session.volume.geometry.region, 27)
