"""A user's labelled volumes: found in a folder, checked, and split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.core import InputError, LabelVolume, Volume
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.io.formats import by_suffix, stem

HELD_OUT = 0.25
GRID_TOLERANCE = 0.01
IMAGES, LABELS = ("_image",), ("_label", "_labels")
HOW = (
    "name them NAME_image.nii.gz and NAME_label.nii.gz, or put image.nii.gz and labels.nii.gz in "
    "a folder each, or use nnU-Net's imagesTr and labelsTr"
)


@dataclass(frozen=True)
class Pair:
    """A volume and its labels on disk.

    Attributes
    ----------
    name
        For messages, the split and the card.
    image, label
        Files or folders that `openmedlab.io` reads.
    numbers
        The labels in it, without 0.
    spacing
        Of its voxels toward superior, anterior and right.
    """

    name: str
    image: Path
    label: Path
    numbers: tuple[int, ...] = ()
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def read(self) -> tuple[Volume, LabelVolume]:
        """Read both.

        Raises
        ------
        InputError
            A file cannot be read, the labels are not whole numbers, lie on another grid, or
            there are none.
        """
        from openmedlab.io import read_labels, read_volume

        volume, labels = read_volume(self.image), read_labels(self.label)
        if not labels.geometry.almost_equal(volume.geometry, GRID_TOLERANCE):
            raise InputError(
                f"{self.label.name} lies on another grid than {self.image.name}; resample the "
                "labels onto the image."
            )
        if not labels.array.any():
            raise InputError(
                f"{self.label.name} holds no label, all of it is 0; label something in it or "
                "leave it out."
            )
        return volume, labels


@dataclass(frozen=True)
class Cohort:
    """Labelled volumes.

    Attributes
    ----------
    pairs
        By name.
    labels
        Names of all labels by number, ascending.
    """

    pairs: tuple[Pair, ...]
    labels: Mapping[int, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the volumes."""
        return tuple(pair.name for pair in self.pairs)

    def chosen(self, wanted: Sequence[str] = ()) -> dict[int, str]:
        """Return the labels to learn, by number: those named (or numbered), else all.

        Raises
        ------
        InputError
            One of them is in no volume.
        """
        if not wanted:
            return dict(self.labels)
        known = {**{str(n): n for n in self.labels}, **{v: k for k, v in self.labels.items()}}
        if lacking := [name for name in wanted if name not in known]:
            there = ", ".join(self.labels.values())
            raise InputError(f"No volume has a label {lacking[0]!r}; there are {there}.")
        numbers = {known[name] for name in wanted}
        return {n: name for n, name in self.labels.items() if n in numbers}


@dataclass(frozen=True)
class Split:
    """Which volumes are learned from and which judge.

    Attributes
    ----------
    training, validation
        Names of volumes.
    """

    training: tuple[str, ...]
    validation: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], seed: int = 0, validation: Sequence[str] = ()) -> Split:
        """Keep the named volumes for validation, else a quarter (at least one) by chance.

        Raises
        ------
        InputError
            A named volume does not exist, or none is left to learn from.
        """
        if unknown := [name for name in validation if name not in names]:
            raise InputError(
                f"There is no volume {unknown[0]!r} to validate on; there are {', '.join(names)}."
            )
        held = set(validation)
        if not held:
            order = np.random.default_rng(seed).permutation(len(names))
            held = {names[k] for k in order[: max(1, round(HELD_OUT * len(names)))]}
        training = tuple(name for name in names if name not in held)
        if not training:
            raise InputError(
                "All volumes are kept for validation and none is left to learn from; add a "
                "volume or name fewer."
            )
        return cls(training, tuple(name for name in names if name in held))


