"""A procedural torso: organs with Hounsfield values on an oblique, anisotropic grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from openmedlab.core.geometry import Geometry
from openmedlab.core.volume import Label, LabelVolume, Volume

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Inside = Callable[[Float32, Float32, Float32], Mask]
Bounds = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

FIELD_OF_VIEW = (300.0, 300.0, 400.0)
_VERTEBRAE = ("T6", "T7", "T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3")
_VERTEBRA_CODES = (
    "45296009", "62487009", "11068009", "82687006", "7610001",
    "12989004", "23215003", "66794005", "14293000", "36470004",
)  # fmt: skip
_NAMES = [
    ("lung_left", "44029006", (0.55, 0.75, 0.95)),
    ("lung_right", "3341006", (0.40, 0.65, 0.90)),
    ("trachea", "44567001", (0.75, 0.90, 1.00)),
    ("heart", "80891009", (0.80, 0.25, 0.20)),
    ("liver", "10200004", (0.85, 0.40, 0.30)),
    ("spleen", "78961009", (0.60, 0.40, 0.65)),
    ("kidney_left", "18639004", (0.75, 0.60, 0.20)),
    ("kidney_right", "9846003", (0.70, 0.70, 0.25)),
    ("aorta", "15825003", (0.95, 0.15, 0.15)),
    ("ribs_left", "113197003", (0.95, 0.90, 0.75)),
    ("ribs_right", "113197003", (0.90, 0.85, 0.65)),
    *((f"vertebrae_{v}", c, (0.90, 0.80 - 0.04 * k, 0.55 + 0.03 * k))
      for k, (v, c) in enumerate(zip(_VERTEBRAE, _VERTEBRA_CODES, strict=True))),
]  # fmt: skip
PHANTOM_LABELS = {k: Label(name, color, code) for k, (name, code, color) in enumerate(_NAMES, 1)}
_NUMBER = {label.name: number for number, label in PHANTOM_LABELS.items()}


def phantom(
    shape: tuple[int, int, int] = (60, 160, 200), seed: int = 0
) -> tuple[Volume, LabelVolume]:
    """Make a CT-like torso and its labels.

    Parameters
    ----------
    shape
        Voxels (z, y, x) over a fixed field of view of 300 x 300 x 400 mm.
    seed
        Of the noise, the lung vessels and small shifts of the organs.

    Returns
    -------
    Volume, LabelVolume
        int16 Hounsfield units and uint8 labels on one oblique grid; equal for equal arguments.
    """
    rng = np.random.default_rng(seed)
    geometry = _oblique(shape)
    canvas = _Canvas(geometry)
    _torso(canvas)
    _chest(canvas, rng)
    _abdomen(canvas, rng)
    _skeleton(canvas)
    image = _scan(canvas, rng)
    volume = Volume(image, geometry, "CT", "phantom")
    labels = LabelVolume(canvas.labels, geometry, PHANTOM_LABELS, "phantom labels", "phantom")
    return volume, labels


def _oblique(shape: tuple[int, int, int]) -> Geometry:
    """A grid about the origin, turned by 6 degrees about x and 4 about z."""
    a, b = np.deg2rad([6.0, 4.0])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    direction = (about_z @ about_x)[:, ::-1]
    spacing = np.asarray(FIELD_OF_VIEW) / np.asarray(shape)
    origin = -(direction * spacing) @ ((np.asarray(shape) - 1) / 2)
    return Geometry.from_spacing(shape, tuple(spacing), tuple(origin), direction)


class _Canvas:
    """Hounsfield values and labels being painted; places in LPS millimetres."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.values = np.full(geometry.shape, -1000, np.float32)
        self.labels = np.zeros(geometry.shape, np.uint8)
        axes = np.ix_(*(np.arange(n, dtype=np.float32) for n in geometry.shape))
        m = geometry.affine.astype(np.float32)
        self.world = tuple(sum(m[r, k] * axes[k] for k in range(3)) + m[r, 3] for r in range(3))

    def paint(
        self, bounds: Bounds, inside: Inside, hu: float, name: str = "", over: str = "any"
    ) -> None:
        """Fill where ``inside(x, y, z)``, looked at only in the LPS box ``bounds``.

        ``over``: ``"any"`` paints over everything, ``"tissue"`` spares what has a label.
        """
        corners = np.array([[x, y, z] for x in bounds[0] for y in bounds[1] for z in bounds[2]])
        index = self.geometry.world_to_index(corners)
        low = np.maximum(np.floor(index.min(0)).astype(int), 0)
        high = np.maximum(np.ceil(index.max(0)).astype(int) + 1, 0)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        x, y, z = (np.asarray(w[box]) for w in self.world)
        mask = inside(x, y, z)
        if over == "tissue":
            mask = mask & (self.labels[box] == 0)
        self.values[box][mask] = hu
        self.labels[box][mask] = _NUMBER.get(name, 0)

    def ellipsoid(
        self,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        hu: float,
        name: str = "",
        over: str = "any",
        where: Inside | None = None,
    ) -> None:
        """Paint an ellipsoid, cut to ``where`` if given."""
        (cx, cy, cz), (rx, ry, rz) = centre, radii

        def inside(x: Float32, y: Float32, z: Float32) -> Mask:
            mask = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 <= 1
            return np.asarray(mask & where(x, y, z) if where else mask)

        bounds = ((cx - rx, cx + rx), (cy - ry, cy + ry), (cz - rz, cz + rz))
        self.paint(bounds, inside, hu, name, over)

    def rod(
        self,
        start: tuple[float, float, float],
        stop: tuple[float, float, float],
        radius: float,
        hu: float,
        name: str = "",
    ) -> None:
        """Paint a rod with round ends."""
        a, b = np.asarray(start, np.float32), np.asarray(stop, np.float32)
        d = b - a
        length = float(d @ d)

        def inside(x: Float32, y: Float32, z: Float32) -> Mask:
            t = ((x - a[0]) * d[0] + (y - a[1]) * d[1] + (z - a[2]) * d[2]) / length
            t = np.clip(t, 0, 1)
            gap = (x - a[0] - t * d[0]) ** 2 + (y - a[1] - t * d[1]) ** 2
            return np.asarray(gap + (z - a[2] - t * d[2]) ** 2 <= radius**2)

        low, high = np.minimum(a, b) - radius, np.maximum(a, b) + radius
        (x0, y0, z0), (x1, y1, z1) = low.tolist(), high.tolist()
        self.paint(((x0, x1), (y0, y1), (z0, z1)), inside, hu, name)


