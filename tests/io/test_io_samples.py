"""Where samples are looked for, and what happens without them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from openmedlab.core import Geometry
from openmedlab.io import (
    SampleUnavailable,
    phantom,
    sample,
    sample_names,
    sample_or_phantom,
    write_labels,
    write_volume,
)
from openmedlab.io.samples import _registry

REGISTERED = "ct_abdpelvis_ts"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch) -> Path:
    """No samples folder, an empty cache and no network; returns the cache."""
    import platformdirs
    import requests

    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.ConnectionError("no network")

    monkeypatch.delenv("OPENMEDLAB_SAMPLES", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(requests.Session, "request", refuse)
    return tmp_path / "cache"


def test_registry_is_pinned() -> None:
    assert 3 <= len(_registry()) <= 6
    for card in _registry().values():
        for part in ("image", "labels"):
            assert re.search(r"/[0-9a-f]{40}/", card[part]["url"]), "an address at a commit"
            assert re.fullmatch(r"[0-9a-f]{64}", card[part]["sha256"])
        assert card["licence"]
        assert card["names"]


@pytest.mark.parametrize("layout", ["ct", "."])
def test_the_named_folder_comes_first(tmp_path: Path, monkeypatch, layout: str) -> None:
    volume, labels = phantom((6, 8, 10))
    folder = tmp_path / layout / REGISTERED
    write_volume(volume, folder / "image.nii.gz")
    write_labels(labels, folder / "labels.nii.gz")
    write_volume(volume, tmp_path / layout / "mine" / "image.nii.gz")
    write_labels(labels, tmp_path / layout / "mine" / "labels.nii.gz")
    monkeypatch.setenv("OPENMEDLAB_SAMPLES", str(tmp_path))
    image, truth = sample(REGISTERED)
    assert image.name == REGISTERED
    np.testing.assert_array_equal(image.read(), volume.read())
    np.testing.assert_array_equal(truth.array, labels.array)
    assert "mine" in sample_names()


def test_offline_falls_back_to_the_phantom(offline: Path) -> None:
    with pytest.raises(SampleUnavailable, match="cannot be downloaded now"):
        sample(REGISTERED)
    image, _, message = sample_or_phantom(REGISTERED)
    assert image.name == "phantom"
    assert message.endswith("The built-in phantom is used instead.")


def test_unknown_names_list_the_known_ones(offline: Path) -> None:
    with pytest.raises(SampleUnavailable, match=f"choose one of {REGISTERED}"):
        sample("ct_of_my_cat")


def test_the_cache_is_used(offline: Path, monkeypatch) -> None:
    import hashlib

    volume, labels = phantom((6, 8, 10))
    folder = offline / "samples" / REGISTERED
    paths = {
        "image": write_volume(volume, folder / "image.nii.gz"),
        "labels": write_labels(labels, folder / "labels.nii.gz"),
    }
    card = dict(_registry()[REGISTERED])
    for part, path in paths.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        card[part] = {**card[part], "sha256": digest}
    monkeypatch.setattr("openmedlab.io.samples._registry", lambda: {REGISTERED: card})
    image, truth = sample(REGISTERED)
    assert image.modality == "CT"
    assert truth.labels[5].name == "liver"
    assert image.geometry == volume.geometry


def test_real_samples() -> None:
    if not os.environ.get("OPENMEDLAB_SAMPLES"):
        pytest.skip("OPENMEDLAB_SAMPLES names no folder of real samples")
    for name in _registry():
        image, truth = sample(name)
        assert isinstance(image.geometry, Geometry)
        assert image.geometry.almost_equal(truth.geometry, 1e-3)
        assert set(np.unique(truth.array)) - {0} <= set(truth.labels)
        assert image.modality in ("CT", "MR")
