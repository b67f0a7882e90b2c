"""Evaluate a promptable on a folder of labelled volumes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from openmedlab.core import InputError, Modality, Promptable, Volume
from openmedlab.evaluation.protocol import Case, First, Protocol, run_case
from openmedlab.evaluation.report import Report

MIN_VOXELS = 60
OnCase = Callable[[Case], None]


@dataclass(frozen=True)
class Sample:
    """A labelled volume on disk: a folder with an image, a labelmap and label names.

    Attributes
    ----------
    folder
        Holds ``image.nii.gz``, ``labels.nii.gz`` and ``meta.json``.
    name, modality
        As told by ``meta.json`` (the folder's name, where it tells none).
    labels
        Names by number.
    """

    folder: Path
    name: str
    modality: Modality
    labels: dict[int, str]


def samples_in(folder: str | os.PathLike[str]) -> list[Sample]:
    """Return the labelled volumes in the sub-folders of ``folder``, by name; skip other folders.

    Raises
    ------
    InputError
        The folder does not exist, holds no labelled volume, or a ``meta.json`` is not readable.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give one with labelled volumes to evaluate on.")
    files = ("image.nii.gz", "labels.nii.gz", "meta.json")
    homes = [d for d in sorted(root.iterdir()) if all((d / f).is_file() for f in files)]
    if not homes:
        raise InputError(f"{root} has no sub-folder with {', '.join(files)}; nothing to evaluate.")
    return [_sample(home) for home in homes]


def evaluate_folder(
    folder: str | os.PathLike[str],
    promptable: Promptable,
    clicks: int = 5,
    first: First = "box",
    jitter: float = 0.0,
    tolerance: float = 2.0,
    jobs: int = 1,
    on_case: OnCase | None = None,
) -> Report:
    """Play the protocol of interactive segmentation on every organ of every volume.

    Parameters
    ----------
    folder
        Sub-folders with ``image.nii.gz``, ``labels.nii.gz``, ``meta.json``; others are skipped.
    promptable
        The method judged; with ``jobs`` above 1 it must be picklable.
    clicks, first, jitter, tolerance
        See `Protocol`.
    jobs
        Processes to share the volumes; times per click are honest only with free cores.
    on_case
        Called with every finished case.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        The folder or a file in it cannot be used, or the protocol makes no sense.
    """
    protocol = Protocol(first, clicks, jitter, tolerance)
    found = samples_in(folder)
    promptable.warm_up()
    cases: list[Case] = []
    for batch in _batches(promptable, found, protocol, jobs):
        for case in batch:
            cases.append(case)
            if on_case is not None:
                on_case(case)
    return Report(promptable.name, protocol, tuple(cases))


def evaluate_sample(promptable: Promptable, sample: Sample, protocol: Protocol) -> Iterator[Case]:
    """Yield a case for every organ of ``sample`` with at least `MIN_VOXELS` voxels."""
    from dataclasses import replace

    from openmedlab.io import read_labels, read_volume

    image = read_volume(sample.folder / "image.nii.gz")
    volume: Volume = replace(image, modality=sample.modality, name=sample.name)
    labels = read_labels(sample.folder / "labels.nii.gz").array
    if labels.shape != volume.shape:
        raise InputError(
            f"{sample.folder}: the labels have shape {labels.shape}, the image {volume.shape}."
        )
    for number, organ in sample.labels.items():
        truth = labels == number
        if truth.sum() >= MIN_VOXELS:
            yield run_case(promptable, volume, truth, organ, protocol)


def _sample(home: Path) -> Sample:
    try:
        meta = json.loads((home / "meta.json").read_text(encoding="utf-8"))
        labels = {int(number): str(name) for number, name in meta["labels"].items()}
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f'{home / "meta.json"} must be JSON with "labels": {{"number": "name"}}; {error!r}.'
        ) from error
    return Sample(home, str(meta.get("name", home.name)), meta.get("modality", "unknown"), labels)


def _all_of(promptable: Promptable, sample: Sample, protocol: Protocol) -> list[Case]:
    return list(evaluate_sample(promptable, sample, protocol))


def _batches(
    promptable: Promptable, found: list[Sample], protocol: Protocol, jobs: int
) -> Iterator[list[Case]]:
    if jobs <= 1:
        for sample in found:
            for case in evaluate_sample(promptable, sample, protocol):
                yield [case]
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_all_of, promptable, sample, protocol) for sample in found]
        for done in waiting:
            yield done.result()
