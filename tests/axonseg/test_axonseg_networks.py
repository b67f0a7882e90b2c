import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from openmedlab.axons.methods import METHODS
from openmedlab.axons.statistics import measure
from openmedlab.axonseg import segmenter
from openmedlab.axonseg.older import OlderNetwork
from openmedlab.axonseg.segmenter import CORE, MARGIN, PublishedSegmenter
from openmedlab.zoo.errors import WeightsError
from openmedlab.zoo.methods import trained
from openmedlab.zoo.registry import build_network

REFERENCE = Path(os.environ.get("OPENMEDLAB_REFERENCE", "absent"))


def state_of(build, *arguments):
    with torch.device("meta"):
        return {k: list(v.shape) for k, v in build(*arguments).state_dict().items()}


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="OPENMEDLAB_REFERENCE names no folder")
def test_state_dicts_are_the_published_ones():
    keys = json.loads((REFERENCE / "axonseg" / "keys.json").read_text())
    older = json.loads((REFERENCE / "axon_preseg" / "keys.json").read_text())
    pairs = [
        (state_of(build_network, "axon-seg"), keys["axial"]),
        (state_of(build_network, "axon-seg-unet"), keys["plain"]),
        (state_of(OlderNetwork), older["unet"]),
    ]
    for have, published in pairs:
        assert list(have.items()) == [(key, shape) for key, shape, _ in published["keys"]]


def test_a_checkpoint_in_nnunets_wrapper_loads(tmp_path):
    torch.manual_seed(0)
    network = build_network("axon-seg-unet")
    path = tmp_path / "model_final_checkpoint.model"
    wrapped = {"epoch": 1000, "state_dict": network.state_dict(), "plot_stuff": ([], [])}
    torch.save({**wrapped, "optimizer_state_dict": None}, path)
    loaded, _ = trained("axon-seg-unet", path)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name


def test_weights_of_the_other_variant_are_refused(tmp_path):
    path = tmp_path / "wrong.pt"
    torch.save({"state_dict": {"conv.weight": torch.zeros(2, 2)}}, path)
    with pytest.raises(WeightsError, match="conv_blocks"):
        trained("axon-seg", path)


class Sum(nn.Module):
    """Logits that depend on the neighbours and, as instance norms do, on the whole window."""

    def forward(self, x):
        near = nn.functional.avg_pool3d(x, 3, 1, 1)
        return torch.cat([torch.zeros_like(x), near + x.mean()], 1)


def in_blocks(volume, segment, block):
    out = np.zeros(volume.shape, np.float32)
    padded = np.pad(volume, MARGIN, mode="edge")
    for corner in product(*(range(0, n, block) for n in volume.shape)):
        core = tuple(slice(c, min(c + block, n)) for c, n in zip(corner, volume.shape, strict=True))
        wide = tuple(slice(c.start, c.stop + 2 * MARGIN) for c in core)
        out[core] = segment.segment_block(padded[wide], segment.halo)
    return out


def test_published_networks_give_the_same_for_every_block_size(monkeypatch):
    monkeypatch.setattr(segmenter, "_network", lambda *_: Sum())
    volume = np.random.default_rng(0).integers(1, 900, (60, 100, 200)).astype(np.uint16)
    volume[:, :, 176:] = 0
    segment = PublishedSegmenter("axon-seg", Path("any"), 400.0, 250.0)
    whole = in_blocks(volume, segment, 10 * CORE)
    assert np.array_equal(whole, in_blocks(volume, segment, CORE))
    assert np.array_equal(whole, in_blocks(volume, segment, 2 * CORE))
    assert whole[:, :, :170].min() > 0
    assert not whole[:, :, 176:].any()
    assert segment.is_empty(volume[:, :, 176:])


def test_without_weights_one_sentence_says_what_to_do():
    volume = np.ones((20, 20, 20), np.uint16)
    for name in ("axon-seg", "axon-seg-unet"):
        with pytest.raises(WeightsError, match="Axon-Seg"):
            METHODS[name].make(measure(volume), None)
