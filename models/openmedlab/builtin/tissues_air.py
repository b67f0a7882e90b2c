"""Body, lungs and airways of a CT on its working grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from openmedlab.builtin.tissues_grid import Grid, Mask, components, fill_planes
from openmedlab.core import Region

SOLID_HU = -350
AIR_HU = -400
LUNG_HU = (-960, -450)
CUT_LUNG_HU = -930
PURE_AIR_HU = -900
TABLE_MM = 4.0
SMALL_HOLE_MM2 = 1500.0
WHOLE_LUNG_ML = 300.0
PIECE_ML = 5.0
AIRWAY_ML = 150.0
SPILL_ML = 40.0
TRACHEA_MM2 = (60.0, 800.0)
LUNG_TOP_MM2 = 800.0
LUNGS_APART_MM = 70.0


@dataclass(frozen=True, eq=False)
class Cavities:
    """Air inside the body: boolean (z, y, x) on the working grid."""

    left: Mask
    right: Mask
    airways: Mask


def find_body(grid: Grid) -> Mask:
    """Return the patient, air inside included; table, clothes and holders left out."""
    solid = grid.image > SOLID_HU
    patient = _patient(grid, solid)
    air = grid.image <= SOLID_HU
    body = patient | (fill_planes(patient) & ~_armpits(grid, patient, air))
    return body | _open_lungs(grid, patient, air & ~body)


def _patient(grid: Grid, solid: Mask) -> Mask:
    """Thick parts made mostly of fat and soft tissue, with their skin back."""
    labels, count = components(grid.open(solid, TABLE_MM), grid.voxels(PIECE_ML))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    tissue = (grid.image > -200) & (grid.image < 200)
    soft = np.bincount(labels.ravel(), tissue.ravel(), count + 1)
    keep = (soft > 0.6 * sizes) & (sizes >= 0.02 * sizes[1:].max(initial=0))
    keep[0] = False
    return grid.dilate(keep[labels], TABLE_MM + 2) & solid


def _armpits(grid: Grid, patient: Mask, air: Mask) -> Mask:
    """Outside air that limbs close in on some slices; small gaps (nose, throat) do not count."""
    labels, count = components(air)
    rim = np.zeros(count + 1, bool)
    for face in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        rim[np.unique(face)] = True
    rim[0] = False
    outside = rim[labels] & (grid.image < LUNG_HU[0])
    holes = fill_planes(patient) & ~patient & outside
    area = SMALL_HOLE_MM2 / (grid.spacing[1] * grid.spacing[2])
    large = np.zeros_like(holes)
    for plane, out in zip(holes, large, strict=True):
        parts, count = ndimage.label(plane)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        out[...] = (sizes > area)[parts]
    return large


def _open_lungs(grid: Grid, patient: Mask, air: Mask) -> Mask:
    """Lungs that the edge of the field of view cuts open: lung-like air with body around."""
    labels, count = components(air, grid.voxels(4 * PIECE_ML))
    found = np.zeros_like(air)
    for number, box in enumerate(ndimage.find_objects(labels, count), 1):
        part = labels[box] == number
        wide = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        piece = labels[wide] == number
        shell = ndimage.binary_dilation(piece) & ~piece
        lies_in_body = patient[wide][shell].mean() > 0.5 if shell.any() else False
        if lies_in_body and _is_lung_like(grid, box, part, CUT_LUNG_HU):
            found[box] |= part
    return found


def _is_lung_like(grid: Grid, box: tuple[slice, ...], part: Mask, lowest: float) -> bool:
    """Whether the median away from the edge is that of lung rather than of gas or stool."""
    inner = ndimage.binary_erosion(part, border_value=1)
    values = grid.image[box][inner if inner.any() else part]
    return bool(lowest < np.median(values) < LUNG_HU[1])


def find_cavities(grid: Grid, body: Mask) -> Cavities:
    """Find lungs by density, size and place, airways by growing from the windpipe."""
    air = body & (grid.image < AIR_HU)
    lungs = _lung_pieces(grid, air, body)
    airways = _airways(grid, air, lungs)
    lungs &= ~grid.dilate(airways, max(grid.spacing))
    labels, _ = components(lungs, grid.voxels(PIECE_ML))
    lungs = labels > 0
    left, right = _sides(grid, lungs, body)
    left, right = (_with_vessels(grid, side, body & ~airways) for side in (left, right))
    both = left & right
    return Cavities(left & ~both, right & ~both, airways)


def _lung_pieces(grid: Grid, air: Mask, body: Mask) -> Mask:
    """Lung-like parts that are whole or cut by the end of the body in view.

    Bowel gas and stool are neither; what is cut by the other end than the largest part
    is not lung either (stool at the lower end, with the lungs at the upper one).
    """
    labels, count = components(air, grid.voxels(PIECE_ML))
    found = Region.of_mask(body)
    if found is None:
        return np.zeros_like(air)
    low, high = found.start[0], found.stop[0]
    kept, main = np.zeros(count + 1, bool), set[str]()
    for number, box in enumerate(ndimage.find_objects(labels, count), 1):
        part = labels[box] == number
        z, *across = box
        ends = {"low"} if z.start <= low else set()
        ends |= {"high"} if z.stop >= high else set()
        aside = any(s.start == 0 or s.stop == n for s, n in zip(across, air.shape[1:], strict=True))
        whole = part.sum() >= grid.voxels(WHOLE_LUNG_ML)
        in_place = whole or aside or (ends and (not main or ends & main))
        lowest = CUT_LUNG_HU if ends or aside else LUNG_HU[0]
        if in_place and _is_lung_like(grid, box, part, lowest):
            kept[number] = True
            main = main or ends
    return kept[labels]


def _airways(grid: Grid, air: Mask, lungs: Mask) -> Mask:
    """Grow from the windpipe with the highest threshold that does not spill into the lungs.

    Explosion-controlled region growing: K. Mori et al., IEEE Trans Med Imaging 19(2), 2000,
    section III-A.
    """
    nothing = np.zeros_like(air)
    seed = _windpipe(grid, air, lungs)
    if seed is None:
        return nothing
    smooth = grid.smooth(0.7)
    best, before = nothing, 0
    for threshold in range(-970, -800, 15):
        labels, _ = components(air & (smooth < threshold))
        number = labels[seed]
        size = int((labels == number).sum()) if number else 0
        if size > grid.voxels(AIRWAY_ML) or (before and size > before + grid.voxels(SPILL_ML)):
            break
        if size:
            best, before = labels == number, size
    return grid.dilate(best, grid.spacing[1]) & air if before else best


def _windpipe(grid: Grid, air: Mask, lungs: Mask) -> tuple[int, int, int] | None:
    """Return a voxel of the windpipe: round, pure air, near the midline, by the lung tops."""
    area = grid.spacing[1] * grid.spacing[2]
    planes = np.flatnonzero(lungs.sum(axis=(1, 2)) * area > LUNG_TOP_MM2)
    if not len(planes) or np.ptp(planes) * grid.spacing[0] < 15:
        return None
    top, reach = int(planes[-1]), round(40 / grid.spacing[0])
    cut_above = top == air.shape[0] - 1
    if cut_above and np.ptp(planes) * grid.spacing[0] < 80:
        return None
    middle = float(np.mean(np.nonzero(lungs.any(axis=(0, 1)))[0][[0, -1]]))
    pure = air & (grid.image < PURE_AIR_HU)
    found: list[tuple[float, tuple[int, int, int]]] = []
    for k in range(max(top - reach, 0), min(top + reach // 2, air.shape[0] - 1) + 1):
        labels, count = ndimage.label(pure[k])
        for number, box in enumerate(ndimage.find_objects(labels, count), 1):
            part = labels[box] == number
            size, extent = part.sum() * area, part.shape
            square = part.mean() > 0.6 and max(extent) < 2.5 * min(extent)
            if TRACHEA_MM2[0] < size < TRACHEA_MM2[1] and square:
                y, x = np.round(ndimage.center_of_mass(part)).astype(int)
                place = (k, box[0].start + int(y), box[1].start + int(x))
                found.append((abs(place[2] - middle) * grid.spacing[2], place))
    near = [f for f in found if f[0] < 40 and pure[f[1]]]
    return min(near)[1] if near else None


def _sides(grid: Grid, lungs: Mask, body: Mask) -> tuple[Mask, Mask]:
    """Part lungs into left and right; x grows to the patient's left."""
    labels = _parted(grid, lungs)
    numbers = np.unique(labels[labels > 0])
    left, right = np.zeros_like(lungs), np.zeros_like(lungs)
    if not len(numbers):
        return left, right
    sizes = ndimage.sum_labels(lungs, labels, numbers)
    centres = np.array([c[2] for c in ndimage.center_of_mass(lungs, labels, numbers)])
    middle = _midline(body, lungs, centres, sizes)
    on_left = np.zeros(int(numbers.max()) + 1, bool)
    on_left[numbers] = centres > middle
    left = on_left[labels] & lungs
    return left, lungs & ~left


