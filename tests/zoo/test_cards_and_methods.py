"""The shipped cards are usable, and methods say what stands between them and a click."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import openmedlab
from openmedlab.core import InputError
from openmedlab.core.prompts import KINDS
from openmedlab.zoo import (
    NETWORKS,
    WeightsError,
    WeightsStore,
    build_network,
    cards,
    methods,
    promptable,
    read_card,
)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path))
    return cards()


def test_shipped_cards_are_complete(shipped):
    assert {"sam-med3d", "sam-med2d", "sam-vit-b", "sam-vit-l", "sam-vit-h", "medsam"} <= set(
        shipped
    )
    for name, card in shipped.items():
        assert card.name == name
        assert card.network in NETWORKS
        assert set(card.prompts) <= set(KINDS)
        assert card.licence_url.startswith("https://")
        assert all((card.title, card.licence, card.citation, card.memory))
        for file in card.files:
            assert file.page.startswith("https://")
            assert not file.url or file.url.startswith("https://")
            assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256)
            assert re.fullmatch(r"([0-9a-f]{32})?", file.md5)


def test_a_sites_card_replaces_the_shipped_one(shipped, tmp_path):
    (tmp_path / "cards").mkdir()
    room = Path(openmedlab.__path__[0]) / "sam_med3d"
    text = (room / "cards" / "sam_med3d.toml").read_text()
    (tmp_path / "cards" / "x.toml").write_text(text.replace("huggingface.co", "mirror.example"))
    assert cards()["sam-med3d"].files[0].url.startswith("https://mirror.example/")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "readable model card"),
        ('name = "a"', "complete model card"),
        ('colour = "red"', "no model card has: colour"),
        ("files = [{size = 3}]", "complete model card"),
    ],
)
def test_a_wrong_card_names_its_file(tmp_path, text, told):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"wrong\.toml.*{told}"):
        read_card(path)


def test_methods_say_what_they_wait_for(add_card, monkeypatch):
    add_card("a", about=402_000_000, url="https://example.org/a")
    add_card("b", page="https://example.org")
    offered = methods()
    assert list(offered) == ["builtin", "openmedlab-click", "a", "b"]
    assert offered["builtin"].state == "ready"
    assert (offered["a"].state, offered["a"].detail) == ("needs weights", "402 MB, MIT")
    assert "download by hand" in offered["b"].detail
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert methods()["a"].state == "needs torch"
    assert methods()["builtin"].state == "ready"
    assert methods()["openmedlab-click"].state == "needs torch"


def test_a_promptable_carries_exactly_the_weights_given(add_card, tmp_path):
    add_card("a")
    network = build_network("one")
    path = tmp_path / "mine.pth"
    torch.save({"model": network.state_dict()}, path)
    made = promptable("a", path, "cpu")
    for name, tensor in network.state_dict().items():
        assert torch.equal(made.network.state_dict()[name], tensor)
    assert made.device == "cpu"
    torch.save({"model": build_network("one").state_dict()}, path)
    assert promptable("a", path).version != made.version


def test_a_promptable_becomes_ready_with_its_weights(add_card, tmp_path):
    add_card("a", url="https://example.org/a")
    with pytest.raises(WeightsError, match="models fetch a"):
        promptable("a")
    path = tmp_path / "a.pth"
    torch.save(build_network("one").state_dict(), path)
    WeightsStore().import_checkpoint(path)
    assert methods()["a"].state == "ready"
    assert methods()["a"].method.make().network is not None


def test_weights_that_do_not_fit_are_listed_and_not_loaded(add_card, tmp_path):
    add_card("a")
    path = tmp_path / "a.pth"
    state = build_network("one").state_dict()
    torch.save({k: v for k, v in state.items() if k != "0.bias"}, path)
    with pytest.raises(WeightsError, match=r"does not fit a: 0\.bias: missing"):
        promptable("a", path)


def test_the_builtin_method_needs_nothing(home):
    assert promptable("builtin").name == "builtin"


def test_an_unknown_network_lists_the_known_ones(home):
    with pytest.raises(InputError, match="known: one, two"):
        build_network("three")


def test_importing_the_zoo_imports_no_torch():
    code = (
        "import sys, openmedlab.zoo, openmedlab.zoo.conformance; openmedlab.zoo.methods(); "
        "print([m for m in ('torch', 'monai', 'napari', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
