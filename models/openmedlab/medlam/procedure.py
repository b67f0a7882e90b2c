"""MedLAM's steps: where the query starts, one step by relative distance, one by similarity.

Lei et al., MedLSAM (2025), section 3.1, as published (openmedlab/MedLSAM). Nowhere here is a
label of the query read; the published evaluation reads it for the scores, and in the
segmentation that follows to choose slices (`openmedlab.medlsam`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openmedlab.core import CancelToken, InputError
from openmedlab.medlam.matching import Features, Match, best_match, middles, normalised
from openmedlab.medlam.network import MedLamNetwork
from openmedlab.medlam.prepare import PAD, SPACING, Prepared

REACH_MM = (1500.0, 600.0, 600.0)
STARTS = 10
SPREAD = 10
SEED = 2023
LEAST = 0.001
TRIES = 10_000

Float64 = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Query:
    """A scan in which organs are looked for: the prepared image and where it starts.

    Attributes
    ----------
    prepared
        The image.
    starts
        int (10, 3), voxels of the padded image in its middle.
    codes
        float32 (10, 3), the network's idea of where they lie.
    """

    prepared: Prepared
    starts: Int
    codes: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Support:
    """What is kept of the points of one template: 6 points, or 6 for each part.

    Attributes
    ----------
    codes
        float32 (N, 3).
    templates
        Features around the points, unit length per voxel: (N, C, k, k, k), k = 2, 4, 8.
    """

    codes: npt.NDArray[np.float32]
    templates: Features

    @property
    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """As plain arrays, to keep."""
        kept = {f"template{k}": t.cpu().numpy() for k, t in enumerate(self.templates)}
        return {"codes": self.codes, **kept}

    @classmethod
    def of_arrays(cls, arrays: Any) -> Support:
        """Rebuild what `arrays` gave."""
        t0, t1, t2 = (torch.from_numpy(np.array(arrays[f"template{k}"])) for k in range(3))
        return cls(np.asarray(arrays["codes"], np.float32), (t0, t1, t2))


@dataclass(frozen=True, eq=False)
class Fused:
    """Several supports of one organ as one: codes averaged, templates summed."""

    codes: npt.NDArray[np.float32]
    templates: Features
    count: int

    @classmethod
    def of(cls, supports: Sequence[Support]) -> Fused:
        """Fuse; all supports have the same number of points."""
        codes = np.stack([s.codes for s in supports]).mean(0)
        scales = zip(*(s.templates for s in supports), strict=True)
        t0, t1, t2 = (torch.stack(scale).sum(0) for scale in scales)
        return cls(codes, (t0, t1, t2), len(supports))


class Steps:
    """The network's part of the steps, patch by patch.

    Parameters
    ----------
    network
        In evaluation mode, on its device.
    half
        Compute features for matching in bfloat16; codes stay in single precision.
    """

    def __init__(self, network: MedLamNetwork, half: bool = False) -> None:
        self._network = network
        self._device = next(network.parameters()).device
        self._half = half

    def codes(self, patches: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the codes (N, 3) of patches; the decoder is not run."""
        found = [self._network.code(self._network.encode(x)) for x in self._batches(patches)]
        return torch.cat(found).cpu().numpy()

    def support(self, patches: npt.NDArray[np.float32], cancel: CancelToken) -> Support:
        """Return codes and templates of patches around the points of a template."""
        codes, found = [], []
        for x in self._batches(patches):
            cancel.check()
            encoded = self._network.encode(x)
            codes.append(self._network.code(encoded))
            found.append(middles(normalised(self._network.features(encoded))))
        t0, t1, t2 = (torch.cat(scale) for scale in zip(*found, strict=True))
        return Support(torch.cat(codes).cpu().numpy(), (t0, t1, t2))

    def features(self, patch: npt.NDArray[np.float32]) -> Features:
        """Return the normalised features (C, ...) of one patch (1, 64, 64, 64)."""
        x = torch.from_numpy(patch)[None].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            features = self._network.features(self._network.encode(x))
        f0, f1, f2 = normalised([f.float() for f in features])
        return f0[0], f1[0], f2[0]

    def _batches(self, patches: npt.NDArray[np.float32]) -> list[Tensor]:
        size = 1 if self._device.type == "cpu" else 4
        return [part.to(self._device) for part in torch.from_numpy(patches).split(size)]


