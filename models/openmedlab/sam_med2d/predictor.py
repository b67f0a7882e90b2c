"""`SamMed2D`: SAM-Med2D on the slices of a volume (Cheng et al., 2023)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.nn.slice_plan import Turn
from openmedlab.nn.slices import SlicePromptable
from openmedlab.sam_med2d.network import GRID, SIZE, WIDTH
from openmedlab.sam_med2d.transform import to_frame, to_image, to_input

LOW = 4 * GRID
MASK_LOGIT = 8.0


class SamMed2D(SlicePromptable):
    """SAM-Med2D's interactive predictor: 256 x 256 pixels, the best-scored of three masks."""

    name: ClassVar[str] = "sam-med2d"
    embedding_bytes: ClassVar[int] = WIDTH * GRID * GRID * 4
    input_side: ClassVar[int] = SIZE

    def _input(self, picture: npt.NDArray[np.uint8]) -> Tensor:
        return to_input(picture)

    def _decode(
        self, embedding: Tensor, shape: tuple[int, int], turn: Turn, low: Tensor | None
    ) -> tuple[Tensor, float, Tensor]:
        device = embedding.device
        points = to_frame(np.array(turn.points), shape)[None].to(device) if turn.points else None
        labels = torch.tensor(turn.labels, device=device)[None] if turn.points else None
        boxes = None
        if turn.box is not None:
            boxes = to_frame(np.reshape(turn.box, (1, 2, 2)), shape).flatten(1).to(device)
        masks = None if low is None else low.to(device).sigmoid()
        logits, score = self._run.network.decode(embedding, points, labels, boxes, masks)
        return to_image(logits, shape)[0, 0], float(score), logits

    def _low_of_mask(self, plane: npt.NDArray[np.bool_]) -> Tensor:
        share = functional.interpolate(
            torch.from_numpy(plane.astype(np.float32))[None, None], (LOW, LOW), mode="area"
        )
        return (2 * share - 1) * MASK_LOGIT
