"""`MedLam`: templates and a CT in, extreme points and confidence by organ out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from openmedlab.core import CancelToken, ExtremePoints, InputError, Localization, Progress, Volume
from openmedlab.medlam import procedure
from openmedlab.medlam.matching import Features, Match, best_match
from openmedlab.medlam.network import PATCH, MedLamNetwork
from openmedlab.medlam.prepare import PAD, SPACING, Prepared, prepare
from openmedlab.medlam.procedure import Fused, Query, Steps, Support

FRAME_ORDER = (0, 4, 2, 3, 1, 5)
"""From a template's inferior, anterior, right, superior, posterior, left to the frame's order."""
SHAPE_TOLERANCE = 0.3
REACH = PATCH / 2 * SPACING

Arrays = Mapping[str, npt.NDArray[Any]]
Float64 = npt.NDArray[np.float64]


class MarkedOrgan(Protocol):
    """What is read of a template (`openmedlab.localization.template.Template`)."""

    @property
    def organ(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def scan(self) -> str: ...

    @property
    def points(self) -> Float64: ...

    @property
    def parts(self) -> Float64: ...


class Templates(Protocol):
    """What is asked of a library (`openmedlab.localization.templates.TemplateLibrary`)."""

    @property
    def templates(self) -> Collection[MarkedOrgan]: ...

    def features(
        self, template: Any, model_key: str, make: Callable[[Volume], Arrays], /
    ) -> Arrays: ...


@dataclass(frozen=True, eq=False)
class Wanted:
    """An organ to look for: its templates as one, and where each expects the points.

    Attributes
    ----------
    fused
        Codes averaged, features summed.
    shapes
        The templates' points (T, N, 3), mm along the frame's axes.
    expected
        Positions (T, N, 3) in mm that each template alone would lead to in the query.
    voxels
        Where the points are expected, padded voxels (N, 3) inside the volume.
    """

    fused: Fused
    shapes: Float64
    expected: Float64
    voxels: npt.NDArray[np.int64]


class MedLam:
    """MedLAM as a localizer.

    Parameters
    ----------
    network
        With its weights.
    device
        ``"cpu"``, ``"cuda"``, ...
    version
        For manifests; changes with code or weights.
    parts
        Look for the slabs of an organ (the paper's sub-patches) where all its templates
        have as many; every slab costs as much as an organ.
    half
        Compute matching features in bfloat16; by default on a GPU that has it, as the
        original computes in half precision there.

    Notes
    -----
    The start crops, the preparation and patches that organs share are computed once for all
    organs, and the features of a template once for all scans (`TemplateLibrary.features`).
    Nothing is read of the query but its grey values.
    """

    name = "medlam"

    def __init__(
        self,
        network: MedLamNetwork,
        device: str | torch.device = "cpu",
        version: str = "",
        *,
        parts: bool = False,
        half: bool | None = None,
    ) -> None:
        where = torch.device(device)
        if half is None:
            half = where.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        self._steps = Steps(network.eval().requires_grad_(False).to(where), half)
        self._version = version or f"{self.name} unversioned"
        self._parts, self._half = parts, half

    @property
    def version(self) -> str:
        """Changes whenever the same input would give another answer."""
        marks = {"parts": self._parts, "half": self._half}
        return " ".join([self._version, *(word for word, on in marks.items() if on)])

    @torch.inference_mode()
    def localize(
        self, templates: Templates, volume: Volume, progress: Progress, cancel: CancelToken
    ) -> dict[str, Localization]:
        """Find every organ of a template library.

        Parameters
        ----------
        templates
            A `TemplateLibrary`. A template whose scan is gone is left out and told.
        volume
            A CT in any orientation.

        Returns
        -------
        dict
            By organ; points lie on whole voxels inside the volume, ordered first z, first y,
            first x, last z, last y, last x. They span the box of the published rule, whose
            each side is set by the one point found for it.

        Raises
        ------
        InputError
            The volume is no CT, its middle is air, or no template can be used.
        Cancelled
            ``cancel`` was raised; it is looked at before every patch.

        Notes
        -----
        The confidence is the geometric mean of the cosine similarity at the points found and
        of two agreements: of the box's shape with the templates' (a deviation of 0.3
        diagonals counts 1/e), and of the places to which the single templates lead (a spread
        of half a patch, 96 mm, counts 1/e). It ranks results; it is no probability.
        """
        supports = self._supports(templates, progress, cancel)
        query = procedure.begin(prepare(volume, cancel), self._steps, volume.name)
        wanted = {organ: _wanted(query, found) for organ, found in supports.items()}
        matches = self._match(query, wanted, progress, cancel)
        return {organ: _located(query, w, matches[organ]) for organ, w in wanted.items()}

    # ------------------------------------------------------------- templates
    def _supports(
        self, library: Templates, progress: Progress, cancel: CancelToken
    ) -> dict[str, list[tuple[Support, Float64]]]:
        """Return features and points (N, 3) in mm of each organ's templates."""
        by_organ: dict[str, list[MarkedOrgan]] = defaultdict(list)
        for template in library.templates:
            by_organ[template.organ].append(template)
        scans: dict[str, Prepared] = {}
        found: dict[str, list[tuple[Support, Float64]]] = defaultdict(list)
        left_out = []
        for organ, marked in by_organ.items():
            cut = self._parts and len({len(t.parts) for t in marked}) == 1
            for template in marked:
                whole = not cut or not len(template.parts)
                points = template.points[None] if whole else template.parts
                progress.report(0, 0, f"template {template.name}")
                try:
                    support = self._support(library, template, points, scans, cancel)
                except InputError as error:
                    left_out.append(str(error))
                    progress.report(0, 0, str(error))
                else:
                    found[organ].append(support)
        if not found:
            raise InputError(" ".join(left_out) or "There is no template to look for.")
        return found

    def _support(
        self,
        library: Templates,
        template: MarkedOrgan,
        points: Float64,
        scans: dict[str, Prepared],
        cancel: CancelToken,
    ) -> tuple[Support, Float64]:
        """Return one template's features, from the library or made now, and its points in mm."""

        def make(scan: Volume) -> Arrays:
            cancel.check()
            if template.scan not in scans:
                scans[template.scan] = prepare(scan, cancel)
            prepared = scans[template.scan]
            index = scan.geometry.world_to_index(points[:, FRAME_ORDER])
            voxels = np.rint(prepared.frame.to_voxels(index)).astype(np.int64).reshape(-1, 3)
            inside = np.clip(voxels, 0, np.array(prepared.frame.shape) - 1)
            support = self._steps.support(prepared.patches(inside), cancel)
            return support.arrays | {"voxels": inside}

        digest = hashlib.blake2b(points.tobytes(), digest_size=8).hexdigest()
        arrays = library.features(template, f"{self.name} {self._version} {digest}", make)
        return Support.of_arrays(arrays), np.asarray(arrays["voxels"]) * SPACING

    # ----------------------------------------------------------------- query
    def _match(
        self,
        query: Query,
        wanted: Mapping[str, Wanted],
        progress: Progress,
        cancel: CancelToken,
    ) -> dict[str, list[Match]]:
        """Match every point of every organ; a patch that several share is encoded once."""
        jobs = sorted(
            (tuple(voxel.tolist()), organ, k)
            for organ, w in wanted.items()
            for k, voxel in enumerate(w.voxels)
        )
        found: dict[str, dict[int, Match]] = defaultdict(dict)
        features: Features | None = None
        before: tuple[int, ...] = ()
        for done, (voxel, organ, k) in enumerate(jobs):
            cancel.check()
            progress.report(done, len(jobs), f"looking for {organ}")
            if features is None or voxel != before:
                features = None
                features = self._steps.features(query.prepared.patches(np.array(voxel) - PAD)[0])
                before = voxel
            template = [t[k].to(features[0].device) for t in wanted[organ].fused.templates]
            found[organ][k] = best_match(template, features)
        progress.report(len(jobs), len(jobs), "found")
        return {organ: [at[k] for k in sorted(at)] for organ, at in found.items()}


def _wanted(query: Query, supports: Iterable[tuple[Support, Float64]]) -> Wanted:
    kept, shapes = zip(*supports, strict=True)
    fused = Fused.of(kept)
    position = procedure.coarse_position(query, fused.codes)
    voxels = procedure.clamped(procedure.nearest_voxels(position), query.prepared)
    expected = np.array([procedure.coarse_position(query, s.codes) for s in kept])
    return Wanted(fused, np.array(shapes), expected, voxels)


def _located(query: Query, wanted: Wanted, matches: list[Match]) -> Localization:
    points = wanted.voxels + np.array([m.offset for m in matches]) - PAD
    stored = procedure.to_stored(points.reshape(-1, 6, 3), query.prepared)
    last = np.array(query.prepared.frame.geometry.shape) - 1
    inside = procedure.within_box(np.clip(stored, 0, last))
    parts = tuple(_prompt(part) for part in inside) if len(inside) > 1 else ()
    return Localization(_prompt(_outermost(inside)), _confidence(wanted, points, matches), parts)


def _outermost(parts: Float64) -> Float64:
    """Return the extreme points (6, 3) of all parts (n, 6, 3) together."""
    everything = parts.reshape(-1, 3)
    chosen = [*everything.argmin(0), *everything.argmax(0)]
    return parts[0] if len(parts) == 1 else everything[chosen]


def _prompt(points: Float64) -> ExtremePoints:
    return ExtremePoints(tuple((float(z), float(y), float(x)) for z, y, x in points))


def _confidence(wanted: Wanted, points: npt.NDArray[np.int64], matches: list[Match]) -> float:
    """Return how far similarity and agreement go together, 0..1 (see `MedLam.localize`)."""
    cosine = np.mean([m.value - 1 for m in matches]) / (3 * wanted.fused.count)
    shape = wanted.shapes.mean(0)
    difference = points * SPACING - shape
    residual = _spread(difference - difference.mean(0))
    diagonal = max(float(np.linalg.norm(np.ptp(shape, axis=0))), SPACING)
    apart = _spread(wanted.expected - wanted.expected.mean(0))
    agreement = np.exp(-((residual / (SHAPE_TOLERANCE * diagonal)) ** 2) - (apart / REACH) ** 2)
    return float(np.clip(np.sqrt(max(cosine, 0.0) * agreement), 0, 1))


def _spread(vectors: Float64) -> float:
    """Return the root mean square length of vectors (..., 3)."""
    return float(np.sqrt((vectors**2).sum(-1).mean()))
