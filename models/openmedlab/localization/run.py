"""One scan: organs localised, masks made, pictures drawn, results written; picked up again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from openmedlab.core import (
    CancelToken,
    Label,
    LabelVolume,
    Localization,
    Localizer,
    LogitsPatch,
    OpenMedLabError,
    Progress,
    Promptable,
    Volume,
)
from openmedlab.engine import answer_prompts, manifest, write_manifest
from openmedlab.engine.manifest import fingerprint, made_for
from openmedlab.io import read_volume, write_labels
from openmedlab.io.atomic import replacing
from openmedlab.labeling.statistics import label_statistics
from openmedlab.labeling.warnings import label_warnings
from openmedlab.localization.fit import require_fit
from openmedlab.localization.methods import LocalizerChoice, PromptableChoice
from openmedlab.localization.organs import organ_label
from openmedlab.localization.pictures import jpeg, organ_picture
from openmedlab.localization.result import OrganResult, ScanResult
from openmedlab.localization.templates import TemplateLibrary

PICTURES = "pictures"


@dataclass(frozen=True)
class Task:
    """What is to be found with what; plain values, so that it travels to a worker.

    Attributes
    ----------
    library
        Folder of templates.
    organs
        Which of its organs.
    localizer, method
        What finds boxes, and what makes masks of them; no masks for None.
    without
        Templates that are left out.
    state
        `library_state` of the templates used; results of another state are made anew.
    ending
        Of the labelmaps.
    """

    library: Path
    organs: tuple[str, ...]
    localizer: LocalizerChoice
    method: PromptableChoice | None = None
    without: tuple[str, ...] = ()
    state: str = ""
    ending: str = ".nii.gz"


@dataclass(frozen=True)
class ScanJob:
    """One scan of a cohort; ``name`` is its place below ``out``."""

    image: Path
    name: Path
    out: Path
    task: Task

    @property
    def boxes(self) -> Path:
        """The result file."""
        return self.out / self.name.with_name(f"{self.name.name}_boxes.json")

    @property
    def labels(self) -> Path:
        """The labelmap file."""
        return self.out / self.name.with_name(f"{self.name.name}_labels{self.task.ending}")

    def picture(self, organ: str) -> str:
        """Return a picture's place below ``out``."""
        word = organ.replace("/", "_")
        return (Path(PICTURES) / self.name.parent / f"{self.name.name}_{word}.jpg").as_posix()


@dataclass(frozen=True, eq=False)
class Tools:
    """What a task needs at work."""

    library: TemplateLibrary
    localizer: Localizer
    promptable: Promptable | None


@lru_cache(maxsize=1)
def tools(task: Task) -> Tools:
    """Return the tools of a task, kept for the next scan."""
    library = TemplateLibrary(task.library, task.organs, task.without)
    promptable = task.method.make() if task.method is not None else None
    return Tools(library, task.localizer.make(), promptable)


def library_state(library: TemplateLibrary) -> str:
    """Return a word that changes with the templates."""
    digest = hashlib.blake2b(digest_size=12)
    for template in library.templates:
        digest.update(f"{template.organ} {template.code} {template.scan}".encode())
        digest.update(template.points.tobytes() + template.parts.tobytes())
    return digest.hexdigest()


def do_scan(job: ScanJob, cancel: CancelToken | None = None) -> ScanResult:
    """Do one scan, or take what an earlier run made of it.

    Raises
    ------
    InputError
        The image cannot be read, is empty, or is another kind than the templates' scans.
    """
    cancel = cancel or CancelToken()
    used = tools(job.task)
    request = _request(job, used)
    main = job.labels if used.promptable is not None else job.boxes
    if job.boxes.exists() and made_for(main, request):
        return ScanResult.read(job.boxes).again()
    progress = Progress()
    with progress.stage("prepare"):
        volume = read_volume(job.image)
        require_fit(volume, {t.volume.modality for t in used.library.templates})
    organs = locate(volume, used.library, used.localizer, progress, cancel)
    localize_s = progress.timings.infer
    patches: dict[str, LogitsPatch] = {}
    if used.promptable is not None:
        organs, patches = _with_masks(volume, organs, used, progress, cancel)
    with progress.stage("write"):
        organs = _draw(job, volume, organs, patches)
        if used.promptable is not None:
            organs = _write_labels(job, volume, organs, patches, used.promptable)
        output = job.labels if used.promptable is not None else None
        method = _method(used)
        result = ScanResult(
            job.image, job.name.as_posix(), tuple(organs), output, localize_s, method
        )
        result.write(job.boxes)
    _write_record(main, volume, result, used, request, progress)
    return result


def locate(
    volume: Volume,
    library: TemplateLibrary,
    localizer: Localizer,
    progress: Progress,
    cancel: CancelToken,
) -> list[OrganResult]:
    """Return where the library's organs lie in ``volume``, in alphabetical order."""
    with progress.stage("infer"):
        found = localizer.localize(library, volume, progress, cancel)
    cancel.check()
    return [_result(name, library, found.get(name), volume) for name in library.organs]


