"""Fine-tuning of Axon-Small on users' cubes, labelled by hand or by the paper's recipe."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from openmedlab.axons.methods import BUNDLED
from openmedlab.axons.small_net import AxonSmall, GreyScale, load
from openmedlab.axons.statistics import VolumeStatistics, measure_blocks
from openmedlab.axons.trainer import Cube, Settings, Trainer
from openmedlab.axonseg.annotate import cut_mix, fine_label, match_histogram, rough_label
from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.zoo.checkpoint import write_safetensors

Array = npt.NDArray[Any]

LABELS = ("_label", "_fine", "_rough")
IMAGE, ARTEFACT = "_image", "_artefact"
SMALLEST_SIDE = 16
HELD_OUT = 0.25
PATIENCE = 8
RATE = 5e-4


@dataclass(frozen=True, eq=False)
class UserCube:
    """A cube of a user's data.

    Attributes
    ----------
    name
        For messages.
    image
        Grey values (z, y, x).
    label
        Not 0 inside axons, same shape; all 0 for a cube of artefacts without axons.
    """

    name: str
    image: Array
    label: Array

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or min(self.image.shape) < SMALLEST_SIDE:
            raise InputError(
                f"{self.name} has the shape {self.image.shape}; a training cube is three-"
                f"dimensional with at least {SMALLEST_SIDE} voxels a side."
            )
        if self.image.shape != self.label.shape:
            raise InputError(
                f"{self.name}: image {self.image.shape} and label {self.label.shape} differ in "
                "shape; give the label of the same cube."
            )

    @property
    def is_artefact(self) -> bool:
        """Whether it shows no axon."""
        return not self.label.any()


def read_cubes(folder: Path) -> list[UserCube]:
    """Return the training cubes of a folder, by what their file names end in.

    ``NAME_image`` is a cube; its label is ``NAME_label`` or ``NAME_fine`` as it is, else the
    fine label of ``NAME_rough``, else one made from the image by the paper's recipe.
    ``NAME_artefact`` is a cube without axons. Any image format goes (.tif, .nii.gz, .nrrd ...).

    Raises
    ------
    InputError
        The folder holds no such files, or one of them cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of the training cubes.")
    files = {path.name.split(".")[0]: path for path in sorted(folder.iterdir())}
    cubes = [_labelled(files, name) for name in files if name.endswith(IMAGE)]
    for name in (name for name in files if name.endswith(ARTEFACT)):
        image = _read(files[name])
        cubes.append(UserCube(name, image, np.zeros(image.shape, bool)))
    if not cubes:
        raise InputError(
            f"{folder} holds no training cubes; name them NAME_image.tif with NAME_label.tif, and "
            "NAME_artefact.tif without label."
        )
    return cubes


def _labelled(files: dict[str, Path], name: str) -> UserCube:
    image, stem = _read(files[name]), name.removesuffix(IMAGE)
    for ending in LABELS:
        if path := files.get(stem + ending):
            label = _read(path) > 0
            return UserCube(name, image, fine_label(label) if ending == "_rough" else label)
    return UserCube(name, image, annotated(image))


def _read(path: Path) -> Array:
    from openmedlab.io.checks import GeometryWarning
    from openmedlab.io.lazy import open_volume

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeometryWarning)
        return np.asarray(open_volume(path).read())


def annotated(image: Array) -> npt.NDArray[np.bool_]:
    """Return the automatic fine label of a cube: high pass, threshold, skeleton, one wider."""
    return fine_label(rough_label(image))


