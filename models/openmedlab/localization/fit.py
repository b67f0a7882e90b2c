"""Whether templates and a scan can go together at all."""

from __future__ import annotations

import numpy as np

from openmedlab.core import InputError, Modality, Volume

AIR_HU = -200


def likely_modality(volume: Volume) -> Modality:
    """Return the modality a file tells, or ``"CT"`` where only Hounsfield units go so low."""
    if volume.modality != "unknown":
        return volume.modality
    return "CT" if _range(volume)[0] <= AIR_HU else "unknown"


def require_fit(volume: Volume, modalities: set[Modality]) -> None:
    """Raise `InputError` for a scan that templates of these modalities cannot be found in.

    It is empty (one value everywhere), or another kind of image.
    """
    low, high = _range(volume)
    if low == high:
        raise InputError(f"{volume.name} is empty: all its voxels have the value {low:g}.")
    own = likely_modality(volume)
    told = modalities - {"unknown"}
    if not told or own in told:
        return
    kinds = " or ".join(sorted(told))
    if own != "unknown":
        raise InputError(
            f"{volume.name} is {own}, but the templates were marked on {kinds}; give templates of "
            "the same kind of image."
        )
    if told == {"CT"}:
        raise InputError(
            f"{volume.name} does not look like a CT in Hounsfield units (its lowest value is "
            f"{low:g}), but the templates were marked on CT; give templates of the same kind of "
            "image."
        )


def _range(volume: Volume) -> tuple[float, float]:
    """Smallest and largest value, of the coarsest copy there is."""
    voxels = (volume.pyramid or (volume,))[-1].read()
    return float(np.min(voxels)), float(np.max(voxels))
