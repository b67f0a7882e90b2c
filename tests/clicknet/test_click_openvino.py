import numpy as np
import pytest
import torch

from openmedlab.clicknet.network import INPUTS, ClickNet
from openmedlab.nn.fill import fill_by_name
from openmedlab.nn.openvino import OpenVinoNetwork

pytest.importorskip("openvino")
SHAPE = (1, INPUTS, 16, 16, 16)


def inputs(count):
    random = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=random) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_precision_gives_nearly_the_same_logits(tmp_path):
    network = ClickNet((8, 8, 8, 8))
    fill_by_name(network)
    network.eval()
    fast = OpenVinoNetwork(network, SHAPE, tmp_path, "k", lambda: inputs(4))
    assert fast.precision in fast.precisions
    x = inputs(1)[0]
    with torch.inference_mode():
        want = network(x).numpy()
    allowed = {"f32": 1e-4, "bf16": 0.1, "int8": 0.2}
    for precision in fast.precisions:
        got = fast.with_precision(precision)(x).numpy()
        assert np.abs(got - want).max() < allowed[precision] * np.abs(want).max()
    before = sorted(p.name for p in tmp_path.iterdir())
    again = OpenVinoNetwork(network, SHAPE, tmp_path, "k", lambda: inputs(4))
    assert again.precision == fast.precision
    assert sorted(p.name for p in tmp_path.iterdir()) == before
