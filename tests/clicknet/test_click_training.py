import numpy as np
import torch

from openmedlab.clicknet.network import SIDE, ClickNet
from openmedlab.clicknet.simulate import Labelled, exercise
from openmedlab.clicknet.task import play, score


def cells(seed=0):
    random = np.random.default_rng(seed)
    z, y, x = np.indices((40, 48, 56))
    labels = np.zeros(z.shape, np.uint8)
    for value, centre in enumerate(((12, 14, 14), (26, 30, 20), (20, 24, 42)), 1):
        away = sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True))
        labels[away < 90] = value
    image = 50.0 * labels + random.normal(0, 5, z.shape)
    return Labelled(image.astype(np.float32), labels, (2.0, 1.0, 1.0))


def test_exercises_follow_from_the_seed_and_lie_inside_their_windows():
    volume = cells()
    kinds = set()
    for seed in range(12):
        one = exercise(np.random.default_rng(seed), volume)
        two = exercise(np.random.default_rng(seed), volume)
        assert torch.equal(one.channels(), two.channels())
        assert one.prompts == two.prompts
        kinds.add(one.prompts[0].kind)
        assert one.target.shape == (SIDE,) * 3
        assert one.target.any()
        for point in one.positive:
            assert one.target[tuple(point.long())]
    assert kinds == {"point", "scribble", "box", "extreme points"}


def test_corrections_are_clicked_in_the_error():
    made = exercise(np.random.default_rng(3), cells())
    random = np.random.default_rng(0)
    clicks = len(made.positive)
    made.correct(random, torch.zeros_like(made.target))
    assert len(made.positive) == clicks + 1
    assert made.target[tuple(made.positive[-1].long())]
    made.correct(random, torch.ones_like(made.target))
    assert not made.target[tuple(made.negative[-1].long())]
    clicks = len(made.prompts)
    made.correct(random, made.target)
    assert len(made.prompts) == clicks


def test_only_the_last_round_is_learned_from_and_the_loss_is_a_mean_of_samples():
    network = ClickNet((8, 8, 8, 8))
    batch = [exercise(np.random.default_rng(k), cells()) for k in range(2)]
    logits = play(network, batch, 1, np.random.default_rng(0))
    assert logits.requires_grad
    assert network.training
    both = score(logits, batch)
    each = [score(logits[k : k + 1], batch[k : k + 1]) for k in range(2)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    good = torch.where(torch.stack([e.target for e in batch])[:, None], 20.0, -20.0)
    assert score(good, batch) < 0.01
