"""Sessions for image layers: new, continued in a Labels layer, or restored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels

from napari_openmedlab import journals
from napari_openmedlab.layers.geometry import KEY, check_labels, volume_of, volumetric
from openmedlab.core import InputError, Journal, Label, Session, Volume
from openmedlab.engine import journal_path, require_memory

LABEL_TYPE = np.dtype(np.uint16)


@dataclass(frozen=True, eq=False)
class Opened:
    """A session, and the journal of an earlier one on the same volume, if there is one.

    `warning` is a sentence when the session cannot be journalled.
    """

    session: Session
    earlier: Path | None = None
    warning: str = ""


def new_session(image: Image) -> Opened:
    """Begin with empty labels; of a lazy image call it off the GUI thread.

    Raises
    ------
    InputError
        The layer cannot be segmented, or the labels do not fit into memory.
    """
    volume = volume_of(image)
    voxels = int(np.prod(volume.shape, dtype=np.int64))
    require_memory(voxels * LABEL_TYPE.itemsize, f"A label layer for {image.name!r}")
    return _open(volume, np.zeros(volume.shape, LABEL_TYPE))


def continued_session(image: Image, labels: Labels) -> Opened:
    """Continue in a Labels layer of the same grid; its labels become objects.

    Prompts refine the masks that are there, and hidden labels stay hidden. Looks at every
    voxel once, so call it off the GUI thread.
    """
    volume = volume_of(image)
    opened = _open(volume, volumetric(labels.data))
    known = labels.metadata.get(KEY, {}).get("labels", {})
    colors = getattr(labels.colormap, "color_dict", {})
    for number in _numbers(opened.session.labelmap):
        meaning = known.get(number, Label(f"label {number}"))
        opened.session.add_object(
            meaning.name, number=number, color=meaning.color, code=meaning.code
        )
        opened.session.extent(number)
        opened.session.build_on(number)
        if number in colors and not colors[number][3]:
            opened.session.update_object(number, visible=False)
    return opened


def check_pair(image: Image, labels: Labels) -> None:
    """Raise `InputError` when ``labels`` cannot be continued on ``image``."""
    volume_of(image)
    check_labels(labels, image)


def restored_session(waiting: Path, volume: Volume) -> Session:
    """Replay a waiting journal, which becomes the live one; call it off the GUI thread.

    Raises
    ------
    InputError
        The journal is damaged or belongs to another volume.
    """
    live = journal_path(volume.identity)
    journals.bring_back(waiting, live)
    return Session.replay(live, volume)


def _open(volume: Volume, labelmap: npt.NDArray[Any]) -> Opened:
    path = journal_path(volume.identity)
    try:
        earlier = journals.set_aside(path)
        journal = Journal(path)
    except (OSError, InputError) as error:
        warning = f"This session is not journalled, a crash would lose it: {error}"
        return Opened(Session(volume, labelmap), warning=warning)
    return Opened(Session(volume, labelmap, journal=journal), earlier)


def _numbers(labelmap: npt.NDArray[Any]) -> list[int]:
    found: set[int] = set()
    for z in range(labelmap.shape[0]):
        found.update(np.unique(labelmap[z]).tolist())
    return sorted(n for n in found if n > 0)