def start_voxels(prepared: Prepared, name: str = "the volume") -> Int:
    """Return ten voxels (10, 3) of the padded image, drawn near its middle where there is body.

    The numbers are those that the published code draws for its first query; here every query
    begins with them, so that a scan's result does not depend on the scans before.

    Raises
    ------
    InputError
        The middle of the volume is air (the original searches on for ever).
    """
    draw = np.random.RandomState(SEED)
    size = np.array(prepared.image.shape)
    low = np.maximum(size // 2 - SPREAD, PAD)
    high = np.maximum(np.minimum(size // 2 + SPREAD, size - PAD + 1), low + 1)
    starts: list[Int] = []
    for _ in range(TRIES):
        voxel = np.array([draw.randint(a, b) for a, b in zip(low, high, strict=True)])
        if prepared.image[tuple(np.minimum(voxel, size - 1))] >= LEAST:
            starts.append(voxel)
        if len(starts) == STARTS:
            return np.array(starts)
    raise InputError(
        f"The middle of {name} holds nothing but air, so no organ can be looked for from there; "
        "crop it to the body, or leave it out."
    )


def begin(prepared: Prepared, steps: Steps, name: str = "the volume") -> Query:
    """Draw the starts of a query and encode them, once for all organs."""
    starts = start_voxels(prepared, name)
    return Query(prepared, starts, steps.codes(prepared.patches(starts - PAD)))


def displacement(support: npt.NDArray[np.float32], query: npt.NDArray[np.float32]) -> Float64:
    """Return the way in mm (N, 3) from where a query's code lies to where supports' codes lie."""
    return np.asarray(REACH_MM) * np.tanh(support - query).astype(np.float64)


def coarse_position(query: Query, codes: npt.NDArray[np.float32]) -> Float64:
    """Return where points (N, 3) are expected, mm in the padded image: one step, not iterated."""
    start = (query.starts * SPACING).mean(0)
    return start + displacement(codes, query.codes.mean(0))


def nearest_voxels(position_mm: Float64) -> Int:
    """Return the padded voxels (N, 3) nearest to positions, halves to even."""
    return np.rint(position_mm / SPACING).astype(np.int64)


def clamped(voxels: Int, prepared: Prepared) -> Int:
    """Return padded voxels (N, 3) moved into the volume."""
    return np.clip(voxels, PAD, np.array(prepared.image.shape) - PAD - 1)


def refine(
    query: Query,
    fused: Fused,
    voxels: Int,
    features: Callable[[Int], Features],
    done: Callable[[], None] = lambda: None,
) -> tuple[Int, list[Match]]:
    """Move every point to where its template fits best within the patch around it.

    Parameters
    ----------
    voxels
        (N, 3), padded and inside the volume.
    features
        Gives the features of the patch around a padded voxel.
    done
        Called after each point.

    Returns
    -------
    ndarray, list of Match
        Points (N, 3) in 3 mm voxels without padding, perhaps outside the volume.
    """
    matches = []
    for k, voxel in enumerate(voxels):
        template = [t[k] for t in fused.templates]
        matches.append(best_match(template, features(voxel)))
        done()
    return voxels + np.array([m.offset for m in matches]) - PAD, matches


def to_stored(points: npt.NDArray[Any], prepared: Prepared) -> Float64:
    """Take points (parts, 6, 3) in 3 mm voxels to index coordinates of the stored volume.

    Along each stored axis the point that was lowest and the one that was highest change
    places where they stand the other way round.
    """
    index = prepared.frame.to_index(points)
    order = np.argsort(prepared.frame.turned.order)
    return in_order(index[:, [*order, *(order + 3)]])


def in_order(points: Float64) -> Float64:
    """Return extreme points (parts, 6, 3) with the lower one of each axis first."""
    points = points.copy()
    for axis in range(3):
        pair = points[:, [axis, axis + 3]]
        swapped = pair[:, 0, axis] > pair[:, 1, axis]
        points[:, [axis, axis + 3]] = np.where(swapped[:, None, None], pair[:, ::-1], pair)
    return points


def box_corners(points: npt.NDArray[Any]) -> Float64:
    """Return the corners (parts, 2, 3) that extreme points (parts, 6, 3) span, axis by axis."""
    axes = [0, 1, 2]
    return np.stack([points[:, axes, axes], points[:, [3, 4, 5], axes]], axis=1)


def within_box(points: npt.NDArray[Any]) -> Float64:
    """Return extreme points (parts, 6, 3) moved into the box of `box_corners`, which they span."""
    low, high = np.moveaxis(box_corners(points), 1, 0)[:, :, None]
    return np.clip(points, low, high)
