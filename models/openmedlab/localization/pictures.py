"""A picture of one organ for review: three planes through its box, with the mask's outline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openmedlab.core import LogitsPatch, Region, Volume
from openmedlab.core.region import Index3, _index3

HEIGHT = 220
MARGIN_MM = 45.0
CT_WINDOW = (-160.0, 240.0)
SURE, LOW, OUTLINE = (90, 220, 120), (255, 150, 40), (80, 200, 255)
CROSS = (255, 80, 160)
BACK = (24, 26, 30)
Picture = npt.NDArray[np.uint8]
_PLANES = (0, 1, 2)


def organ_picture(
    volume: Volume,
    box: Region,
    *,
    low: bool = False,
    patch: LogitsPatch | None = None,
    at: npt.ArrayLike | None = None,
) -> Picture:
    """Return RGB uint8 (height, width, 3): axial, coronal and sagittal side by side.

    The patient's right is at the left, the front at the top or at the left. The box is green,
    orange where the confidence is low; the outline of the mask is blue.

    Parameters
    ----------
    volume
        The scan.
    box
        The organ's voxels.
    low
        Whether the confidence is low.
    patch
        Its mask.
    at
        Index position (z, y, x) in the box that the planes go through, marked by a cross; the
        middle of the box, without a cross, by default.
    """
    crop = _around(box, volume)
    frame = volume.geometry.crop(crop).reorientation("SPL")
    voxels = frame.apply(volume.read(crop)).astype(np.float32)
    inside = np.zeros(crop.shape, bool)
    if patch is not None:
        common = patch.region.intersection(crop)
        if common:
            own = patch.mask[common.relative_to(patch.region).slices]
            inside[common.relative_to(crop).slices] = own
    mask, seen = frame.apply(inside), frame.region(box.relative_to(crop))
    spacing = frame.geometry.spacing
    middle = _index3((a + b - 1) // 2 for a, b in zip(seen.start, seen.stop, strict=True))
    if at is not None:
        middle = frame.region(Region.around(np.asarray(at, float)).relative_to(crop)).start
    window = _window(volume, voxels)
    planes = [
        _plane(
            voxels, mask, seen, spacing, axis, middle, window, LOW if low else SURE, at is not None
        )
        for axis in _PLANES
    ]
    gap = np.full((HEIGHT, 4, 3), BACK, np.uint8)
    return np.concatenate([planes[0], gap, planes[1], gap, planes[2]], axis=1)


def jpeg(picture: Picture) -> bytes:
    """Return a picture as the bytes of a JPEG file."""
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def _around(box: Region, volume: Volume) -> Region:
    margin = [
        max(MARGIN_MM / s, 0.4 * n) for s, n in zip(volume.geometry.spacing, box.shape, strict=True)
    ]
    start = [max(0, int(a - m)) for a, m in zip(box.start, margin, strict=True)]
    stop = [min(n, int(b + m + 1)) for b, m, n in zip(box.stop, margin, volume.shape, strict=True)]
    return Region(_index3(start), _index3(stop))


def _window(volume: Volume, voxels: npt.NDArray[np.float32]) -> tuple[float, float]:
    if volume.modality == "CT" or voxels.min() < -200:
        return CT_WINDOW
    low, high = np.percentile(voxels, (1, 99.5))
    return float(low), float(max(high, low + 1))


def _plane(
    voxels: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    box: Region,
    spacing: tuple[float, float, float],
    axis: int,
    middle: Index3,
    window: tuple[float, float],
    color: tuple[int, int, int],
    cross: bool,
) -> Picture:
    """Draw one plane of a crop on the canonical grid, the top of the patient up."""
    from PIL import Image, ImageDraw
    from skimage.segmentation import find_boundaries

    rows, columns = (k for k in range(3) if k != axis)
    grey = np.take(voxels, middle[axis], axis)
    solid = np.take(mask, middle[axis], axis)
    scale = HEIGHT / (grey.shape[0] * spacing[rows])
    size = (max(1, round(grey.shape[1] * spacing[columns] * scale)), HEIGHT)
    shown = np.clip((grey - window[0]) / (window[1] - window[0]), 0, 1) * 255
    image = Image.fromarray(shown.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    picture = np.array(image.convert("RGB"))
    large = np.array(Image.fromarray(solid.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
    picture[find_boundaries(large > 0, mode="inner")] = OUTLINE
    drawn = Image.fromarray(picture)
    y, x = spacing[rows] * scale, spacing[columns] * scale
    corners = (
        box.start[columns] * x,
        box.start[rows] * y,
        box.stop[columns] * x - 1,
        box.stop[rows] * y - 1,
    )
    if rows == 0:
        drawn = drawn.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        corners = (corners[0], HEIGHT - 1 - corners[3], corners[2], HEIGHT - 1 - corners[1])
    pen = ImageDraw.Draw(drawn)
    pen.rectangle(corners, outline=color, width=2)
    if cross:
        across, down = (middle[columns] + 0.5) * x, (middle[rows] + 0.5) * y
        down = HEIGHT - 1 - down if rows == 0 else down
        pen.line((across - 7, down, across + 7, down), fill=CROSS, width=2)
        pen.line((across, down - 7, across, down + 7), fill=CROSS, width=2)
    return np.array(drawn)
