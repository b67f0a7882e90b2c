"""Checkpoints in every published wrapping are read; whatever could run code is not."""

from __future__ import annotations

import argparse
import collections
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from openmedlab.zoo import WeightsError, WeightsStore, build_network, read_checkpoint, read_plans


@pytest.fixture
def state(home):
    torch.manual_seed(3)
    return build_network("one").state_dict()


class Payload:
    """What a malicious file carries: makes a file called as told when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def adam_after_a_step(parameters):
    """Return what a step of Adam leaves, without importing torch's compiler for it."""
    optimizer = object.__new__(torch.optim.Adam)
    moments = {p: {"step": torch.tensor(1.0), "exp_avg": torch.zeros_like(p)} for p in parameters}
    optimizer.defaults = {"lr": 1e-3, "betas": (0.9, 0.999)}
    optimizer.state = collections.defaultdict(dict, moments)
    optimizer.param_groups = [{"params": parameters, **optimizer.defaults}]
    return optimizer


WRAPPERS = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"epoch": 3, "state_dict": s, "best_loss": np.float64(0.5)},
    "model": lambda s: {"model": s},
    "SAM-Med3D training": lambda s: {
        "model_state_dict": s,
        "args": argparse.Namespace(lr=1e-4, gpus=[0, 1]),
        "losses": [np.float32(1), 0.5],
        "dices": np.arange(3.0),
        "lr_scheduler_state_dict": {"milestones": collections.Counter([1, 2])},
    },
    "nnU-Net v2": lambda s: {"network_weights": s, "logging": {"ema": [np.float64(1)]}},
    "DDP": lambda s: {"module." + name: tensor for name, tensor in s.items()},
    "DDP inside": lambda s: {"state_dict": {"module." + n: t for n, t in s.items()}},
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_taken_off(state, tmp_path, wrapper, zipped):
    path = tmp_path / "any.pth"
    torch.save(WRAPPERS[wrapper](state), path, _use_new_zipfile_serialization=zipped)
    got = read_checkpoint(path)
    assert list(got) == list(state)
    assert all(torch.equal(got[name], state[name]) for name in state)


def test_an_optimiser_object_beside_the_weights_is_passed_over(state, tmp_path):
    path = tmp_path / "with_optimiser.pth"
    optimizer = adam_after_a_step(list(build_network("one").parameters()))
    torch.save({"model": state, "optimizer": optimizer}, path)
    assert list(read_checkpoint(path)) == list(state)


def test_scalars_pickled_by_an_older_numpy_are_passed_over(state, tmp_path):
    new, old = tmp_path / "new.pth", tmp_path / "old.pth"
    torch.save({"state_dict": state, "x": np.float64(1)}, new, _use_new_zipfile_serialization=False)
    old.write_bytes(new.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert list(read_checkpoint(old)) == list(state)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(state, tmp_path, zipped):
    path, made = tmp_path / "bad.pth", tmp_path / "made"
    torch.save(
        {"state_dict": state, "x": Payload(made)}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(WeightsError, match=r"refused: it carries \w+\.mkdir"):
        WeightsStore().import_checkpoint(path)
    assert not made.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_bare_malicious_pickle_is_refused_and_not_run(home, tmp_path, protocol):
    path, made = tmp_path / "bad.pth", tmp_path / "made"
    path.write_bytes(pickle.dumps(Payload(made), protocol=protocol))
    with pytest.raises(WeightsError, match="refused"):
        read_checkpoint(path)
    assert not made.exists()


def test_a_whole_pickled_network_is_refused(home, tmp_path):
    path = tmp_path / "network.pth"
    torch.save(build_network("one"), path)
    with pytest.raises(WeightsError, match="code and not weights"):
        read_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_said_to_be_one(state, tmp_path, kind, kept):
    path = tmp_path / f"cut.{kind}"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: kept if kept >= 5 or kept == 0 else int(kept * len(data))])
    with pytest.raises(WeightsError, match="cut short"):
        read_checkpoint(path)


def test_a_file_without_weights_is_said_to_be_one(home, tmp_path):
    path = tmp_path / "numbers.pth"
    torch.save({"epoch": 3, "history": [1, 2]}, path)
    with pytest.raises(WeightsError, match="holds no network weights"):
        read_checkpoint(path)


def test_an_import_is_recognised_by_its_tensors(state, add_card, tmp_path):
    add_card("a", network="one")
    add_card("b", network="two")
    path = tmp_path / "downloaded (1).bin"
    torch.save({"model_state_dict": state}, path)
    info = WeightsStore().import_checkpoint(path)
    assert info.card.name == "a"
    assert info.stored.source == path.name
    assert not info.stored.published
    got = read_checkpoint(info.path)
    assert all(torch.equal(got[name], state[name]) for name in state)


