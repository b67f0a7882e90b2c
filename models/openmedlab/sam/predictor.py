"""`Sam` and `MedSam`: Segment Anything and MedSAM on the slices of a volume.

Kirillov et al., Segment Anything (2023); Ma et al., Segment Anything in Medical Images (2024).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.nn.slice_plan import Turn
from openmedlab.nn.slices import SlicePromptable
from openmedlab.sam.network import SIZE
from openmedlab.sam.transform import resized_shape, to_frame, to_image, to_input

LOW = 256
MASK_LOGIT = 8.0


def decode(
    network: Any,
    embedding: Tensor,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    boxes: Tensor | None = None,
    masks: Tensor | None = None,
    multimask: bool = True,
) -> tuple[Tensor, Tensor]:
    """Decode B prompt sets over one image embedding (1, 256, 64, 64).

    Parameters
    ----------
    points, labels, boxes, masks
        (B, N, 2) as (x, y) in the 1024 frame, (B, N), (B, 4), (B, 1, 256, 256) logits.
    multimask
        True for masks 1 to 3 unsorted, False for mask 0.

    Returns
    -------
    logits, scores
        (B, 3 or 1, 256, 256), (B, 3 or 1).
    """
    clicks = None if points is None else (points, labels)
    sparse, dense = network.prompt_encoder(clicks, boxes, masks)
    encoding = network.prompt_encoder.get_dense_pe()
    logits, scores = network.mask_decoder(embedding, encoding, sparse, dense, multimask)
    return logits, scores


class Sam(SlicePromptable):
    """SAM's predictor: the long side at 1024 pixels.

    A single point is answered with the best-scored of three masks, anything more with one.
    """

    name: ClassVar[str] = "sam"
    embedding_bytes: ClassVar[int] = 256 * 64 * 64 * 4
    input_side: ClassVar[int] = SIZE

    def _input(self, picture: npt.NDArray[np.uint8]) -> Tensor:
        return to_input(picture)

    def _frame(self, points: npt.NDArray[np.float64], shape: tuple[int, int]) -> Tensor:
        return to_frame(points, shape)

    def _image(self, low: Tensor, shape: tuple[int, int]) -> Tensor:
        return to_image(low, shape)

    def _frame_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        return resized_shape(shape)

    def _decode(
        self, embedding: Tensor, shape: tuple[int, int], turn: Turn, low: Tensor | None
    ) -> tuple[Tensor, float, Tensor]:
        device = embedding.device
        points = labels = boxes = None
        if turn.points:
            points = self._frame(np.array(turn.points), shape)[None].to(device)
            labels = torch.tensor(turn.labels, device=device)[None]
        if turn.box is not None:
            boxes = self._frame(np.reshape(turn.box, (1, 2, 2)), shape).flatten(1).to(device)
        masks = None if low is None else low.to(device)
        ambiguous = len(turn.points) == 1 and boxes is None and masks is None
        logits, scores = decode(
            self._run.network, embedding, points, labels, boxes, masks, multimask=ambiguous
        )
        best = int(scores[0].argmax())
        chosen = logits[:, best : best + 1]
        return self._image(chosen, shape)[0, 0], float(scores[0, best]), chosen

    def _low_of_mask(self, plane: npt.NDArray[np.bool_]) -> Tensor:
        height, width = (n * LOW // SIZE for n in self._frame_shape(plane.shape))
        share = functional.interpolate(
            torch.from_numpy(plane.astype(np.float32))[None, None],
            (max(height, 1), max(width, 1)),
            mode="area",
        )
        inside = (2 * share - 1) * MASK_LOGIT
        return functional.pad(
            inside, (0, LOW - inside.shape[-1], 0, LOW - inside.shape[-2]), value=-MASK_LOGIT
        )


class MedSam(Sam):
    """MedSAM: like SAM, but the slice is stretched to 1024 x 1024 and scaled to 0..1."""

    name: ClassVar[str] = "medsam"

    def _input(self, picture: npt.NDArray[np.uint8]) -> Tensor:
        grey = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        square = functional.interpolate(grey, (SIZE, SIZE), mode="bicubic", antialias=True)
        square = square.clamp(0, 255)
        low, high = square.amin(), square.amax()
        return (square - low) / (high - low).clamp(min=1e-8)

    def _frame(self, points: npt.NDArray[np.float64], shape: tuple[int, int]) -> Tensor:
        scaled = np.asarray(points, float) * (SIZE / shape[1], SIZE / shape[0])
        return torch.from_numpy(scaled.astype(np.float32))

    def _image(self, low: Tensor, shape: tuple[int, int]) -> Tensor:
        return functional.interpolate(low, shape, mode="bilinear", align_corners=False)

    def _frame_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        return SIZE, SIZE