def _ring(x: Float32, y: Float32, rx: float, ry: float) -> Float32:
    """1 on an ellipse about the body's axis, less inside; flatter than a circle (power 2.5)."""
    return np.asarray(np.abs(x / rx) ** 2.5 + np.abs(y / ry) ** 2.5)


def _torso(canvas: _Canvas) -> None:
    everywhere: Bounds = ((-175, 175), (-120, 120), (-250, 250))
    for rx, ry, hu in ((170, 115, 20), (167, 112, -100), (152, 98, 50), (138, 86, -90)):
        canvas.paint(everywhere, lambda x, y, z, a=rx, b=ry: _ring(x, y, a, b) <= 1, hu)  # type: ignore[misc]
    canvas.ellipsoid((28, 82, 0), (26, 18, 400), 55)
    canvas.ellipsoid((-28, 82, 0), (26, 18, 400), 55)


def _chest(canvas: _Canvas, rng: np.random.Generator) -> None:
    def above_diaphragm(x: Float32, y: Float32, z: Float32) -> Mask:
        dome = 45 - 0.0075 * ((np.abs(x) - 70) ** 2 + (y + 10) ** 2)
        return np.asarray((z > dome) & (_ring(x, y, 130, 80) <= 1))

    shift = rng.uniform(-3, 3, 3)
    canvas.ellipsoid((76, 0, 70), (58, 84, 130), -850, "lung_left", where=above_diaphragm)
    canvas.ellipsoid((-76, 0, 70), (58, 84, 130), -850, "lung_right", where=above_diaphragm)
    canvas.rod((0, 15, 170), (0, 15, 112), 9, -1000, "trachea")
    for side in (1, -1):
        canvas.rod((0, 15, 112), (side * 42, 18, 78), 6.5, -1000, "trachea")
    heart = (24 + shift[0], -28 + shift[1], 62 + shift[2])
    canvas.ellipsoid(heart, (52, 44, 46), 110, "heart")
    canvas.ellipsoid((heart[0] + 10, heart[1], heart[2]), (30, 25, 28), 180, "heart")


