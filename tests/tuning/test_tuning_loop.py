from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from openmedlab.core.errors import Cancelled, InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.tuning.loop import Loop, Schedule, best_weights

SCHEDULE = Schedule(steps=12, rate=0.05, warm=2, average=0.5, check=4, patience=10)


class Line:
    """Learn y = 3 x - 1 from points that the step decides."""

    def __init__(self, judged=None):
        self.judged = list(judged or ())
        self.modes = []

    def loss(self, network, step):
        self.modes.append(network.training)
        x = torch.from_numpy(np.random.default_rng((5, step)).normal(size=(8, 1))).float()
        return ((network(x) - (3 * x - 1)) ** 2).mean()

    def validate(self, network):
        assert not network.training
        if self.judged:
            return self.judged.pop(0)
        x = torch.linspace(-1, 1, 9)[:, None]
        return float(((network(x) - (3 * x - 1)) ** 2).mean())


class Unjudged(Line):
    def validate(self, network):
        return None


def loop(folder, task=None, schedule=SCHEDULE, purpose=""):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).train()
    return Loop(network, task or Line(), schedule, folder, purpose)


def run(made, stop=None):
    cancel = CancelToken()

    def report(done, total, text):
        if done == stop:
            cancel.cancel()

    made.run(Progress(report), cancel)
    return made


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_stopped_training_goes_on_as_if_nothing_had_been(tmp_path, stop):
    whole = run(loop(tmp_path / "whole"))
    with pytest.raises(Cancelled):
        run(loop(tmp_path / "parts"), stop)
    resumed = loop(tmp_path / "parts")
    assert resumed.history.step == stop
    run(resumed)
    assert [e[0] for e in resumed.history.curve] == [0, 4, 8, 12]
    assert resumed.history == whole.history
    assert same(resumed.averaged, whole.averaged)
    assert same(resumed.best, whole.best)
    assert same(resumed.network.state_dict(), whole.network.state_dict())


def test_the_best_weights_are_kept_and_not_the_last(tmp_path):
    seen = {}

    class Watched(Line):
        def validate(self, network):
            found = super().validate(network)
            seen[found] = {k: v.clone() for k, v in network.state_dict().items()}
            return found

    made = run(loop(tmp_path, Watched([5.0, 1.0, 3.0, 2.0])))
    assert (made.history.best, made.history.best_step, made.history.waited) == (1.0, 4, 2)
    assert same(made.best, seen[1.0])
    assert not same(made.best, made.averaged)
    assert same(best_weights(tmp_path), seen[1.0])


def test_it_stops_early_when_nothing_improves(tmp_path):
    schedule = replace(SCHEDULE, steps=100, check=1, patience=3)
    made = run(loop(tmp_path, Line([2.0, 1.0, 1.5, 1.5, 1.5, 0.0]), schedule))
    assert made.finished
    assert made.history.step == 4
    again = loop(tmp_path, Line(), schedule)
    assert again.finished
    assert run(again).history.step == 4


def test_without_validation_data_the_newest_average_is_kept(tmp_path):
    made = run(loop(tmp_path, Unjudged(), replace(SCHEDULE, patience=1)))
    assert made.history.step == 12
    assert made.history.best_step == 12
    assert same(made.best, made.averaged)


def test_the_average_follows_the_weights(tmp_path):
    made = loop(tmp_path, schedule=replace(SCHEDULE, average=0.75))
    state = made.network.state_dict()
    expected = state["0.weight"].clone()
    for step in range(1, 7):
        made._step()
        share = min(0.75, 1 - 1 / (1 + step))
        expected = share * expected + (1 - share) * made.network.state_dict()["0.weight"]
    torch.testing.assert_close(made.averaged["0.weight"], expected)
    assert int(made.averaged["1.num_batches_tracked"]) == 6


def test_judging_leaves_the_network_as_it_was(tmp_path):
    made = loop(tmp_path)
    made.network[1].eval()
    for _ in range(3):
        made._step()
    before = {k: v.clone() for k, v in made.network.state_dict().items()}
    made._judge()
    assert same(before, made.network.state_dict())
    assert made.network.training
    assert made.network[0].training
    assert not made.network[1].training


def test_what_wants_no_gradient_stays_as_it_is(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 4), nn.Linear(4, 1))
    network[0].requires_grad_(False)
    start = {k: v.clone() for k, v in network.state_dict().items()}
    made = run(Loop(network, Line(), SCHEDULE, tmp_path))
    for state in (made.best, made.averaged, network.state_dict()):
        assert torch.equal(state["0.weight"], start["0.weight"])
        assert not torch.equal(state["1.weight"], start["1.weight"])


def test_the_rate_rises_and_follows_a_half_cosine(tmp_path):
    made, rates = loop(tmp_path), []
    for _ in range(12):
        made._step()
        rates.append(made._optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.025)
    assert rates[6] == pytest.approx(0.025)
    assert max(rates) == rates[1]
    assert rates[-1] < 0.002


@pytest.mark.parametrize(
    "other", [{"schedule": replace(SCHEDULE, steps=13)}, {"purpose": "another cohort"}]
)
def test_a_checkpoint_of_other_settings_is_refused_and_kept(tmp_path, other):
    run(loop(tmp_path))
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match="other settings"):
        loop(tmp_path, **other)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


def test_best_weights_of_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        best_weights(tmp_path)
