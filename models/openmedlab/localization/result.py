"""What was found in one scan: organs, boxes, confidence; as values, JSON and CSV rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from openmedlab.core import ExtremePoints, Geometry, InputError
from openmedlab.io.atomic import replacing

LOW_CONFIDENCE = 0.5
Status = Literal["found", "low", "not found", "failed"]
COLUMNS = (
    "scan", "organ", "code", "status", "confidence",
    "z0", "y0", "x0", "z1", "y1", "x1",
    "right_mm", "left_mm", "anterior_mm", "posterior_mm", "inferior_mm", "superior_mm",
    "box_ml", "mask_ml", "localize_s", "mask_s", "note",
)  # fmt: skip


@dataclass(frozen=True)
class OrganResult:
    """One organ in one scan.

    Attributes
    ----------
    organ, code
        Name and SNOMED CT code.
    status
        ``"found"``, ``"low"`` (found with a confidence below 0.5), ``"not found"``, or
        ``"failed"`` where a box was found but no mask could be made.
    confidence
        0..1.
    points
        Six extreme points in index coordinates (z, y, x) of the scan; empty when not found.
    world
        Corners of their box in LPS millimetres: (right, left, anterior, posterior,
        inferior, superior).
    box_ml, mask_ml
        Volumes; `mask_ml` is None where no mask was asked for.
    mask_s
        Seconds that the mask took.
    note
        What deserves a look, in words.
    picture
        File name of its picture beside the result.
    """

    organ: str
    code: str = ""
    status: Status = "not found"
    confidence: float = 0.0
    points: tuple[tuple[float, ...], ...] = ()
    world: tuple[float, ...] = ()
    box_ml: float = 0.0
    mask_ml: float | None = None
    mask_s: float = 0.0
    note: str = ""
    picture: str = ""

    @classmethod
    def of(
        cls, organ: str, code: str, points: ExtremePoints, confidence: float, geometry: Geometry
    ) -> OrganResult:
        """Describe an organ that was found."""
        index = points.positions()
        low, high = index.min(0), index.max(0)
        corners = geometry.index_to_world(
            np.where(np.indices((2, 2, 2)).reshape(3, 8).T, high, low)
        )
        sides = np.stack([corners.min(0), corners.max(0)], axis=1).ravel()
        box = float(np.prod(high - low + 1)) * geometry.voxel_volume
        return cls(
            organ,
            code,
            "found" if confidence >= LOW_CONFIDENCE else "low",
            float(confidence),
            tuple(tuple(float(v) for v in p) for p in index),
            tuple(float(v) for v in sides),
            box_ml=box / (1e3 if geometry.unit == "millimeter" else 1e12),
        )

    @property
    def extreme_points(self) -> ExtremePoints:
        """The six points as a prompt."""
        return ExtremePoints(tuple((p[0], p[1], p[2]) for p in self.points))


@dataclass(frozen=True)
class ScanResult:
    """A finished scan.

    Attributes
    ----------
    image, name
        The file, and the scan's name in the cohort.
    organs
        One per organ asked for.
    output
        Labelmap file, if masks were asked for.
    localize_s
        Seconds for all organs together.
    method
        What made it, in words.
    kept
        Whether an earlier run had already made it.
    """

    image: Path
    name: str
    organs: tuple[OrganResult, ...]
    output: Path | None = None
    localize_s: float = 0.0
    method: str = ""
    kept: bool = False

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        data = asdict(self) | {"image": str(self.image)}
        data["output"] = None if self.output is None else str(self.output)
        with replacing(path) as partial:
            partial.write_text(json.dumps(data, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> ScanResult:
        """Read what `write` wrote.

        Raises
        ------
        InputError
            The file is missing or something else.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            organs = [
                OrganResult(
                    **(o | {"points": tuple(map(tuple, o["points"])), "world": tuple(o["world"])})
                )
                for o in data.pop("organs")
            ]
            output = data.pop("output")
            return cls(
                image=Path(data.pop("image")),
                organs=tuple(organs),
                output=None if output is None else Path(output),
                **data,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not the result of a scan: {error}.") from error

    def again(self) -> ScanResult:
        """Return this as the result of an earlier run."""
        return replace(self, kept=True)


def write_csv(results: Sequence[ScanResult], path: Path) -> None:
    """Write one row per scan and organ, whole or not at all."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for scan in results:
            rows.writerows(_row(scan, organ) for organ in scan.organs)


def _row(scan: ScanResult, organ: OrganResult) -> list[Any]:
    index = np.array(organ.points)
    box = [f"{v:.2f}" for v in (*index.min(0), *index.max(0))] if organ.points else [""] * 6
    world = [f"{v:.2f}" for v in organ.world] or [""] * 6
    return [
        str(scan.image),
        organ.organ,
        organ.code,
        organ.status,
        f"{organ.confidence:.3f}",
        *box,
        *world,
        f"{organ.box_ml:.3f}" if organ.points else "",
        "" if organ.mask_ml is None else f"{organ.mask_ml:.3f}",
        f"{scan.localize_s:.2f}",
        f"{organ.mask_s:.2f}",
        organ.note,
    ]
