"""*File > Open Sample*: the phantom always, real scans from a samples folder, cache or network."""

from __future__ import annotations

from napari_openmedlab.readers import LayerData, image_layer, label_layer


def torso_phantom() -> list[LayerData]:
    """A procedural torso and its labels; made here, needs no file."""
    from openmedlab.io import phantom

    volume, labels = phantom()
    return [image_layer(volume), label_layer(labels)]


def ct_abdomen() -> list[LayerData]:
    """CT of abdomen and pelvis with 59 structures (TotalSegmentator's example)."""
    return _real("ct_abdpelvis_ts")


def ct_lumbar() -> list[LayerData]:
    """CT of three lumbar vertebrae."""
    return _real("ct_lumbar_tpt")


def mr_brain() -> list[LayerData]:
    """MR of a brain with a tumour."""
    return _real("mr_brain_pyr_brain1")


def mr_cord() -> list[LayerData]:
    """MR of the cervical spinal cord."""
    return _real("mr_cord_sct_t2")


def _real(name: str) -> list[LayerData]:
    from napari.utils.notifications import show_warning

    from openmedlab.io import sample_or_phantom

    volume, labels, note = sample_or_phantom(name)
    if note:
        show_warning(note)
    return [image_layer(volume), label_layer(labels)]