def test_an_import_under_the_wrong_name_names_the_right_one(state, add_card, tmp_path):
    add_card("a", network="one")
    add_card("b", network="two")
    path = tmp_path / "x.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"x\.pth is a checkpoint of a, not of b"):
        WeightsStore().import_checkpoint(path, "b")


def test_a_near_miss_lists_what_differs(state, add_card, tmp_path):
    add_card("a")
    path = tmp_path / "x.pth"
    near = dict(state, extra=torch.zeros(1))
    near["0.bias"] = torch.zeros(7)
    del near["1.weight"]
    torch.save(near, path)
    with pytest.raises(WeightsError) as error:
        WeightsStore().import_checkpoint(path)
    for line in (
        "close to one",
        "1.weight: missing",
        "extra: not known",
        "0.bias: shape (7,), expected (48,)",
    ):
        assert line in str(error.value)


def test_an_unknown_checkpoint_says_what_it_begins_with(home, add_card, tmp_path):
    add_card("a")
    path = tmp_path / "x.pth"
    torch.save({"stem.conv": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=r"no model known here.*stem\.conv"):
        WeightsStore().import_checkpoint(path)


def test_models_sharing_a_network_are_told_apart(state, add_card, tmp_path):
    first, second = tmp_path / "first.pth", tmp_path / "second.pth"
    torch.save(state, first)
    torch.save({"model": state}, second)
    add_card("a", file="first.pth")
    add_card("b", file="other.pth")
    store = WeightsStore()
    assert store.import_checkpoint(first).card.name == "a"
    with pytest.raises(WeightsError, match=r"a, b; say which it is.*--name NAME"):
        store.import_checkpoint(second)
    assert store.import_checkpoint(second, "b").card.name == "b"


def test_the_published_digest_tells_a_renamed_file_apart(state, add_card, tmp_path):
    import hashlib

    path = tmp_path / "renamed.pth"
    torch.save(state, path)
    add_card("a")
    add_card("b", md5=hashlib.md5(path.read_bytes()).hexdigest())
    info = WeightsStore().import_checkpoint(path)
    assert info.card.name == "b"
    assert info.stored.published


def test_nnunet_plans_are_stored_with_the_weights(state, add_card, tmp_path):
    add_card("a")
    path = tmp_path / "small_ep4k.model"
    torch.save({"state_dict": state, "plot_stuff": [[np.float64(1)]]}, path)
    plans = {"plans": collections.OrderedDict(patch=np.array([128, 128]), base=np.int64(4), s={0})}
    (tmp_path / "small_ep4k.model.pkl").write_bytes(pickle.dumps(plans, protocol=4))
    store = WeightsStore()
    store.import_checkpoint(path)
    read = {"plans": {"patch": [128, 128], "base": 4, "s": [0]}}
    assert store.plans("a") == read
    assert store.plans("a", path) == read


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plans_are_read_as_plain_values(tmp_path, protocol):
    path = tmp_path / "plans.pkl"
    plans = {0: {"spacing": np.array([1.5, 1.5]), "n": np.float32(2), "do": True, "none": None}}
    path.write_bytes(pickle.dumps(plans, protocol=protocol))
    assert read_plans(path) == {
        "0": {"spacing": [1.5, 1.5], "n": 2.0, "do": True, "none": None},
    }


def test_malicious_plans_are_refused_and_not_run(tmp_path):
    path, made = tmp_path / "plans.pkl", tmp_path / "made"
    path.write_bytes(pickle.dumps({"plans": Payload(made)}))
    with pytest.raises(WeightsError, match=r"refused.*mkdir"):
        read_plans(path)
    assert not made.exists()


def test_damaged_plans_keep_the_import_from_storing(state, add_card, tmp_path):
    add_card("a")
    path = tmp_path / "a.model"
    torch.save(state, path)
    (tmp_path / "a.model.pkl").write_bytes(pickle.dumps({"plans": 1})[:-4])
    store = WeightsStore()
    with pytest.raises(WeightsError, match="damaged"):
        store.import_checkpoint(path)
    assert store.find("a") is None


def test_tensors_that_share_memory_are_stored(home, add_card, tmp_path):
    add_card("a")
    shared = build_network("one").state_dict()
    shared["1.bias"] = shared["0.bias"] = torch.arange(48.0)
    path = tmp_path / "a.pth"
    torch.save(shared, path)
    stored = read_checkpoint(WeightsStore().import_checkpoint(path).path)
    assert torch.equal(stored["1.bias"], stored["0.bias"])
