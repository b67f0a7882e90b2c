import numpy as np
import pytest
import torch

from openmedlab.misfm.pctnet import PctNet
from openmedlab.nn.fill import fill_by_name
from openmedlab.sam_med3d.encoder import ImageEncoder
from openmedlab.sam_med3d.network import SamMed3DNetwork
from openmedlab.tuning.augment import augment, may_mirror
from openmedlab.tuning.cases import Case, _places
from openmedlab.tuning.families import family
from openmedlab.tuning.plan import tunable
from openmedlab.tuning.segmenters import PctNetFamily
from openmedlab.tuning.task import learning


def prepared(made, cohort):
    volume, labels = cohort.pairs[0].read()
    image, label = made.prepare(volume, (labels.array == 1).astype(np.uint8))
    return Case("scan0", image, label, {n: np.array(p) for n, p in _places(label).items()})


def sample(made, network, case):
    torch.manual_seed(5)
    return made.sample(network, case, np.random.default_rng(1), "cpu")


@pytest.mark.parametrize("few_shot", [False, True])
def test_sam_med3d_learns_from_simulated_clicks(cohort, few_shot):
    made = family(tunable()["sam-med3d"], {1: "organ"}, cohort, None)
    network = SamMed3DNetwork(ImageEncoder(width=24, depth=3, heads=3))
    fill_by_name(network)
    network.image_encoder.requires_grad_(not few_shot)
    learning(network)
    case = prepared(made, cohort)
    assert case.image.shape == (32, 29, 34)
    loss = sample(made, network, case)
    loss.backward()
    assert float(sample(made, network, case).detach()) == float(loss.detach())
    assert (network.image_encoder.pos_embed.grad is None) == few_shot
    assert network.mask_decoder.mask_tokens.weight.grad is not None
    with torch.inference_mode():
        found, dice = made.judge(network.eval(), case, "cpu")
    assert np.isfinite(found)
    assert 0 <= dice[1] <= 1


def test_pct_net_learns_classes_of_its_own(cohort, monkeypatch):
    size = (16, 32, 32)
    monkeypatch.setattr(PctNetFamily, "window", size)
    made = family(tunable()["pct-net-volf"], {1: "organ"}, cohort, None)
    assert made.frame == {"spacing": pytest.approx([2.0, 1.6, 1.6])}
    network = PctNet(classes=2, input_size=size)
    base = PctNet(classes=5, input_size=size).state_dict()
    made.begin(network, base, ())
    assert torch.equal(
        network.state_dict()["embeddings.1.proj.weight"], base["embeddings.1.proj.weight"]
    )
    for part in made.encoder(network):
        part.requires_grad_(False)
    learning(network)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert norms
    assert not any(m.training for m in norms)
    case = prepared(made, cohort)
    loss = sample(made, network, case)
    loss.backward()
    assert float(sample(made, network, case).detach()) == float(loss.detach())
    assert network.embeddings[1].proj.weight.grad is None
    assert network.pred_heads[1].out_conv0.conv[2].weight.grad is not None


def test_labels_with_sides_are_never_mirrored():
    assert not may_mirror(["liver", "kidney_left"])
    assert not may_mirror(["Right lung"])
    assert may_mirror(["liver", "cleft", "bright spot"])
    assert may_mirror(["label_1"])
    assert not may_mirror(["label_2", "label_3", "liver"])
    image = torch.arange(1000.0).reshape(10, 10, 10)
    for seed in range(20):
        changed, _ = augment(np.random.default_rng(seed), image, image > 500, mirror=False)
        assert changed[-1].mean() > changed[0].mean()


def test_image_and_label_are_changed_alike():
    image = torch.zeros(16, 20, 24)
    image[4:9, 5:12, 6:10] = 10
    for seed in range(12):
        changed, label = augment(np.random.default_rng(seed), image, image > 5, mirror=True)
        assert changed.shape == label.shape == image.shape
        inside = (changed > changed.min() + 0.5 * (changed.max() - changed.min())) & label
        assert inside.sum() > 0.6 * label.sum()