def _midline(
    body: Mask, lungs: Mask, centres: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]
) -> float:
    """Between the two main lungs; where one is seen, the middle of the body or its cut side."""
    main = centres[np.argsort(sizes)[-2:]]
    width = np.ptp(np.nonzero(body.any(axis=(0, 1)))[0])
    if len(main) == 2 and np.ptp(main) > 0.25 * width:
        return float(main.mean())
    planes = body[lungs.any(axis=(1, 2))]
    cut_right, cut_left = planes[:, :, 0].any(), planes[:, :, -1].any()
    if cut_right != cut_left:
        return -1.0 if cut_right else float(body.shape[2])
    return float(np.mean(np.nonzero(planes)[2]))


def _parted(grid: Grid, lungs: Mask) -> npt.NDArray[np.int32]:
    """Label lungs; two that touch are cut where they are thinnest."""
    labels, _ = components(lungs)
    total = int(lungs.sum())
    largest = labels == 1
    if largest.sum() < 0.75 * total or total < grid.voxels(WHOLE_LUNG_ML):
        return labels
    for mm in (2, 4, 6, 8, 11, 14):
        cores, count = components(grid.erode(largest, mm), grid.voxels(PIECE_ML))
        sizes = np.bincount(cores.ravel(), minlength=3)
        if count >= 2 and sizes[2] > 0.25 * sizes[1] and _side_by_side(grid, cores):
            markers = np.where(cores <= 2, cores, 0)
            distance = ndimage.distance_transform_edt(markers == 0, sampling=grid.spacing)
            cut = watershed(distance, markers, mask=largest)
            return np.where(largest, cut + labels.max(), labels).astype(np.int32)
    return labels


def _side_by_side(grid: Grid, cores: npt.NDArray[np.int32]) -> bool:
    """Whether the two largest parts are as far apart across the body as two lungs are."""
    first, second = (c[2] for c in ndimage.center_of_mass(cores > 0, cores, [1, 2]))
    return bool(abs(first - second) * grid.spacing[2] > LUNGS_APART_MM)


def _with_vessels(grid: Grid, lung: Mask, inside: Mask) -> Mask:
    """Close over the vessels within a lung."""
    if not lung.any():
        return lung
    closed = grid.close(lung, 4) & inside & (grid.image < 250)
    return fill_planes(closed | lung) & inside
