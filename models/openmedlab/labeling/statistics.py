"""What a labelmap measures: volume, density, place; one label at a time, slab by slab."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from openmedlab.core import CancelToken, InputError, LabelVolume, Progress, Region, Volume
from openmedlab.io.atomic import replacing

SLAB = 16
COLUMNS = (
    "label", "name", "code", "voxels", "ml", "mean_hu", "sd_hu",
    "centroid_l_mm", "centroid_p_mm", "centroid_s_mm", "touches_border",
)  # fmt: skip


@dataclass(frozen=True)
class LabelStatistics:
    """Measures of one label.

    Attributes
    ----------
    number, name, code
        Its value in the labelmap, its name and SNOMED CT code.
    voxels, ml
        Size.
    mean, sd
        Of the image inside (HU for a CT); NaN without an image.
    centroid
        Mean position in LPS millimetres (x, y, z).
    region
        Its bounding box.
    touches_border
        Whether a face of the volume may cut it off.
    """

    number: int
    name: str
    code: str
    voxels: int
    ml: float
    mean: float
    sd: float
    centroid: tuple[float, float, float]
    region: Region
    touches_border: bool

    def row(self) -> tuple[str, ...]:
        """Return the values of `COLUMNS` as text."""
        numbers = (self.ml, self.mean, self.sd, *self.centroid)
        ml, mean, sd, x, y, z = ("" if np.isnan(v) else f"{v:.3f}" for v in numbers)
        border = "yes" if self.touches_border else "no"
        size = str(self.voxels)
        return str(self.number), self.name, self.code, size, ml, mean, sd, x, y, z, border


def label_statistics(
    labels: LabelVolume,
    image: Volume | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> list[LabelStatistics]:
    """Measure every label that occurs.

    Parameters
    ----------
    labels
        The labelmap.
    image
        The image on the same grid, for the densities.

    Returns
    -------
    list of LabelStatistics
        By number. Memory: a slab of 16 planes beside the labelmap.

    Raises
    ------
    InputError
        The image lies on another grid.
    """
    if image is not None and not image.geometry.almost_equal(labels.geometry, tolerance=0.01):
        raise InputError(f"{labels.name!r} lies on another grid than {image.name!r}.")
    progress, cancel = progress or Progress(), cancel or CancelToken()
    boxes = ndimage.find_objects(labels.array)
    found = []
    for number, box in enumerate(boxes, 1):
        cancel.check()
        progress.report(number - 1, len(boxes), "Measuring")
        if box is not None:
            region = Region([s.start for s in box], [s.stop for s in box])  # type: ignore[arg-type]
            found.append(_measured(labels, image, number, region))
    return found


def measured_again(
    rows: Sequence[LabelStatistics],
    labels: LabelVolume,
    image: Volume | None,
    changed: Mapping[int, Region],
    cancel: CancelToken | None = None,
) -> list[LabelStatistics]:
    """Measure only the labels that changed.

    Parameters
    ----------
    rows
        Of `label_statistics`, before the change.
    changed
        Labels that gained or lost voxels, each with where that was.

    Returns
    -------
    list of LabelStatistics
        What `label_statistics` would give now.
    """
    cancel = cancel or CancelToken()
    known = {row.number: row for row in rows}
    for number, where in changed.items():
        cancel.check()
        old = known.pop(number, None)
        region = where if old is None else where.union(old.region)
        box = Region.of_mask(labels.array[region.slices] == number)
        if box is not None and number:
            known[number] = _measured(labels, image, number, box.shifted(region.start))
    return [known[number] for number in sorted(known)]


def _measured(
    labels: LabelVolume, image: Volume | None, number: int, region: Region
) -> LabelStatistics:
    sums = _Sums()
    for start in range(region.start[0], region.stop[0], SLAB):
        stop = min(start + SLAB, region.stop[0])
        part = Region((start, *region.start[1:]), (stop, *region.stop[1:]))
        mask = labels.array[part.slices] == number
        sums.add(mask, part, None if image is None else image.read(part)[mask])
    geometry = labels.geometry
    per_ml = 1e3 if geometry.unit == "millimeter" else 1e12
    meaning = labels.labels.get(number)
    x, y, z = geometry.index_to_world(sums.place / sums.count).tolist()
    return LabelStatistics(
        number=number,
        name=meaning.name if meaning else f"label_{number}",
        code=meaning.code if meaning else "",
        voxels=sums.count,
        ml=sums.count * geometry.voxel_volume / per_ml,
        mean=sums.mean if image is not None else float("nan"),
        sd=sums.sd if image is not None else float("nan"),
        centroid=(x, y, z),
        region=region,
        touches_border=min(region.start) == 0
        or any(b == n for b, n in zip(region.stop, geometry.shape, strict=True)),
    )


class _Sums:
    """Running count, place, mean and squared deviation (Chan's update of Welford's)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0
        self.place = np.zeros(3)

    def add(
        self, mask: npt.NDArray[np.bool_], part: Region, values: npt.NDArray[np.number] | None
    ) -> None:
        size = int(np.count_nonzero(mask))
        if not size:
            return
        for axis, start in enumerate(part.start):
            others = tuple(a for a in range(3) if a != axis)
            along = np.count_nonzero(mask, axis=others)
            self.place[axis] += along @ (np.arange(along.size) + start)
        if values is not None:
            mean = float(values.mean(dtype=np.float64))
            shift = mean - self.mean
            total = self.count + size
            self._squares += float(values.var(dtype=np.float64)) * size
            self._squares += shift**2 * self.count * size / total
            self.mean += shift * size / total
        self.count += size

    @property
    def sd(self) -> float:
        return float(np.sqrt(self._squares / self.count))


def to_csv(tables: Mapping[str, Sequence[LabelStatistics]], path: Path) -> Path:
    """Write the measures of one or more images, by image name, as one table."""
    rows = [(image, *own.row()) for image, table in tables.items() for own in table]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image", *COLUMNS))
        writer.writerows(rows)
    return path
