"""``openmedlab demo``: six extreme points on a CT become a mask, in napari off-screen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmedlab.cli.console import result, say

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from openmedlab.core import ExtremePoints, LabelVolume, LogitsPatch, Timings, Volume
    from openmedlab.core.contracts import PromptList

PHANTOM = "phantom"
LOCAL_SAMPLE = "ct_abdomen_crlm_1004"
PUBLIC_SAMPLE = "ct_abdpelvis_ts"


@dataclass(frozen=True, eq=False)
class Case:
    """A scan, the organ to find, and the six points an annotator would click."""

    volume: Volume
    organ: str
    truth: npt.NDArray[np.bool_]
    prompt: ExtremePoints


@dataclass(frozen=True, eq=False)
class Found:
    """What the clicks gave: a labelmap, and how it was made."""

    labels: LabelVolume
    number: int
    prompts: PromptList
    patch: LogitsPatch
    version: str
    timings: Timings


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for what is made.")] = Path(
        "demo"
    ),
    viewer: Annotated[
        bool, typer.Option(help="Click in napari on a virtual screen, and take a picture.")
    ] = True,
    slicer: Annotated[
        bool, typer.Option(help="Draw 3D Slicer's scene and views in place of napari.")
    ] = False,
    sample: Annotated[
        str | None, typer.Option(help="Which sample; see: openmedlab samples.")
    ] = None,
    organ: Annotated[str, typer.Option(help="Which structure of it.")] = "kidney_left",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Segment an organ of a sample CT from six clicks, and compare with its label.

    Uses the built-in method on a real CT where one can be had, else on a phantom.
    """
    case = _case(*_sample(sample), organ)
    out.mkdir(parents=True, exist_ok=True)
    if slicer:
        from openmedlab.cli.demo_slicer import segment_in_slicer

        found = segment_in_slicer(case, out / "screenshot.png")
    elif viewer:
        from openmedlab.cli.demo_viewer import click_in_napari

        found = click_in_napari(case, out / "screenshot.png")
    else:
        found = segment_case(case)
    record = _write(case, found, out)
    if viewer or slicer:
        record["screenshot"] = str(out / "screenshot.png")
    seconds = found.timings.to_json()
    times = " | ".join(f"{name} {1000 * value:.0f} ms" for name, value in seconds.items())
    files = "\n".join(record[k] for k in ("mask", "screenshot", "manifest") if k in record)
    text = f"{case.organ} of {case.volume.name}, {found.patch.method}, six extreme points"
    result(record, f"{text}\n{times}\n{files}\nDice {record['dice']:.2f}", as_json)


def _sample(name: str | None) -> tuple[Volume, LabelVolume]:
    """Return the sample asked for; without a wish a real CT, else the phantom."""
    from openmedlab.io import phantom, sample, sample_names, sample_or_phantom

    if name is not None:
        return phantom() if name == PHANTOM else sample(name)
    if LOCAL_SAMPLE in sample_names():
        return sample(LOCAL_SAMPLE)
    volume, labels, note = sample_or_phantom(PUBLIC_SAMPLE)
    if note:
        say(note)
    return volume, labels


def _case(volume: Volume, labels: LabelVolume, organ: str) -> Case:
    from openmedlab.core import InputError
    from openmedlab.evaluation.simulate import extreme_points

    numbers = {label.name: number for number, label in labels.labels.items()}
    if organ not in numbers:
        raise InputError(
            f"{volume.name} has no {organ!r}; choose one of {', '.join(sorted(numbers))}."
        )
    truth = labels.array == numbers[organ]
    return Case(volume, organ, truth, extreme_points(truth))


def segment_case(case: Case) -> Found:
    """Segment without a viewer."""
    from openmedlab.cli.console import interruptible, progress
    from openmedlab.core import Session
    from openmedlab.engine import answer_prompts
    from openmedlab.zoo import promptable

    session = Session(case.volume)
    number = session.add_object(case.organ).number
    session.set_prompts(number, [case.prompt])
    model = promptable("builtin")
    with progress("Segmenting") as report, interruptible() as cancel:
        model.warm_up()
        patch = answer_prompts(
            model, case.volume, session.model_prompts(number), progress=report, cancel=cancel
        )
    with report.stage("write"):
        session.commit(number, patch)
    return Found(
        session.labels(model.name),
        number,
        session.prompts(number),
        patch,
        model.version,
        report.timings,
    )


def _write(case: Case, found: Found, out: Path) -> dict[str, Any]:
    """Write mask and manifest; return what is worth knowing."""
    from openmedlab.engine import manifest, write_manifest
    from openmedlab.evaluation.metrics import dice
    from openmedlab.io import write_labels

    mask = write_labels(found.labels, out / "mask.nii.gz", image=case.volume)
    made = found.labels.array == found.number
    score = dice(made, case.truth)
    record = manifest(
        case.volume,
        method=found.patch.method,
        method_version=found.version,
        prompts={case.organ: found.prompts},
        timings=found.timings,
        parameters={"given": list(found.patch.given), "dice": score},
    )
    return {
        "sample": case.volume.name,
        "organ": case.organ,
        "method": found.patch.method,
        "dice": score,
        "voxels": int(made.sum()),
        "seconds": found.timings.to_json(),
        "mask": str(mask),
        "manifest": str(write_manifest(record, mask)),
    }
