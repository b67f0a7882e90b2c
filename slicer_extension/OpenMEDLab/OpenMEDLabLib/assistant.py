"""What the module and the effect have in common: one server, one thread, one memory of segments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from openmedlab.core import Prompt, PromptError, Region
from OpenMEDLabLib.background import Background, Done, Report, Told
from OpenMEDLabLib.frames import volume_of
from OpenMEDLabLib.masks import Mask, segment_mask
from OpenMEDLabLib.prompt_nodes import PromptNodes, in_order
from OpenMEDLabLib.remote import Question, Remote
from OpenMEDLabLib.writing import Editor, write_mask

Placed = tuple[Region, Mask]


@dataclass(frozen=True)
class Target:
    """A segment, and the volume it is seen on."""

    volume: Any
    segmentation: Any
    segment_id: str

    @property
    def key(self) -> tuple[str, str]:
        """Names the segment, whatever it is called."""
        return self.segmentation.GetID(), self.segment_id

    @property
    def prompts(self) -> PromptNodes:
        """The segment's markups."""
        return PromptNodes(self.segmentation, self.segment_id)

    @property
    def alive(self) -> bool:
        """Whether all three are still in the scene."""
        scene = slicer.mrmlScene
        there = scene.IsNodePresent(self.volume) and scene.IsNodePresent(self.segmentation)
        return bool(there) and self.segmentation.GetSegmentation().GetSegment(self.segment_id)

    def mask(self) -> Placed:
        """Return the segment on the volume's grid."""
        return segment_mask(self.segmentation, self.segment_id, self.volume)


@dataclass(frozen=True)
class Listener:
    """Who wants to know how a request goes on.

    Attributes
    ----------
    done
        Called with the result.
    failed
        Called with a sentence.
    report
        Called as ``report(done, total, text)`` meanwhile.
    ended
        Called last, always.
    """

    done: Done
    failed: Told
    report: Report | None = None
    ended: Callable[[], None] | None = None


class Assistant:
    """Asks a server and writes what it answers; never blocks its caller.

    Attributes
    ----------
    address, token
        Of the server; an empty token is none.
    model
        Name of the promptable that answers.
    models
        What the server offered when it was last asked.
    """

    def __init__(self, remote: Remote | None = None) -> None:
        self.remote = remote or Remote()
        self.background = Background()
        self.address = ""
        self.token = ""
        self.model = "builtin"
        self.models: tuple[Any, ...] = ()
        self._written: dict[Hashable, Placed] = {}
        self._known: dict[Hashable, tuple[Prompt, ...]] = {}

    def test(self, listener: Listener) -> None:
        """Find out whether the server can be worked with; the listener gets a `TestResult`."""
        where = self._where()
        self.run("test", lambda _p, _c: self.remote.test(*where), listener)

    def ask_models(self, listener: Listener) -> None:
        """Ask what the server offers; the listener gets the models once `models` holds them."""
        where = self._where()

        def keep(models: tuple[Any, ...]) -> None:
            self.models = models
            listener.done(models)

        heard = Listener(keep, listener.failed, listener.report, listener.ended)
        self.run("models", lambda _p, _c: self.remote.models(*where), heard)

    def offers(self, task: str) -> list[Any]:
        """Return the server's models for ``"promptable"``, ``"labels"`` or ``"localize"``."""
        return [m for m in self.models if m.task == task]

    def segment(
        self,
        target: Target,
        editor: Editor,
        listener: Listener,
        *,
        further: Sequence[Prompt] = (),
        from_present: bool = True,
    ) -> None:
        """Ask for the mask that a segment's prompts describe, and write it.

        Parameters
        ----------
        target
            The segment; its markups are the prompts.
        editor
            Writes the answer.
        further
            Prompts that are no markups (scribbles painted as segments).
        from_present
            Whether a segment that already held something is where the model starts.

        Raises
        ------
        OpenMedLabError
            There is no positive prompt, one is not on the volume, or the volume
            cannot be used.
        """
        volume = volume_of(target.volume)
        found = (*further, *target.prompts.prompts(target.volume))
        prompts = in_order(self._known.get(target.key, ()), found)
        for prompt in prompts:
            prompt.check(volume.geometry)
        hand = self._by_hand(target, from_present)
        if not any(getattr(p, "positive", True) for p in prompts):
            raise PromptError("Place a positive point, a box, six extreme points or a scribble.")
        self._known[target.key] = prompts
        question = Question(target.key, volume, prompts, self.model, hand)
        where = self._where()

        def work(progress: Any, cancel: Any) -> Placed:
            client = self.remote.connect(*where)
            return self.remote.segment(client, question, progress, cancel)

        def write(answer: Placed) -> None:
            if target.alive:
                write_mask(editor, *answer, target.volume, target.segmentation, target.segment_id)
                self._written[target.key] = target.mask()
                listener.done(answer)

        heard = Listener(write, listener.failed, listener.report, listener.ended)
        self.run(target.key, work, heard)

    def label(
        self,
        volume: Any,
        model: str,
        classes: Collection[str] | None,
        fast: bool,
        listener: Listener,
    ) -> None:
        """Ask for all structures of a volume node; the listener gets a `LabelVolume`."""
        image, where = volume_of(volume), self._where()

        def work(progress: Any, cancel: Any) -> Any:
            client = self.remote.connect(*where)
            return self.remote.label(client, image, model, classes, fast, progress, cancel)

        self.run("label", work, listener)

    def organs(self, listener: Listener) -> None:
        """Ask which organs the server's templates can find."""
        where = self._where()
        self.run("organs", lambda _p, _c: self.remote.organs(*where), listener)

    def localize(
        self, volume: Any, model: str, organs: Collection[str] | None, listener: Listener
    ) -> None:
        """Ask where organs are; the listener gets a `Localization` by name."""
        image, where = volume_of(volume), self._where()

        def work(progress: Any, cancel: Any) -> Any:
            client = self.remote.connect(*where)
            return self.remote.localize(client, image, model, organs, progress, cancel)

        self.run("localize", work, listener)

    def cancel(self) -> None:
        """Stop all that is under way."""
        self.background.cancel()

    def forget(self) -> None:
        """Stop, and forget all segments (the scene was closed)."""
        self.cancel()
        keys = list(self._written.keys() | self._known.keys())
        self._written.clear()
        self._known.clear()
        if keys:
            nobody = Listener(lambda _: None, lambda _: None)
            self.run("forget", lambda _p, _c: [self.remote.forget(k) for k in keys], nobody)

    def close(self) -> None:
        """Give the server's sessions back and end the thread."""
        self.background.close()
        self.remote.close()

    def _where(self) -> tuple[str, str | None]:
        return self.address.strip(), self.token.strip() or None

    def run(self, key: Hashable, work: Callable[..., Any], listener: Listener) -> None:
        """Run ``work(progress, cancel)`` beside the GUI; the listener gets what it returns."""
        self.background.submit(
            work,
            key=key,
            done=listener.done,
            failed=listener.failed,
            report=listener.report,
            ended=listener.ended,
        )

    def _by_hand(self, target: Target, from_present: bool) -> Placed | None:
        """Return the segment if somebody else than a model drew it since the last answer."""
        present = target.mask()
        written = self._written.get(target.key)
        if written is None:
            return present if from_present and present[0] else None
        same = present[0] == written[0] and np.array_equal(present[1], written[1])
        return None if same else present


_shared: list[Assistant] = []


def shared() -> Assistant:
    """Return the application's one assistant, made when first asked for."""
    if not _shared:
        _shared.append(Assistant())
    return _shared[0]
