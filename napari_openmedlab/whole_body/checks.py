"""What can be labelled: a CT volume with a spacing, one sentence otherwise."""

from __future__ import annotations

import numpy as np
from napari.layers import Image

from napari_openmedlab.layers.geometry import KEY, check_stack, finest, transform_of, volume_of
from openmedlab.core import Geometry, InputError, Volume
from openmedlab.engine import require_memory


def volume_to_label(image: Image | None, title: str) -> Volume:
    """Return an image layer as the volume that the model ``title`` labels.

    Raises
    ------
    InputError
        There is no image, it is no CT, no volume, or has no spacing in millimetres.
    MemoryGuardError
        Its labels do not fit into memory.
    """
    if image is None:
        raise InputError("There is no image to label; open a CT first.")
    check_stack(image, f"{title} needs a CT volume of (z, y, x)")
    name = repr(image.name)
    if not _has_spacing(image):
        raise InputError(
            f"{name} has no spacing; set its scale in mm and its units to 'mm', or open the file "
            "with the OpenMEDLab reader."
        )
    volume = volume_of(image)
    if volume.modality not in ("CT", "unknown"):
        raise InputError(
            f"{name} is {volume.modality}, and {title} needs a CT in Hounsfield units; choose a CT."
        )
    if volume.geometry.unit != "millimeter":
        raise InputError(f"{name} is measured in micrometres; {title} needs a CT of a body in mm.")
    lazy = not isinstance(finest(image), np.ndarray)
    voxels = int(np.prod(volume.shape, dtype=np.int64))
    require_memory(voxels * (1 + lazy * volume.dtype.itemsize), f"Labelling {name}")
    return volume


def _has_spacing(image: Image) -> bool:
    """Whether somebody said how large a voxel is: a reader, the layer's units or its scale."""
    if isinstance(image.metadata.get(KEY, {}).get("geometry"), Geometry):
        return True
    if any(not unit.dimensionless and str(unit) != "pixel" for unit in image.units):
        return True
    sizes = np.linalg.norm(transform_of(image)[:3, :3], axis=0)
    return not np.allclose(sizes, 1, rtol=0, atol=1e-9)