def train(
    cubes: Sequence[UserCube],
    out: Path,
    start: str | Path | None = "axon-small",
    epochs: int = 30,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    statistics: VolumeStatistics | None = None,
) -> Path:
    """Fine-tune Axon-Small and return its new weights, for ``axons segment --weights``.

    The last quarter of every cube along its longest axis is kept for validation; training
    stops early when that gets no better, and the best weights are kept. Started again with
    the same cubes and settings, it goes on from its last checkpoint.

    Parameters
    ----------
    cubes
        What to learn from, e.g. from `read_cubes`.
    out
        Folder of ``weights.safetensors`` and of the checkpoint.
    start
        ``"axon-small"`` for the bundled weights, a weights file, or None to begin anew.
    epochs
        How often every voxel is seen, at most.
    statistics
        Of the volume that the cubes were cut from; without it those of all cubes count.

    Raises
    ------
    InputError
        There is no cube with axons, or ``out`` holds a training with other settings.
    WeightsError
        ``start`` does not fit.
    Cancelled
        ``cancel`` was raised; the work so far is in ``out``.
    """
    if not any(not cube.is_artefact for cube in cubes):
        raise InputError("No training cube has axons in its label; give at least one that has.")
    if epochs < 1:
        raise InputError(f"{epochs} epochs train nothing; give 1 or more.")
    images = (cube.image for cube in cubes)
    scale = GreyScale.of(statistics or measure_blocks(images))
    training, validation = _prepared(cubes, scale)
    settings = _settings(training, epochs, bool(validation))
    torch.manual_seed(settings.seed)
    trainer = Trainer(_network(start), training, validation, settings, out)
    trainer.run(progress or Progress(), cancel or CancelToken())
    weights = out / "weights.safetensors"
    names = ", ".join(cube.name for cube in cubes)
    note = {"fine_tuned_on": names, "grey_scale": json.dumps(asdict(scale))}
    write_safetensors(trainer.best, weights, {"name": "axon-small", **note})
    return weights


def _network(start: str | Path | None) -> AxonSmall:
    if start is None:
        return AxonSmall()
    return load(BUNDLED if start == "axon-small" else Path(start))


def _settings(cubes: Sequence[Cube], epochs: int, validated: bool) -> Settings:
    base = Settings()
    side = min(base.side, max(min(c.image.shape) for c in cubes) // 4 * 4)
    voxels = sum(c.image.size for c in cubes)
    check = max(5, math.ceil(voxels / (base.batch * side**3)))
    patience = PATIENCE if validated else epochs + 1
    return replace(base, steps=epochs * check, rate=RATE, side=side, check=check, patience=patience)


def _prepared(cubes: Sequence[UserCube], scale: GreyScale) -> tuple[list[Cube], list[Cube]]:
    """Return the parts to train on, cut-mixed ones among them, and those to validate on."""
    parts = [_split(cube) for cube in cubes]
    training = [first for first, _ in parts]
    training += _mixed(training)
    validation = [second for _, second in parts if second is not None]
    return [_scaled(c, scale) for c in training], [_scaled(c, scale) for c in validation]


def _scaled(cube: UserCube, scale: GreyScale) -> Cube:
    return Cube(scale(cube.image), (cube.label > 0).astype(np.uint8))


def _split(cube: UserCube) -> tuple[UserCube, UserCube | None]:
    """Return the part to train on and, where the cube is long enough, that to validate on."""
    axis = int(np.argmax(cube.image.shape))
    length = cube.image.shape[axis]
    kept = round(length * (1 - HELD_OUT))
    if length - kept < SMALLEST_SIDE:
        return cube, None
    first, second = (
        UserCube(cube.name, *(np.take(a, places, axis) for a in (cube.image, cube.label)))
        for places in (range(kept), range(kept, length))
    )
    return first, second


def _mixed(cubes: Sequence[UserCube]) -> list[UserCube]:
    """Return every axon cube with a corner of an artefact cube, grey values matched to it."""
    artefacts = [cube for cube in cubes if cube.is_artefact]
    mixed = []
    for number, cube in enumerate(c for c in cubes if not c.is_artefact):
        if not artefacts:
            break
        random = np.random.default_rng((7, number))
        other = artefacts[int(random.integers(len(artefacts)))]
        matched = match_histogram(other.image, cube.image)
        image, label = cut_mix(random, (cube.image, cube.label), matched)
        mixed.append(UserCube(f"{cube.name} with {other.name}", image, label))
    return mixed