def _abdomen(canvas: _Canvas, rng: np.random.Generator) -> None:
    def below_diaphragm(x: Float32, y: Float32, z: Float32) -> Mask:
        return np.asarray(_ring(x, y, 134, 82) <= 1)

    for _ in range(14):
        x, y, z = rng.uniform((-85, -65, -145), (85, 0, -55))
        canvas.ellipsoid((x, y, z), (22, 18, 20), float(rng.uniform(15, 45)))
    s = rng.uniform(-3, 3, (4, 3))
    liver = {"name": "liver", "over": "tissue", "where": below_diaphragm}
    canvas.ellipsoid((-66, -2, -12), (66, 74, 62), 110, **liver)  # type: ignore[arg-type]
    canvas.ellipsoid((-5, -42, 2), (62, 30, 32), 110, **liver)  # type: ignore[arg-type]
    spleen = (94 + s[1, 0], 36 + s[1, 1], -12 + s[1, 2])
    canvas.ellipsoid(spleen, (28, 36, 46), 120, "spleen", "tissue", below_diaphragm)
    for k, (side, name, z) in enumerate([(1, "kidney_left", -72.0), (-1, "kidney_right", -84.0)]):
        centre = (side * 64 + s[2 + k, 0], 42 + s[2 + k, 1], z + s[2 + k, 2])
        canvas.ellipsoid(centre, (27, 24, 48), 190, name)
        canvas.ellipsoid(centre, (12, 11, 30), 130, name)
    canvas.rod((14, 40, 170), (14, 40, -190), 12, 220, "aorta")


def _skeleton(canvas: _Canvas) -> None:
    for k, vertebra in enumerate(_VERTEBRAE):
        middle, name = 135 - 31.0 * k, f"vertebrae_{vertebra}"
        for grow, hu in ((0.0, 420), (-4.0, 210)):
            _vertebral_body(canvas, middle, grow, hu, name)
        for side in (1, -1):
            canvas.rod((side * 13, 76, middle), (side * 34, 88, middle), 5, 330, name)
            canvas.rod((side * 14, 80, middle), (0, 97, middle), 5, 330, name)
        canvas.rod((0, 96, middle), (0, 106, middle - 12), 5, 360, name)
        for side, which in ((1, "ribs_left"), (-1, "ribs_right")):
            if vertebra.startswith("T"):
                _rib(canvas, side, middle, which)
    canvas.rod((0, 84, 170), (0, 84, -190), 8, 30)
    canvas.rod((0, -88, 150), (0, -88, 30), 9, 300)


def _vertebral_body(canvas: _Canvas, middle: float, grow: float, hu: float, name: str) -> None:
    rx, ry, half = 21 + grow, 16 + grow, 12.5 + grow

    def inside(x: Float32, y: Float32, z: Float32) -> Mask:
        return np.asarray(
            ((x / rx) ** 2 + ((y - 63) / ry) ** 2 <= 1) & (np.abs(z - middle) <= half)
        )

    bounds = ((-rx, rx), (63 - ry, 63 + ry), (middle - half, middle + half))
    canvas.paint(bounds, inside, hu, name)


def _rib(canvas: _Canvas, side: int, top: float, name: str) -> None:
    """A band in the chest wall that falls from back to front."""

    def inside(x: Float32, y: Float32, z: Float32) -> Mask:
        wall = _ring(x, y, 141, 88)
        sloped = z - (top - 0.35 * (78 - y))
        return np.asarray(
            (np.abs(wall - 1) < 0.10) & (np.abs(sloped) < 5.5) & (side * x > 28) & (y > -72)
        )

    bounds = ((0, 150), (-95, 95), (top - 70, top + 15))
    if side < 0:
        bounds = ((-150, 0), *bounds[1:])
    canvas.paint(bounds, inside, 380, name, over="tissue")


def _scan(canvas: _Canvas, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Lung vessels, then partial volume (blur over about a voxel) and correlated noise."""
    from scipy import ndimage

    shape = canvas.values.shape
    lungs = np.isin(canvas.labels, (_NUMBER["lung_left"], _NUMBER["lung_right"]))
    texture = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), (0.5, 1, 1))
    canvas.values[lungs & (texture > 2.1 * texture.std())] = 20
    image = ndimage.gaussian_filter(canvas.values, (0.35, 0.6, 0.6))
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), (0, 0.6, 0.6))
    image += noise * np.float32(12 / noise.std())
    return np.asarray(np.clip(np.rint(image), -1024, 3071), np.int16)