def read_cohort(
    source: Path | Iterable[tuple[Path, Path]],
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Cohort:
    """Find labelled volumes and check every one of them; nothing of them stays in memory.

    Parameters
    ----------
    source
        Pairs of image and labels, or a folder: ``NAME_image.*`` with ``NAME_label.*``,
        sub-folders with ``image.*`` and ``labels.*``, or nnU-Net's ``imagesTr`` and
        ``labelsTr``. Any format that is read elsewhere goes.

    Raises
    ------
    InputError
        Fewer than two volumes, an image without labels, or a pair that `Pair.read` refuses.
    """
    progress, cancel = progress or Progress(), cancel or CancelToken()
    given: dict[int, str] = {}
    if isinstance(source, Path):
        found, given = _in_folder(source), _dataset_names(source)
    else:
        found = _named([(Path(image), Path(label)) for image, label in source])
    if len(found) < 2:
        raise InputError(
            f"{', '.join(p.name for p in found) or 'Nothing'} is too little to fine-tune on: give "
            "two labelled volumes or more, one of them judges what was learned."
        )
    pairs, names = [], dict(given)
    for done, pair in enumerate(found):
        cancel.check()
        progress.report(done, len(found), f"checking {pair.name}")
        pairs.append(_checked(pair, names, given))
    present = sorted({n for pair in pairs for n in pair.numbers})
    return Cohort(tuple(pairs), {n: names.get(n, f"label_{n}") for n in present})


def _checked(pair: Pair, names: dict[int, str], given: Mapping[int, str]) -> Pair:
    """Return the pair with what is in it; its label names join ``names``."""
    volume, labels = pair.read()
    numbers = tuple(int(n) for n in np.unique(labels.array) if n)
    for number in numbers:
        label = labels.labels.get(number)
        if label is None or number in given:
            continue
        if names.setdefault(number, label.name) != label.name:
            raise InputError(
                f"Label {number} is called {label.name!r} in {pair.label.name} and "
                f"{names[number]!r} elsewhere; give one number one meaning."
            )
    spacing = volume.geometry.reorientation("SAR").geometry.spacing
    return replace(pair, numbers=numbers, spacing=spacing)


def _in_folder(folder: Path) -> list[Pair]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of your labelled volumes.")
    for find in (_nnunet, _by_ending, _by_folder):
        if found := find(folder):
            return found
    raise InputError(f"{folder} holds no labelled volumes; {HOW}.")


def _by_ending(folder: Path) -> list[Pair]:
    """Return the pairs NAME_image.* and NAME_label.*."""
    files = {stem(p): p for p in sorted(folder.iterdir()) if by_suffix(p) or p.is_dir()}
    pairs = []
    for ending in IMAGES:
        for name in (n.removesuffix(ending) for n in files if n.endswith(ending)):
            label = next((files[name + e] for e in LABELS if name + e in files), None)
            image = files[name + ending]
            pairs.append(_pair(name, image, label, f"{name}_label"))
    return pairs


def _by_folder(folder: Path) -> list[Pair]:
    """Return the sub-folders that hold an image and labels."""
    pairs = []
    for home in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = {stem(p): p for p in sorted(home.iterdir()) if by_suffix(p) or p.is_dir()}
        if "image" in files:
            label = files.get("labels", files.get("label"))
            pairs.append(_pair(home.name, files["image"], label, "labels"))
    return pairs


def _nnunet(folder: Path) -> list[Pair]:
    """Return the pairs of imagesTr (NAME_0000.*, one channel) and labelsTr (NAME.*)."""
    images, labels = folder / "imagesTr", folder / "labelsTr"
    if not (images.is_dir() and labels.is_dir()):
        return []
    files = {stem(p): p for p in labels.iterdir() if by_suffix(p)}
    pairs: dict[str, Pair] = {}
    for image in sorted(p for p in images.iterdir() if by_suffix(p)):
        name, _, channel = stem(image).rpartition("_")
        if not (channel.isdigit() and len(channel) == 4):
            name = stem(image)
        if name in pairs:
            raise InputError(
                f"{images} holds several channels of {name}; the networks here take one, so keep "
                "one channel."
            )
        pairs[name] = _pair(name, image, files.get(name), f"labelsTr/{name}")
    return list(pairs.values())


def _pair(name: str, image: Path, label: Path | None, wanted: str) -> Pair:
    if label is None:
        raise InputError(
            f"{image.name} has no labels: there is no {wanted}.*; add it, or take the image out of "
            "the folder."
        )
    return Pair(name, image, label)


def _named(pairs: Sequence[tuple[Path, Path]]) -> list[Pair]:
    """Return pairs named after their images, and after the folders where these are alike."""
    names = [stem(image).removesuffix("_image") for image, _ in pairs]
    if len(set(names)) < len(names):
        names = [
            f"{image.parent.name}_{name}" for (image, _), name in zip(pairs, names, strict=True)
        ]
    if len(set(names)) < len(names):
        raise InputError("Two of the volumes have the same name; rename one of them.")
    return [Pair(name, *pair) for name, pair in zip(names, pairs, strict=True)]


def _dataset_names(folder: Path) -> dict[int, str]:
    """Return the label names that nnU-Net's dataset.json gives, if there is one."""
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        listed: Any = json.loads(path.read_text(encoding="utf-8")).get("labels", {})
        pairs = ((k, v) if str(k).isdigit() else (v, k) for k, v in listed.items())
        return {int(number): str(name) for number, name in pairs if int(number)}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no readable dataset.json ({error}).") from error
