"""SAM and MedSAM on slices exactly as MedLSAM's published pipeline runs them.

Lei et al., MedLSAM (2025), section 3.2, and openmedlab/MedLSAM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.core import CancelToken, Capabilities, Encoding, Progress, Region, Volume
from openmedlab.nn.slice_plan import Rectangle, Turn, slice_region
from openmedlab.nn.slices import KEPT_BYTES, SliceScene, grey_window
from openmedlab.sam.network import SIZE
from openmedlab.sam.predictor import Sam, decode
from openmedlab.sam.transform import to_input

HU = (-500.0, 1000.0)
MARGIN = 10
SLAB = 16


@dataclass
class PaperScene(SliceScene):
    """A CT whose voxels of exactly 0 HU are black, as the original leaves them."""

    def picture(self, axis: int, index: int) -> npt.NDArray[np.uint8]:
        """Return a slice as a grey RGB picture (h, w, 3), values cut to whole numbers."""
        plane = self.volume.read(slice_region(self.volume.shape, axis, index)).squeeze(axis)
        low, high = self.shown
        share = (np.clip(plane, *HU).astype(np.float64) - low) / max(high - low, 1e-6)
        grey = np.where(plane == 0, 0, share * 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)


def clipped_range(volume: Volume) -> tuple[float, float]:
    """Return the smallest and largest value of a CT, both kept within -500 and 1000."""
    ends = []
    for first in range(0, volume.shape[0], SLAB):
        stop = min(first + SLAB, volume.shape[0])
        slab = volume.read(Region((first, 0, 0), (stop, *volume.shape[1:])))
        ends.append((np.nanmin(slab), np.nanmax(slab)))
    low, high = np.clip(ends, *HU).T
    return float(low.min()), float(high.max())


class PaperSlices(Sam):
    """SAM's or MedSAM's network with MedLSAM's pictures, boxes and masks.

    A slice of a CT is cut to -500..1000 HU, stretched to 1024 x 1024, and given with one
    box, widened by 10 pixels there; nothing is followed from slice to slice. Other images
    are shown as `openmedlab.nn.slices.grey_window` tells.

    Notes
    -----
    The original leaves out slices with few voxels of the organ in the *ground truth*. Ours
    reads no ground truth: every slice that a box covers is segmented.
    """

    name: ClassVar[str] = "medlsam-slices"
    capabilities = Capabilities(frozenset({"box"}), negative=False, dimensions=2, refines=False)

    @classmethod
    def of(cls, sam: Sam) -> PaperSlices:
        """Return the network of a SAM predictor in this guise."""
        run = sam._run
        return cls(run.network, str(run.device), f"{sam.name} {sam.version}", propagate=False)

    def encode(
        self, volume: Volume, region: Region, progress: Progress, cancel: CancelToken
    ) -> Encoding:
        """Find the grey levels; slices follow when they are first needed."""
        cancel.check()
        held = min(KEPT_BYTES, sum(volume.shape) * self.embedding_bytes)
        if volume.modality in ("CT", "unknown"):
            return Encoding(region, PaperScene(volume, clipped_range(volume)), held)
        return Encoding(region, SliceScene(volume, grey_window(volume)), held)

    def _input(self, picture: npt.NDArray[np.uint8]) -> Tensor:
        return to_input(np.repeat(stretched(picture[..., 0])[..., None], 3, axis=2))

    def _decode(
        self, embedding: Tensor, shape: tuple[int, int], turn: Turn, low: Tensor | None
    ) -> tuple[Tensor, float, Tensor]:
        assert turn.box is not None
        box = torch.tensor([frame_box(turn.box, shape)]).to(embedding.device)
        logits, scores = decode(self._run.network, embedding, boxes=box, multimask=False)
        return slice_logits(logits, shape), float(scores[0, 0]), logits


def stretched(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Stretch a slice (h, w) to 1024 x 1024, the aspect ratio not kept, values cut."""
    from skimage.transform import resize

    square = resize(
        plane, (SIZE, SIZE), order=2, mode="constant", anti_aliasing=True, preserve_range=True
    )
    cut: npt.NDArray[np.uint8] = square.astype(np.uint8)
    return cut


def frame_box(box: Rectangle, shape: tuple[int, int]) -> tuple[float, ...]:
    """Take a box (x0, y0, x1, y1) of a slice (h, w) to the frame of 1024, 10 pixels wider."""
    height, width = shape
    corners = np.reshape(box, (2, 2)) * SIZE / (width, height)
    low, high = np.rint(corners)
    return (*(low - MARGIN).tolist(), *(high + MARGIN).tolist())


def slice_logits(low: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return logits (h, w) whose sign is the published mask of low-resolution logits.

    The probability (not the logit) is enlarged to 1024, then its nearest pixels are taken.
    """
    frame = functional.interpolate(
        low.sigmoid(), (SIZE, SIZE), mode="bilinear", align_corners=False
    )
    rows, columns = (torch.arange(n) * SIZE // n for n in shape)
    return frame[0, 0][rows][:, columns].logit(1e-6)
