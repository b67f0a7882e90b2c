"""One scan: organs localised, masks made, pictures drawn, results written; picked up again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from openmedlab.core import (
    CancelToken,
    Label,
    Localization,
    Localizer,
    LogitsPatch,
    Progress,
    Volume,
)
from openmedlab.engine import manifest, write_manifest
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
from openmedlab.medlsam.pipeline import MedLSAM

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
    pipeline: MedLSAM | None


@lru_cache(maxsize=1)
def tools(task: Task) -> Tools:
    """Return the tools of a task, kept for the next scan."""
    library = TemplateLibrary(task.library, task.organs, task.without)
    localizer = task.localizer.make()
    pipeline = MedLSAM(localizer, task.method.make()) if task.method is not None else None
    return Tools(library, localizer, pipeline)


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
    main = job.labels if used.pipeline is not None else job.boxes
    if job.boxes.exists() and made_for(main, request):
        return ScanResult.read(job.boxes).again()
    progress = Progress()
    with progress.stage("prepare"):
        volume = read_volume(job.image)
        require_fit(volume, {t.volume.modality for t in used.library.templates})
    found = _found(volume, used, progress, cancel)
    localize_s = progress.timings.infer
    organs = [_result(name, used.library, found.get(name), volume) for name in used.library.organs]
    patches: dict[str, LogitsPatch] = {}
    if used.pipeline is not None:
        organs, patches = _with_masks(volume, organs, found, used.pipeline, progress, cancel)
    with progress.stage("write"):
        organs = _draw(job, volume, organs, patches)
        if used.pipeline is not None:
            organs = _write_labels(job, volume, organs, patches, found, used.pipeline)
        output = job.labels if used.pipeline is not None else None
        method = _method(used)
        result = ScanResult(
            job.image, job.name.as_posix(), tuple(organs), output, localize_s, method
        )
        result.write(job.boxes)
    _write_record(main, volume, result, used, request, progress)
    return result


def _found(
    volume: Volume, used: Tools, progress: Progress, cancel: CancelToken
) -> Mapping[str, Localization]:
    with progress.stage("infer"):
        found = used.localizer.localize(used.library, volume, progress, cancel)
    cancel.check()
    return found


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
    found: Mapping[str, Localization],
    pipeline: MedLSAM,
    progress: Progress,
    cancel: CancelToken,
) -> tuple[list[OrganResult], dict[str, LogitsPatch]]:
    """Make the masks; an organ whose mask fails is told, the others go on."""
    failed: dict[str, str] = {}
    started = time.perf_counter()
    patches = pipeline.segment(volume, found, progress, cancel, failed.__setitem__)
    share = (time.perf_counter() - started) / max(len(found), 1)
    done = [replace(o, mask_s=share if o.organ in found else 0.0) for o in organs]
    return [
        replace(o, status="failed", note=failed[o.organ]) if o.organ in failed else o for o in done
    ], patches


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
            organ.extreme_points.box.region,
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
    found: Mapping[str, Localization],
    pipeline: MedLSAM,
) -> list[OrganResult]:
    """Write the labelmap; return the organs with their volumes and what is odd about them."""
    meaning: dict[int, Label] = {
        number: organ_label(organ.organ, organ.code, number)
        for number, organ in enumerate(organs, 1)
    }
    merged = pipeline.merge(volume, [o.organ for o in organs], patches, found, {})
    labels = replace(merged, labels=meaning)
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
    masks_by = f", masks by {used.pipeline.promptable.name}" if used.pipeline is not None else ""
    scans = len({t.scan for t in used.library.templates})
    return f"Boxes by {used.localizer.name} from templates on {scans} scan(s){masks_by}"


def _request(job: ScanJob, used: Tools) -> dict[str, Any]:
    """What decides the result: when it is the same, the result is."""
    promptable = used.pipeline.promptable if used.pipeline is not None else None
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
    chosen = used.pipeline.promptable if used.pipeline is not None else used.localizer
    record = manifest(
        volume,
        method=chosen.name,
        method_version=chosen.version,
        prompts={o.organ: [o.extreme_points] for o in result.organs if o.points},
        timings=progress.timings,
        parameters=request,
    )
    write_manifest(record, main)
