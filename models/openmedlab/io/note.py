"""A small JSON note in files we write: the exact geometry and what labels mean.

Several formats keep less than a `Geometry` or a `LabelVolume` holds (NIfTI's
float32 affine, OME-Zarr's missing rotation, label names). The note rides in a
place each format reserves for extras; other programs skip it, and we trust it
only where it agrees with what the format itself says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import numpy as np

from openmedlab.core.geometry import Geometry
from openmedlab.core.volume import Label, LabelVolume, Modality, Volume

KEY = "openmedlab"
ROUNDING = 5e-7


@dataclass(frozen=True)
class Note:
    """What the note holds; `modality`, `labels` and `method` only where they apply."""

    geometry: Geometry
    modality: Modality = "unknown"
    labels: Mapping[int, Label] = field(default_factory=dict)
    method: str = ""

    @classmethod
    def of(cls, item: Volume | LabelVolume) -> Note:
        """Return the note that describes ``item``."""
        if isinstance(item, Volume):
            return cls(item.geometry, item.modality)
        return cls(item.geometry, labels=item.labels, method=item.method)

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` restores exactly."""
        return {
            "geometry": self.geometry.to_json(),
            "modality": self.modality,
            "labels": labels_to_json(self.labels),
            "method": self.method,
        }

    @classmethod
    def from_json(cls, data: Any) -> Note | None:
        """Rebuild a note; None when ``data`` is not one."""
        try:
            return cls(
                Geometry.from_json(data["geometry"]),
                modality(data["modality"]),
                labels_from_json(data["labels"]),
                str(data["method"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def geometry_near(self, stored: Geometry) -> Geometry:
        """Return the note's exact geometry if ``stored`` is its rounded form, else ``stored``.

        A header edited after we wrote it wins over the note.
        """
        exact = self.geometry
        if exact.shape != stored.shape or exact.unit != stored.unit:
            return stored
        corners = stored.corners()
        near = np.abs(corners - exact.corners()).max() <= ROUNDING * np.abs(corners).max()
        return exact if near else stored

    def to_text(self) -> str:
        """Return the note as one line of text."""
        return json.dumps({KEY: self.to_json()})

    @classmethod
    def from_text(cls, text: str) -> Note | None:
        """Rebuild a note written by `to_text`; None when ``text`` is something else."""
        try:
            data = json.loads(text)
        except ValueError:
            return None
        return cls.from_json(data.get(KEY)) if isinstance(data, dict) else None


def modality(word: object) -> Modality:
    """Return DICOM's modality word if it is one we know, else ``"unknown"``."""
    return cast(Modality, word) if word in get_args(Modality) else "unknown"


def labels_to_json(labels: Mapping[int, Label]) -> dict[str, Any]:
    """Return plain values that `labels_from_json` restores."""
    return {
        str(n): {"name": v.name, "color": v.color and list(v.color), "code": v.code}
        for n, v in labels.items()
    }


def labels_from_json(data: Mapping[str, Any]) -> dict[int, Label]:
    """Rebuild labels; each value is a name, or an object with ``name``, ``color``, ``code``."""
    labels = {}
    for number, value in data.items():
        if isinstance(value, str):
            labels[int(number)] = Label(value)
            continue
        rgb = value.get("color")
        color = (float(rgb[0]), float(rgb[1]), float(rgb[2])) if rgb else None
        labels[int(number)] = Label(str(value["name"]), color, str(value.get("code", "")))
    return labels
