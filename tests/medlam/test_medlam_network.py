import json
import os
from pathlib import Path

import pytest
import torch

from openmedlab.zoo.recognise import recognise
from openmedlab.zoo.registry import build_network
from openmedlab.zoo.store import WeightsStore

REFERENCE = Path(os.environ.get("OPENMEDLAB_REFERENCE", "absent"))


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="OPENMEDLAB_REFERENCE is not set")
def test_state_dict_is_the_published_one():
    with torch.device("meta"):
        have = [[k, list(v.shape)] for k, v in build_network("medlam").state_dict().items()]
    want = json.loads((REFERENCE / "medlam/keys.json").read_text())
    assert have == [[key, shape] for key, shape, _ in want]
    published = json.loads((REFERENCE / "medlam/keys_checkpoint.json").read_text())
    assert [f"module.{key}" for key, _ in have] == [key for key, *_ in published]


def test_published_and_training_checkpoints_load(tmp_path):
    network = build_network("medlam")
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    torch.save(state, tmp_path / "medlam.pth")
    optimizer = torch.optim.Adam(network.parameters()).state_dict()
    training = {"epoch": 3, "state_dict": state, "best_loss": 0.5, "optimizer": optimizer}
    torch.save(training, tmp_path / "medlam_3.tar")
    for file in ("medlam.pth", "medlam_3.tar"):
        store = WeightsStore(tmp_path / "models")
        info = store.import_checkpoint(tmp_path / file)
        assert info.card.name == "medlam"
        store.remove("medlam")


def test_checkpoint_is_recognised_by_its_tensors():
    with torch.device("meta"):
        tensors = build_network("medlam").state_dict()
    assert recognise(tensors, Path("somewhere.pth"), {}).name == "medlam"
