"""`PctNetLabeler`: a fine-tuned PCT-Net labels a volume."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from openmedlab.core import CancelToken, InputError, Label, LabelVolume, Progress, Volume
from openmedlab.misfm.frame import Frame
from openmedlab.misfm.pctnet import INPUT, PctNet
from openmedlab.misfm.window import sliding_window
from openmedlab.nn.device import autocast


class PctNetLabeler:
    """PCT-Net with classes of its own, by windows that overlap by half.

    Parameters
    ----------
    network
        With its fine-tuned weights.
    names
        Of its classes after the background.
    frame
        How it wants a volume.
    device
        ``"cpu"``, ``"cuda"``, ...
    version
        For manifests; changes with code or weights.
    """

    name = "pct-net"

    def __init__(
        self, network: PctNet, names: Sequence[str], frame: Frame, device: str, version: str
    ) -> None:
        self._device = torch.device(device)
        self._network = network.eval().requires_grad_(False).to(self._device)
        self._names, self._frame, self.version = tuple(names), frame, version

    @property
    def classes(self) -> Mapping[int, str]:
        """Names by label number."""
        return dict(enumerate(self._names, 1))

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
            A class is unknown, or the volume is plain.
        Cancelled
            ``cancel`` was raised between two windows.
        """
        if unknown := [name for name in classes or () if name not in self._names]:
            known = ", ".join(self._names)
            raise InputError(f"There is no structure {unknown[0]!r}; there are {known}.")
        with progress.stage("prepare"):
            image = self._frame.image(volume).to(self._device)
        with progress.stage("infer"):
            found = self._predict(image, progress, cancel)
        for number, name in self.classes.items():
            if classes is not None and name not in classes:
                found[found == number] = 0
        with progress.stage("write"):
            labels = self._frame.native(found, volume.geometry)
        meaning = {n: Label(name) for n, name in self.classes.items()}
        return LabelVolume(labels, volume.geometry, meaning, volume.name, self.name)

    def _predict(
        self, image: Tensor, progress: Progress, cancel: CancelToken
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return class numbers on the frame's grid."""
        lacking = [max(0, w - n) for w, n in zip(INPUT, image.shape, strict=True)]
        sides = [(n // 2, n - n // 2) for n in lacking]
        wide = functional.pad(image, [n for side in sides[::-1] for n in side])
        stride = tuple(w // 2 for w in INPUT)
        total = int(np.prod([-(-n // s) for n, s in zip(wide.shape, stride, strict=True)]))
        done = 0

        def run(window: Tensor) -> Tensor:
            nonlocal done
            cancel.check()
            progress.report(done, total, f"window {done + 1} of {total}")
            done += 1
            with autocast(self._device):
                logits: Tensor = self._network(window)
            return logits.float()

        with torch.inference_mode():
            logits = sliding_window(wide[None, None], run, INPUT, stride)
            labels = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
        inner = tuple(slice(a, a + n) for (a, _), n in zip(sides, image.shape, strict=True))
        return np.asarray(labels[inner])
