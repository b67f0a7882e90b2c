"""`Plan`: what nnU-Net's plans say about preparing an image and tiling it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from openmedlab.core import InputError

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]

SCHEMES = ("CT", "CT2", "nonCT", "noNorm")


@dataclass(frozen=True)
class Intensities:
    """A data set's foreground intensities, for the schemes that clip."""

    mean: float
    deviation: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Plan:
    """How a network wants its input; one image channel.

    Attributes
    ----------
    patch
        Tile shape (z, y, x).
    spacing
        Voxel size the network was trained at, in mm, in the transposed frame.
    scheme
        ``"CT"`` clips to the data set's percentiles, ``"CT2"`` too but scales by the
        image's own voxels between them, ``"nonCT"`` is the whole image's z-score,
        ``"noNorm"`` leaves intensities alone.
    masked
        Whether only the non-zero part is normalised and the rest set to 0.
    intensities
        For the schemes that clip.
    transpose
        Frame axis k is array axis ``transpose[k]``.
    strides
        Five downsampling factors.
    classes
        Outputs, background included.
    """

    patch: Triple
    spacing: Spacing
    scheme: str
    masked: bool
    intensities: Intensities | None
    transpose: Triple
    strides: tuple[Triple, ...]
    classes: int

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InputError(
                f"The plans ask for the normalisation {self.scheme!r}; known: {', '.join(SCHEMES)}."
            )
        if self.scheme in ("CT", "CT2") and self.intensities is None:
            raise InputError("The plans ask for CT normalisation but hold no intensity statistics.")

    @classmethod
    def from_nnunet(cls, content: Mapping[str, Any]) -> Plan:
        """Read what `openmedlab.zoo.read_plans` returned of a nnU-Net v1 ``.pkl``.

        The last stage (full resolution) is taken.

        Raises
        ------
        InputError
            Entries are missing, or there is more than one image channel.
        """
        plans = content.get("plans", content)
        try:
            if plans["num_modalities"] != 1:
                raise InputError("These plans are for several image channels; one is supported.")
            stage = max(plans["plans_per_stage"].items(), key=lambda item: int(item[0]))[1]
            statistics = plans["dataset_properties"]["intensityproperties"] or {}
            return cls(
                patch=_triple(stage["patch_size"]),
                spacing=_spacing(stage["current_spacing"]),
                scheme=plans["normalization_schemes"]["0"],
                masked=bool(plans["use_mask_for_norm"]["0"]),
                intensities=_intensities(statistics.get("0")),
                transpose=_triple(plans["transpose_forward"]),
                strides=tuple(_triple(s) for s in stage["pool_op_kernel_sizes"]),
                classes=int(plans["num_classes"]) + 1,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"The plans are incomplete ({error!r}); give the .model.pkl that came with the "
                "checkpoint."
            ) from error

    def at(self, spacing: float) -> Plan:
        """Return the plan with another isotropic voxel size."""
        return replace(self, spacing=(spacing,) * 3)


@cache
def released_plan() -> Plan:
    """Return the plan of the released TotalSegmentator weights, the same for all sizes."""
    text = resources.files(__package__).joinpath("plans.json").read_text(encoding="utf-8")
    return Plan.from_nnunet(json.loads(text))


def _intensities(values: Mapping[str, float] | None) -> Intensities | None:
    if not values:
        return None
    return Intensities(
        float(values["mean"]),
        float(values["sd"]),
        float(values["percentile_00_5"]),
        float(values["percentile_99_5"]),
    )


def _triple(values: Sequence[float]) -> Triple:
    z, y, x = (int(v) for v in values)
    return z, y, x


def _spacing(values: Sequence[float]) -> Spacing:
    z, y, x = (float(v) for v in values)
    return z, y, x
