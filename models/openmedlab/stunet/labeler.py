"""`StuNet`: a CT in, its structures out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from openmedlab.core import CancelToken, InputError, Label, LabelVolume, Progress, Region, Volume
from openmedlab.nn.memory import step_down
from openmedlab.stunet import cpu
from openmedlab.stunet.export import Labels
from openmedlab.stunet.network import SIZES, StuNetwork, five_strides
from openmedlab.stunet.pipeline import Pipeline
from openmedlab.stunet.plan import Plan, released_plan
from openmedlab.stunet.predict import Predictor
from openmedlab.stunet.structures import chosen, structures

COARSE = 3.0


class StuNet:
    """STU-Net as a labeler, with nnU-Net's inference and bounded memory.

    Parameters
    ----------
    network
        With its weights.
    device
        ``"cpu"``, ``"cuda"``, ...
    version
        For manifests; changes with code or weights.
    plan
        How the network wants its input; by default the released one.
    fast
        Work at 3 mm: eight times fewer voxels, small structures suffer.
    mirror
        Average over mirrored views, as nnU-Net does by default; eight times slower.
    whole
        Look at every tile, also at those of plain air, exactly as the reference does.
    openvino
        Run on the CPU through OpenVINO; by default where it is installed.
    names
        Of a fine-tuned network's classes after the background.
    """

    def __init__(
        self,
        network: StuNetwork,
        device: str | torch.device = "cpu",
        version: str = "",
        plan: Plan | None = None,
        *,
        fast: bool = False,
        mirror: bool = False,
        whole: bool = False,
        openvino: bool | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self._device = torch.device(device)
        if openvino is None:
            openvino = self._device.type == "cpu" and cpu.usable(network)
        self._openvino = openvino
        batch = 2 if self._device.type == "cuda" else 1
        self._predictor = Predictor(network, self._device, mirror, batch, openvino)
        plan = plan or released_plan()
        if five_strides(plan.strides) != network.strides:
            raise InputError("These plans are for a network of other strides than the weights.")
        self.plan = plan.at(COARSE) if fast else plan
        self._names = tuple(names)
        self.fast = fast
        self._mirror = mirror
        self.whole = whole
        self._version = version or f"{self.name} unversioned"

    @property
    def name(self) -> str:
        """Stable word of the method."""
        width = self._predictor.network.head.in_channels
        size = next((n for n, s in SIZES.items() if s.widths[0] == width), "")
        return f"stu-net-{size[:1]}"

    @property
    def version(self) -> str:
        """Changes whenever the same input would give another answer."""
        marks = {"fast": self.fast, "mirrored": self._mirror, "openvino": self._openvino}
        return " ".join([self._version, *(word for word, on in marks.items() if on)])

    @property
    def classes(self) -> Mapping[int, str]:
        """Names by label number."""
        return {number: label.name for number, label in self._labels.items()}

    def label(
        self,
        volume: Volume,
        classes: Collection[str] | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> LabelVolume:
        """Label a volume on its own grid.

        Raises
        ------
        InputError
            A class is unknown, the volume is empty or not in millimetres.
        Cancelled
            ``cancel`` was raised between two tiles.
        """
        labels = np.zeros(volume.shape, np.uint8)
        self.label_into(labels, volume, classes, progress, cancel)
        return self.named(labels, volume)

    def named(self, labels: Labels, volume: Volume) -> LabelVolume:
        """Return labels with their geometry, names, colours and codes."""
        return LabelVolume(labels, volume.geometry, self._labels, volume.name, self.name)

    @property
    def _labels(self) -> Mapping[int, Label]:
        if self._names:
            known = {s.name: s.label for s in structures().values()}
            return {n: known.get(name, Label(name)) for n, name in enumerate(self._names, 1)}
        if self._predictor.classes == len(structures()) + 1:
            return {number: s.label for number, s in structures().items()}
        return {n: Label(f"class_{n}") for n in range(1, self._predictor.classes)}

    def label_into(
        self,
        labels: Labels,
        volume: Volume,
        classes: Collection[str] | None,
        progress: Progress,
        cancel: CancelToken,
        finished: Callable[[Region], None] = lambda _: None,
    ) -> None:
        """Write labels into an array of the volume's shape, region by region.

        What is finished stays when the work is cancelled. ``finished`` is called with
        every region once it is done. When memory runs out, fewer tiles at once are tried,
        then the CPU; ``progress`` is told.

        Raises
        ------
        InputError
            A class is unknown, or the volume is not in millimetres.
        Cancelled
            ``cancel`` was raised between two tiles.
        MemoryGuardError
            The least way of working ran out of memory too.
        """
        wanted = chosen(classes, self.classes)
        if volume.geometry.unit != "millimeter":
            raise InputError(
                f"{volume.name!r} is not in millimetres; STU-Net knows bodies, not specimens."
            )
        usual = volume.geometry.reorientation("SAR")
        back = usual.geometry.reorientation(volume.geometry.codes)
        array = usual.apply(volume.read())

        def run(predictor: Callable[[], Predictor]) -> None:
            self._predictor = predictor()
            pipeline = Pipeline(
                predictor=self._predictor,
                array=array,
                spacing=usual.geometry.spacing,
                trim=volume.modality == "CT" and not self.whole,
                progress=progress,
                cancel=cancel,
            )
            subset = classes is not None and not self.fast and not self.whole
            part = pipeline.find(self.plan.at(COARSE), wanted) if subset else None
            keep = np.arange(self._predictor.classes, dtype=np.uint8)
            keep[[n not in wanted for n in keep]] = 0
            pipeline.label(
                self.plan,
                usual.apply(labels),
                keep,
                part,
                lambda region: finished(back.region(region)),
            )

        rungs = [(words, partial(run, made)) for words, made in self._ladder()]
        step_down(rungs, lambda text: progress.report(0, 0, text))

    def _ladder(self) -> list[tuple[str, Callable[[], Predictor]]]:
        """Return the ways to run the network, in words, each with less memory."""
        here = self._predictor
        on = f"on {here.device.type}"
        rungs = [(f"{on}, {here.batch} tiles at once", lambda: here)]
        if here.batch > 1:
            rungs.append((f"{on}, one tile at once", lambda: here.moved(here.device)))
        if here.device.type != "cpu":
            rungs.append(("on the CPU", lambda: here.moved(torch.device("cpu"))))
        return rungs
