"""`SamMed3D`: clicks in a volume, a 3D mask, one encoding per window.

Wang et al., SAM-Med3D (ECCV workshops 2024), and its published inference script.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from openmedlab.core import (
    CancelToken,
    Capabilities,
    Encoding,
    Geometry,
    LogitsPatch,
    Progress,
    Region,
    Volume,
)
from openmedlab.core.constraints import pin
from openmedlab.core.contracts import PromptList
from openmedlab.nn.device import Runner
from openmedlab.sam_med3d.frame import SIZE, SPACING, Frame, window
from openmedlab.sam_med3d.large import Canvas, holds_clicks, segment_large, touches_border
from openmedlab.sam_med3d.network import LOW
from openmedlab.sam_med3d.rounds import (
    TAKES,
    Round,
    known_extent,
    middle_voxel,
    opening_first,
    rounds_of,
)
from openmedlab.sam_med3d.scene import WINDOW_BYTES, WINDOWS_KEPT, Memory, Scene, full_logits


@dataclass(frozen=True)
class State:
    """What a prediction leaves for the next: the rounds played in each window of a region.

    ``version`` is the model's; another one's rounds are of no use.
    """

    region: Region
    version: str
    memory: Memory


class SamMed3D:
    """SAM-Med3D behind the `Promptable` contract.

    Parameters
    ----------
    network
        `SamMed3DNetwork` with its weights loaded.
    device
        ``"cpu"``, ``"cuda"``, ...
    version
        Changes with the weights.

    Notes
    -----
    A volume is seen as the published pipeline does: RAS+ axes, 1.5 units isotropic, a
    window of 128^3 around the first prompt. The answer is a function of the prompts
    alone; ``previous`` only saves repeating rounds already played.
    """

    name = "sam-med3d"
    capabilities = Capabilities(TAKES | {"mask"})

    def __init__(self, network: Any, device: str, version: str) -> None:
        self._run = Runner(network, device, (1, 1, SIZE, SIZE, SIZE), version)

    @property
    def version(self) -> str:
        """Changes with the weights, and with the encoder's precision."""
        return self._run.version

    def region(self, geometry: Geometry, prompts: PromptList) -> Region:
        """Return the surroundings of the first positive prompt; they may stick out of the volume.

        The window's middle is the region's middle voxel.
        """
        middle = Region.around(middle_voxel(opening_first(prompts)[0])[None])
        return middle.padded(Frame(geometry).native_reach())

    def encode(
        self, volume: Volume, region: Region, progress: Progress, cancel: CancelToken
    ) -> Encoding:
        """Sample the window in the middle of ``region`` and embed it.

        Raises
        ------
        InputError
            The window holds no two different values above 0.
        """
        cancel.check()
        progress.report(0, 1, "encoding the surroundings")
        scene = self._scene(volume, region)
        scene.embedding(scene.first)
        progress.report(1, 1, "encoded")
        return Encoding(region, scene, WINDOWS_KEPT * WINDOW_BYTES)

    def predict(
        self,
        encoding: Encoding,
        prompts: PromptList,
        previous: LogitsPatch | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> LogitsPatch:
        """Return the mask for all ``prompts`` of one object, oldest first.

        Raises
        ------
        PromptError
            No prompt is positive, or one is of a kind the model cannot take.
        Cancelled
            ``cancel`` was raised; it is looked at between windows.
        """
        scene: Scene = encoding.data
        rounds, words = rounds_of(prompts)
        memory = self._remembered(previous, encoding.region)
        with torch.inference_mode():
            canvas = self._segment(scene, rounds, prompts, memory, progress, cancel)
        given = (*words, canvas.told) if canvas.told else words
        region, logits = _to_native(canvas)
        patch = LogitsPatch(
            region, logits, self.name, given, State(encoding.region, self.version, memory)
        )
        return pin(patch, prompts)

    def warm_up(self) -> None:
        """Run encoder and decoder once at their only shapes."""
        embedding = self._run.encode(torch.zeros(1, 1, SIZE, SIZE, SIZE))
        points, labels = torch.zeros(1, 1, 3), torch.ones(1, 1, dtype=torch.int64)
        inputs = (points, labels, torch.zeros(1, 1, LOW, LOW, LOW))
        with torch.inference_mode():
            self._run.network.decode(embedding, *(x.to(self._run.device) for x in inputs))

    def pack(self, encoding: Encoding) -> Mapping[str, npt.NDArray[Any]]:
        """Return the first window's embedding, for the disk cache."""
        scene: Scene = encoding.data
        return {"embedding": scene.embedding(scene.first).float().cpu().numpy()}

    def unpack(
        self, volume: Volume, region: Region, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Encoding:
        """Rebuild what `pack` took apart."""
        scene = self._scene(volume, region)
        embedding = torch.from_numpy(np.array(arrays["embedding"]))
        scene.embeddings[scene.first] = embedding.to(self._run.device)
        return Encoding(region, scene, WINDOWS_KEPT * WINDOW_BYTES)

    def _scene(self, volume: Volume, region: Region) -> Scene:
        frame = Frame(volume.geometry)
        middle = [(a + b) // 2 for a, b in zip(region.start, region.stop, strict=True)]
        voxel = np.floor(frame.from_native(middle) + 0.5)
        start = frame.window_start(Region.around(voxel[None]))
        return Scene(volume, start, self._run.network, self._run.encode)

    def _remembered(self, previous: LogitsPatch | None, region: Region) -> Memory:
        state = previous.state if previous is not None else None
        if isinstance(state, State) and (state.region, state.version) == (region, self.version):
            return dict(state.memory)
        return {}

    def _segment(
        self,
        scene: Scene,
        rounds: list[Round],
        prompts: PromptList,
        memory: Memory,
        progress: Progress,
        cancel: CancelToken,
    ) -> Canvas:
        cancel.check()
        frame = scene.frame(SPACING)
        logits = full_logits(scene.play(scene.first, rounds, memory))
        area = window(scene.start)
        extent = known_extent(prompts)
        if extent is not None:
            corners = np.array([extent.start, extent.stop], float) - 0.5
            fits = _holds(area, frame.from_native(corners))
        else:
            inside = holds_clicks(scene, scene.first, rounds[-1])
            fits = inside and not touches_border(logits, scene.start, frame)
        if fits:
            return Canvas(frame, area, logits)
        return segment_large(scene, rounds, memory, progress, cancel)


def _holds(area: Region, points: npt.NDArray[np.float64]) -> bool:
    """Whether canonical points (N, 3) lie in a window."""
    low, high = np.asarray(area.start) - 0.5, np.asarray(area.stop) - 0.5
    return bool(((points >= low) & (points <= high)).all())


def _to_native(canvas: Canvas) -> tuple[Region, npt.NDArray[np.float32]]:
    """Return the mask's surroundings on the native grid, by nearest neighbour."""
    box = Region.of_mask(canvas.logits > 0)
    if box is None:
        return Region((0, 0, 0), (1, 1, 1)), np.full((1, 1, 1), -1, np.float32)
    keep = box.padded(1).clipped(canvas.logits.shape).shifted(canvas.region.start)
    region, logits = canvas.frame.paste(canvas.logits, canvas.region.start, keep)
    if not region:
        return Region((0, 0, 0), (1, 1, 1)), np.full((1, 1, 1), -1, np.float32)
    return region, np.ascontiguousarray(logits, np.float32)
