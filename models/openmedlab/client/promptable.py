"""`RemotePromptable`: a server's model that looks like a local one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from openmedlab.client.desk import Desk
from openmedlab.client.wire import META, read_meta, unpack
from openmedlab.core.contracts import Capabilities, Encoding, LogitsPatch, PromptList
from openmedlab.core.geometry import Geometry
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.core.region import Region
from openmedlab.core.volume import Volume


class RemotePromptable:
    """A promptable that computes on the server; implements `core.Promptable`.

    Parameters
    ----------
    name, version, capabilities
        As the server tells them.
    desk
        Finds the server's session for a volume.

    Notes
    -----
    `encode` sends the volume, once. The logits of an answer are 1 inside and -1 outside.
    """

    def __init__(
        self,
        name: str,
        version: str,
        capabilities: Capabilities,
        desk: Callable[[Volume], Desk],
    ) -> None:
        self.name = name
        self.version = version
        self.capabilities = capabilities
        self._desk = desk

    def region(self, geometry: Geometry, prompts: PromptList) -> Region:
        """Return the whole volume: the server looks for the part it wants."""
        return geometry.region

    def encode(
        self, volume: Volume, region: Region, progress: Progress, cancel: CancelToken
    ) -> Encoding:
        """Send the volume to the server unless it is there."""
        cancel.check()
        desk = self._desk(volume)
        desk.claim(progress)
        return Encoding(region, desk, 0)

    def predict(
        self,
        encoding: Encoding,
        prompts: PromptList,
        previous: LogitsPatch | None,
        progress: Progress,
        cancel: CancelToken,
    ) -> LogitsPatch:
        """Return the server's mask for ``prompts``, oldest first."""
        desk: Desk = encoding.data
        body = {
            "model": self.name,
            "prompts": [p.to_json() for p in prompts],
            "previous": previous.state if previous is not None else None,
        }
        answer = desk.ask("answer", body, progress, cancel)
        meta = read_meta(answer.headers.get(META))
        for stage, seconds in meta["timings"].items():
            setattr(progress.timings, stage, getattr(progress.timings, stage) + seconds)
        return self._patch(answer.content, meta)

    def _patch(self, content: bytes, meta: dict[str, Any]) -> LogitsPatch:
        region = Region(tuple(meta["start"]), tuple(meta["stop"]))
        mask = unpack(content, max(region.size, 1))
        logits = np.where(mask, np.float32(1), np.float32(-1))
        return LogitsPatch(region, logits, self.name, tuple(meta["given"]), meta["state"])

    def warm_up(self) -> None:
        """Nothing to do: the server warms its models itself."""
