"""`Session`: one volume, several objects, their prompts and masks, undo and journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from openmedlab.core.contracts import LogitsPatch
from openmedlab.core.edit import Edit
from openmedlab.core.errors import InputError
from openmedlab.core.journal import FORMAT, Journal
from openmedlab.core.policy import LabelPolicy
from openmedlab.core.prompts import MaskPrompt, Prompt, prompt_from_json
from openmedlab.core.region import Region
from openmedlab.core.volume import Label, LabelVolume, Volume

UNDO_LEVELS = 100
PALETTE = (
    (0.90, 0.30, 0.25),
    (0.30, 0.70, 0.95),
    (0.40, 0.80, 0.35),
    (0.98, 0.75, 0.25),
    (0.70, 0.45, 0.90),
    (0.20, 0.80, 0.75),
    (0.95, 0.50, 0.75),
    (0.65, 0.60, 0.35),
)


@dataclass(frozen=True)
class LabelObject:
    """One structure being segmented: its number in the labelmap and how it is shown."""

    number: int
    name: str
    color: tuple[float, float, float]
    locked: bool = False
    visible: bool = True
    code: str = ""


class Session:
    """State of interactive work on one volume. Knows no model and no viewer.

    Parameters
    ----------
    volume
        The image.
    labelmap
        (z, y, x) whole numbers on the volume's grid; edited in place. Default:
        an empty uint16 map. A viewer passes its layer's own array.
    policy
        How new masks enter the labelmap.
    journal
        Where every change is recorded; None records nothing.

    Notes
    -----
    Signals: ``edited(Edit)`` after the labelmap changed, ``objects_changed()``,
    ``prompts_changed(int)`` with the object's number.
    """

    edited = Signal(Edit)
    objects_changed = Signal()
    prompts_changed = Signal(int)

    def __init__(
        self,
        volume: Volume,
        labelmap: npt.NDArray[Any] | None = None,
        *,
        policy: LabelPolicy | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.volume = volume
        self.labelmap = np.zeros(volume.shape, np.uint16) if labelmap is None else labelmap
        if self.labelmap.shape != volume.shape:
            raise InputError(
                f"The labels have {self.labelmap.shape} voxels but {volume.name!r} has "
                f"{volume.shape}; choose labels of the same image."
            )
        self._policy = policy or LabelPolicy()
        self._objects: dict[int, LabelObject] = {}
        self._prompts: dict[int, tuple[Prompt, ...]] = {}
        self._answers: dict[int, LogitsPatch] = {}
        self._bases: dict[int, tuple[int, MaskPrompt]] = {}
        self._touched: dict[int, int] = {}
        self._trusted: set[int] = set()
        self._revisions: dict[int, int] = {}
        self._extents: dict[int, Region] = {}
        self._undo: list[Edit] = []
        self._redo: list[Edit] = []
        self.journal = journal
        if journal is not None:
            self._log_start()

    def _log_start(self) -> None:
        self._log(
            "open",
            format=FORMAT,
            volume=self.volume.name,
            source=str(self.volume.source or ""),
            identity=self.volume.identity,
            geometry=self.volume.geometry.to_json(),
            dtype=self.labelmap.dtype.str,
        )
        if self.labelmap.any():
            empty = np.zeros_like(self.labelmap)
            whole = self.volume.geometry.region
            self._log_edit(Edit.between(empty, self.labelmap, whole), "opened with")

    def _log(self, op: str, **payload: Any) -> None:
        if self.journal is not None:
            self.journal.append(op, lambda: payload)

    def _log_edit(self, edit: Edit | None, author: str) -> None:
        if self.journal is not None and edit is not None:
            self.journal.append("edit", lambda: {"author": author, **edit.to_json()})

    # --------------------------------------------------------------- objects
    @property
    def objects(self) -> tuple[LabelObject, ...]:
        """The objects, by number."""
        return tuple(self._objects[n] for n in sorted(self._objects))

    def object(self, number: int) -> LabelObject:
        """Return one object; `InputError` when there is none of that number."""
        if number not in self._objects:
            raise InputError(f"There is no object {number}; add it first.")
        return self._objects[number]

    def add_object(
        self,
        name: str = "",
        *,
        number: int | None = None,
        color: tuple[float, float, float] | None = None,
        code: str = "",
    ) -> LabelObject:
        """Add an object with the next free number, or the one given."""
        largest = int(np.iinfo(self.labelmap.dtype).max)
        wanted = max(self._objects, default=0) + 1 if number is None else int(number)
        if wanted in self._objects or not 1 <= wanted <= largest:
            raise InputError(f"Object number {wanted} is taken or not within 1..{largest}.")
        shade = color or PALETTE[(wanted - 1) % len(PALETTE)]
        return self._set_object(LabelObject(wanted, name or f"object {wanted}", shade, code=code))

    def update_object(self, number: int, **changes: Any) -> LabelObject:
        """Change an object's name, colour, lock, visibility or code."""
        return self._set_object(replace(self.object(number), **changes))

    def _set_object(self, obj: LabelObject) -> LabelObject:
        self._objects[obj.number] = obj
        self._log("object", **asdict(obj))
        self.objects_changed.emit()
        return obj

    def remove_object(self, number: int) -> Edit | None:
        """Forget an object and its prompts; return the edit that would clear its voxels.

        The edit is not applied: the caller does, through its own undo history.
        """
        self.object(number)
        region = self.extent(number)
        before = self.labelmap[region.slices]
        clear = Edit.between(before, np.where(before == number, 0, before), region)
        tables: tuple[dict[int, Any], ...] = (
            self._objects,
            self._prompts,
            self._answers,
            self._bases,
            self._touched,
        )
        for table in tables:
            table.pop(number, None)
        self._trusted.discard(number)
        self._log("remove object", number=number)
        self.objects_changed.emit()
        return clear

    @property
    def locked(self) -> frozenset[int]:
        """Numbers of the locked objects."""
        return frozenset(o.number for o in self.objects if o.locked)

    @property
    def policy(self) -> LabelPolicy:
        """How new masks enter the labelmap."""
        return self._policy

    @policy.setter
    def policy(self, policy: LabelPolicy) -> None:
        self._policy = policy
        self._log("policy", **policy.to_json())

    # --------------------------------------------------------------- prompts
    def prompts(self, number: int) -> tuple[Prompt, ...]:
        """The prompts the user gave for an object, oldest first."""
        self.object(number)
        return self._prompts.get(number, ())

    def set_prompts(self, number: int, prompts: Sequence[Prompt]) -> None:
        """Replace all prompts of an object; raises `PromptError` when one is off the volume."""
        self.object(number)
        for prompt in prompts:
            prompt.check(self.volume.geometry)
        self._follow_removals(number, tuple(prompts))
        self._prompts[number] = tuple(prompts)
        self._log("prompts", number=number, prompts=[p.to_json() for p in prompts])
        self.prompts_changed.emit(number)

    def _follow_removals(self, number: int, prompts: tuple[Prompt, ...]) -> None:
        """Keep the mask drawn by hand behind the same prompts when some before it go."""
        old = self._prompts.get(number, ())
        if len(prompts) >= len(old):
            return

        def left(seen: int) -> int:
            return sum(p in prompts for p in old[:seen])

        if number in self._touched:
            self._touched[number] = left(self._touched[number])
        if number in self._bases:
            seen, base = self._bases[number]
            self._bases[number] = (left(seen), base)

    def add_prompt(self, number: int, prompt: Prompt) -> None:
        """Append one prompt."""
        self.set_prompts(number, (*self.prompts(number), prompt))

    def move_prompt(self, number: int, index: int, prompt: Prompt) -> None:
        """Put ``prompt`` in the place of the one at ``index``."""
        prompts = list(self.prompts(number))
        prompts[index] = prompt
        self.set_prompts(number, prompts)

    def remove_prompt(self, number: int, index: int) -> None:
        """Take out the prompt at ``index``."""
        prompts = list(self.prompts(number))
        del prompts[index]
        self.set_prompts(number, prompts)

    def model_prompts(self, number: int) -> tuple[Prompt, ...]:
        """The prompts as a model should see them.

        Where the object was changed by hand (brush, undo) after some prompts, its
        voxels at that time come as a `MaskPrompt` behind those prompts.
        """
        prompts = self.prompts(number)
        if number in self._touched:
            region = self.extent(number)
            mask = self.labelmap[region.slices] == number
            seen = self._touched.pop(number)
            self._bases.pop(number, None)
            if mask.any():
                base = MaskPrompt.from_array(mask, region.start)
                self._bases[number] = (seen, replace(base, trusted=number in self._trusted))
        if number not in self._bases:
            return prompts
        seen, base = self._bases[number]
        return (*prompts[:seen], base, *prompts[seen:])

    def build_on(self, number: int) -> None:
        """Trust the voxels an object has now: its next prompts change them near themselves."""
        self._touched[number] = len(self.prompts(number))
        self._trusted.add(number)
        self._log("build on", number=number)

    def previous(self, number: int, method: str) -> LogitsPatch | None:
        """The last answer for an object, if ``method`` gave it and nobody changed it since."""
        answer = self._answers.get(number)
        return answer if answer is not None and answer.method == method else None

    def revision(self, number: int) -> int:
        """A count that grows when somebody other than a model changes the object's voxels."""
        return self._revisions.get(number, 0)

    # ------------------------------------------------------------- labelmap
    def extent(self, number: int) -> Region:
        """A region that holds all voxels of an object (empty when it has none)."""
        if number not in self._extents:
            self._extents[number] = self._scan(number)
        return self._extents[number]

    def _scan(self, number: int) -> Region:
        found = Region((0, 0, 0), (0, 0, 0))
        for z in range(0, self.labelmap.shape[0], 16):
            box = Region.of_mask(np.asarray(self.labelmap[z : z + 16] == number))
            if box is not None:
                found = found.union(box.shifted((z, 0, 0)))
        return found

    def propose(self, number: int, patch: LogitsPatch) -> Edit | None:
        """Return the edit by which an answer enters the labelmap; None when nothing changes.

        Raises
        ------
        InputError
            The object is locked.
        """
        obj = self.object(number)
        if obj.locked:
            raise InputError(f"{obj.name!r} is locked; unlock it to change it.")
        inside = patch.region.clipped(self.volume.shape)
        region = inside.union(self.extent(number))
        mask = np.zeros(region.shape, bool)
        mask[inside.relative_to(region).slices] = patch.mask[
            inside.relative_to(patch.region).slices
        ]
        before = self.labelmap[region.slices]
        after = self.policy.merge(before, mask, number, self.locked)
        return Edit.between(before, after, region)

    def commit(self, number: int, patch: LogitsPatch) -> Edit | None:
        """Let an answer enter the labelmap and remember it; return what changed."""
        edit = self.propose(number, patch)
        if edit is not None:
            edit.apply(self.labelmap)
        self.record(number, patch, edit)
        return edit

    def record(self, number: int, patch: LogitsPatch, edit: Edit | None) -> None:
        """Remember an answer whose edit was already applied (by `commit` or a viewer)."""
        self._answers[number] = patch
        if edit is not None:
            self._changed(edit, patch.method)

    def adopt(self, edit: Edit, author: str = "hand") -> None:
        """Take note of a change that somebody else already made to the labelmap."""
        self._changed(edit, author)
        self._forget_answers(edit)

    def undo(self) -> Edit | None:
        """Take back the newest edit; return the one applied, None when there is none."""
        return self._step(self._undo, self._redo, "undo")

    def redo(self) -> Edit | None:
        """Do again what `undo` took back."""
        return self._step(self._redo, self._undo, "redo")

    def _step(self, source: list[Edit], target: list[Edit], author: str) -> Edit | None:
        if not source:
            return None
        back = source.pop().inverse()
        target.append(back)
        back.apply(self.labelmap)
        self._extend(back)
        self._log_edit(back, author)
        self._forget_answers(back)
        self.edited.emit(back)
        return back

    def _changed(self, edit: Edit, author: str) -> None:
        self._undo.append(edit)
        del self._undo[:-UNDO_LEVELS]
        self._redo.clear()
        self._extend(edit)
        self._log_edit(edit, author)
        self.edited.emit(edit)

    def _extend(self, edit: Edit) -> None:
        for number in edit.touched:
            if number in self._extents:
                self._extents[number] = self._extents[number].union(edit.region)

    def _forget_answers(self, edit: Edit) -> None:
        for number in edit.touched:
            self._answers.pop(number, None)
            self._touched[number] = len(self._prompts.get(number, ()))
            self._revisions[number] = self.revision(number) + 1

    def labels(self, method: str = "") -> LabelVolume:
        """The labelmap with its geometry and the objects' names, for a writer."""
        names = {o.number: Label(o.name, o.color, o.code) for o in self.objects}
        return LabelVolume(self.labelmap, self.volume.geometry, names, self.volume.name, method)

    def close(self) -> None:
        """Finish the journal."""
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    # --------------------------------------------------------------- replay
    @classmethod
    def replay(cls, path: Path, volume: Volume) -> Session:
        """Rebuild the session a journal records; the journal goes on in the same file.

        Raises
        ------
        InputError
            The journal is damaged, empty, or belongs to another volume.
        """
        dtype = np.dtype(_records_of(path, volume)[0]["dtype"])
        session = cls(volume, np.zeros(volume.shape, dtype))
        session.resume(path)
        return session

    def resume(self, path: Path) -> None:
        """Take up, in this still empty session, the work a journal records; it goes on there.

        Raises
        ------
        InputError
            The journal is damaged, empty, or belongs to another volume.
        """
        for record in _records_of(path, self.volume)[1:]:
            self._replay_one(record)
        self.journal = Journal(path)

    def _replay_one(self, record: dict[str, Any]) -> None:
        values = {k: v for k, v in record.items() if k not in ("op", "at")}
        match record["op"]:
            case "object":
                self._set_object(LabelObject(**{**values, "color": tuple(values["color"])}))
            case "remove object":
                self.remove_object(values["number"])
            case "prompts":
                prompts = [prompt_from_json(p) for p in values["prompts"]]
                self.set_prompts(values["number"], prompts)
            case "build on":
                self.build_on(values["number"])
            case "policy":
                self.policy = LabelPolicy.from_json(values)
            case "edit":
                edit = Edit.from_json(values)
                edit.apply(self.labelmap)
                self.adopt(edit)


def _records_of(path: Path, volume: Volume) -> list[dict[str, Any]]:
    """Return the records of a journal that begins with a session on ``volume``."""
    records = list(Journal.read(path))
    if not records or records[0]["op"] != "open":
        raise InputError(f"The journal {path} does not begin with a session; nothing to restore.")
    if records[0]["identity"] != volume.identity:
        raise InputError(
            f"The journal {path} belongs to {records[0]['volume']!r}, not to {volume.name!r}; "
            "open that volume to restore it."
        )
    return records