def _result(
    organ: str, library: TemplateLibrary, found: Localization | None, volume: Volume
) -> OrganResult:
    code = next((t.code for t in library.of(organ) if t.code), organ_label(organ).code)
    if found is None:
        return OrganResult(organ, code, note="The localizer did not find it in this scan.")
    return OrganResult.of(organ, code, found.points, found.confidence, volume.geometry)


def _with_masks(
    volume: Volume,
    organs: list[OrganResult],
    used: Tools,
    progress: Progress,
    cancel: CancelToken,
) -> tuple[list[OrganResult], dict[str, LogitsPatch]]:
    """Make the masks; an organ whose mask fails is told, the others go on."""
    assert used.promptable is not None
    patches: dict[str, LogitsPatch] = {}
    done = []
    for organ in organs:
        started = time.perf_counter()
        note, status = organ.note, organ.status
        if organ.points:
            try:
                patches[organ.organ] = answer_prompts(
                    used.promptable,
                    volume,
                    [organ.extreme_points.box],
                    progress=progress,
                    cancel=cancel,
                )
            except OpenMedLabError as error:
                note, status = str(error), "failed"
        seconds = time.perf_counter() - started if organ.points else 0.0
        done.append(replace(organ, note=note, status=status, mask_s=seconds))
    return done, patches


def merge(volume: Volume, patches: Mapping[int, LogitsPatch]) -> np.ndarray[Any, Any]:
    """Return one labelmap (z, y, x) of masks by number; the larger logit wins a voxel."""
    labels = np.zeros(volume.shape, np.uint8 if max(patches, default=0) < 256 else np.uint16)
    best = np.zeros(volume.shape, np.float32)
    for number, patch in patches.items():
        area = patch.region.slices
        wins = patch.logits > best[area]
        best[area][wins] = patch.logits[wins]
        labels[area][wins] = number
    return labels


def _draw(
    job: ScanJob,
    volume: Volume,
    organs: list[OrganResult],
    patches: Mapping[str, LogitsPatch],
) -> list[OrganResult]:
    drawn = []
    for organ in organs:
        if not organ.points:
            drawn.append(organ)
            continue
        picture = organ_picture(
            volume,
            organ.extreme_points,
            low=organ.status != "found",
            patch=patches.get(organ.organ),
        )
        place = job.picture(organ.organ)
        with replacing(job.out / place) as partial:
            partial.write_bytes(jpeg(picture))
        drawn.append(replace(organ, picture=place))
    return drawn


def _write_labels(
    job: ScanJob,
    volume: Volume,
    organs: list[OrganResult],
    patches: Mapping[str, LogitsPatch],
    promptable: Promptable,
) -> list[OrganResult]:
    """Write the labelmap; return the organs with their volumes and what is odd about them."""
    meaning: dict[int, Label] = {
        number: organ_label(organ.organ, organ.code, number)
        for number, organ in enumerate(organs, 1)
    }
    by_number = {n: patches[m.name] for n, m in meaning.items() if m.name in patches}
    labels = LabelVolume(
        merge(volume, by_number), volume.geometry, meaning, volume.name, promptable.name
    )
    write_labels(labels, job.labels, image=volume)
    rows = label_statistics(labels, volume)
    volumes = {row.name: row.ml for row in rows}
    odd = {w.name: w.text for w in label_warnings(rows, labels)}
    return [
        replace(
            organ,
            mask_ml=volumes.get(organ.organ, 0.0),
            note=" ".join(text for text in (organ.note, odd.get(organ.organ, "")) if text),
        )
        for organ in organs
    ]


def _method(used: Tools) -> str:
    masks_by = f", masks by {used.promptable.name}" if used.promptable is not None else ""
    scans = len({t.scan for t in used.library.templates})
    return f"Boxes by {used.localizer.name} from templates on {scans} scan(s){masks_by}"


def _request(job: ScanJob, used: Tools) -> dict[str, Any]:
    """What decides the result: when it is the same, the result is."""
    promptable = used.promptable
    return {
        "file": fingerprint(job.image),
        "localizer": [used.localizer.name, used.localizer.version],
        "method": None if promptable is None else [promptable.name, promptable.version],
        "templates": job.task.state,
        "organs": list(used.library.organs),
    }


def _write_record(
    main: Path,
    volume: Volume,
    result: ScanResult,
    used: Tools,
    request: dict[str, Any],
    progress: Progress,
) -> None:
    chosen = used.promptable or used.localizer
    record = manifest(
        volume,
        method=chosen.name,
        method_version=chosen.version,
        prompts={o.organ: [o.extreme_points] for o in result.organs if o.points},
        timings=progress.timings,
        parameters=request,
    )
    write_manifest(record, main)
