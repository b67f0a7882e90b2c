"""Real sample volumes: a folder named by ``OPENMEDLAB_SAMPLES``, the cache, the published place."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from openmedlab.core.errors import InputError
from openmedlab.core.volume import Label, LabelVolume, Volume
from openmedlab.io.note import modality
from openmedlab.io.phantom import phantom
from openmedlab.io.read import read_labels, read_volume

FOLDER_VARIABLE = "OPENMEDLAB_SAMPLES"
_TIMEOUT_S = 20


class SampleUnavailable(InputError):  # noqa: N818 - names the state
    """The sample is neither here nor to be had now; the text says why."""


def sample_names() -> tuple[str, ...]:
    """Names `sample` takes: those of the registry, then others in the samples folder."""
    names = list(_registry())
    for root in _roots():
        names += sorted(p.parent.name for p in root.glob("*/labels.nii.gz"))
    return tuple(dict.fromkeys(names))


def sample(name: str) -> tuple[Volume, LabelVolume]:
    """Return a real volume and its reference labels.

    Looked up in the folder that ``OPENMEDLAB_SAMPLES`` names (``ct/NAME/image.nii.gz``,
    ``labels.nii.gz``, ``meta.json``), then in the user's cache, then downloaded from the
    pinned address and checked against its sha256.

    Raises
    ------
    SampleUnavailable
        No such sample, no network, or the bytes are not those pinned.
    """
    for root in _roots():
        folder = root / name
        if (folder / "image.nii.gz").is_file() and (folder / "labels.nii.gz").is_file():
            image = replace(read_volume(folder / "image.nii.gz"), name=name)
            return image, replace(read_labels(folder / "labels.nii.gz"), name=f"{name} labels")
    card = _registry().get(name)
    if card is None:
        known = ", ".join(sample_names())
        raise SampleUnavailable(f"There is no sample {name!r}; choose one of {known}.")
    image = read_volume(_fetched(name, "image", card["image"]))
    labels = read_labels(_fetched(name, "labels", card["labels"]))
    meaning = {int(k): Label(v) for k, v in card["names"].items()}
    return (
        replace(image, name=name, modality=modality(card["modality"])),
        replace(labels, name=f"{name} labels", labels=meaning),
    )


def sample_or_phantom(name: str) -> tuple[Volume, LabelVolume, str]:
    """Return `sample`, or the phantom when it is unavailable.

    The third value is empty for the real sample, else one sentence for the user.
    """
    try:
        return (*sample(name), "")
    except SampleUnavailable as reason:
        return (*phantom(), f"{reason} The built-in phantom is used instead.")


@cache
def _registry() -> Mapping[str, Any]:
    text = Path(__file__).with_name("samples.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _roots() -> list[Path]:
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        return []
    folder = Path(named).expanduser()
    return [p for p in (folder / "ct", folder) if p.is_dir()]


def _fetched(name: str, part: str, file: Mapping[str, str]) -> Path:
    import platformdirs
    import pooch

    folder = platformdirs.user_cache_path("openmedlab", appauthor=False) / "samples" / name
    ending = ".nrrd" if file["url"].endswith(".nrrd") else ".nii.gz"
    pooch.get_logger().setLevel("ERROR")
    try:
        found = pooch.retrieve(
            file["url"],
            f"sha256:{file['sha256']}",
            fname=part + ending,
            path=folder,
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_S),
        )
    except OSError as error:
        raise SampleUnavailable(
            f"Sample {name!r} is not in the cache and cannot be downloaded now (no network?); "
            f"set {FOLDER_VARIABLE} to a folder that holds it."
        ) from error
    except ValueError as error:
        raise SampleUnavailable(
            f"Sample {name!r} was downloaded but is not the file that was pinned; it was not used."
        ) from error
    return Path(found)
