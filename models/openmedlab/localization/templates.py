"""The template library: a folder of templates, their scans, and features kept per model."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmedlab.core import InputError, Volume
from openmedlab.engine.home import home
from openmedlab.engine.manifest import fingerprint
from openmedlab.io import read_volume, write_volume
from openmedlab.localization.fit import likely_modality
from openmedlab.localization.kept import Arrays, Recent, load_arrays, save_arrays
from openmedlab.localization.points import ordered_points
from openmedlab.localization.template import (
    FILE,
    Template,
    read_template,
    reference,
    write_template,
)

__all__ = ["Finding", "Template", "TemplateLibrary"]
MAX_BYTES = 1 << 30
FEATURES, VOLUMES = "features", "volumes"
_STORED = re.compile(VOLUMES + r"/[0-9a-f]{24}\.nii\.gz")


@dataclass(frozen=True)
class Finding:
    """What is wrong with one template, in a sentence."""

    template: str
    text: str


class TemplateLibrary:
    """A folder of templates: ``NAME/template.toml`` each, beside references to their scans.

    Parameters
    ----------
    folder
        Made by the first `add`; scans without a file go to ``volumes/``, features to
        ``features/`` (or the data folder of this user where the library is read-only).
    organs
        Only the templates of these; all by default.
    without
        Names of templates that are left out.

    Raises
    ------
    InputError
        ``folder`` is a file.
    """

    def __init__(
        self,
        folder: str | Path,
        organs: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.folder = Path(folder).expanduser()
        if self.folder.is_file():
            raise InputError(f"{self.folder} is a file; give the folder of a template library.")
        self._organs = None if organs is None else frozenset(organs)
        self.left_out = frozenset(without)
        self._scans = Recent[Volume](MAX_BYTES, lambda v: int(np.prod(v.shape)) * v.dtype.itemsize)
        self._features = Recent[Arrays](
            MAX_BYTES, lambda kept: sum(a.nbytes for a in kept.values())
        )
        self._verified: dict[str, list[int]] = {}
        self._lock = threading.RLock()
        self.reload()

    # --------------------------------------------------------------- reading
    def reload(self) -> None:
        """Look at the folder again; templates that cannot be read are told by `check`."""
        self.templates: tuple[Template, ...] = ()
        self._unreadable: list[Finding] = []
        found = []
        for path in sorted(self.folder.glob(f"*/{FILE}")):
            if path.parent.name in self.left_out:
                continue
            try:
                found.append(read_template(path.parent))
            except InputError as error:
                self._unreadable.append(Finding(path.parent.name, str(error)))
        wanted = self._organs
        self.templates = tuple(t for t in found if wanted is None or t.organ in wanted)

    @property
    def organs(self) -> tuple[str, ...]:
        """Names of the organs that have a template, in alphabetical order."""
        return tuple(sorted({t.organ for t in self.templates}))

    def of(self, organ: str) -> tuple[Template, ...]:
        """Return the templates of one organ."""
        return tuple(t for t in self.templates if t.organ == organ)

    def only(self, organs: Collection[str]) -> TemplateLibrary:
        """Return the same library with the templates of ``organs`` alone.

        Raises
        ------
        InputError
            An organ has no template.
        """
        unknown = sorted(set(organs) - set(self.organs))
        if unknown:
            known = ", ".join(self.organs) or "none yet"
            raise InputError(
                f"{self.folder} has no template of {', '.join(unknown)}; it has: {known}."
            )
        return self._part(organs, self.left_out)

    def without(self, names: Collection[str]) -> TemplateLibrary:
        """Return the same library less the templates of these names."""
        return self._part(self._organs, self.left_out | frozenset(names))

    def _part(self, organs: Collection[str] | None, without: Collection[str]) -> TemplateLibrary:
        part = TemplateLibrary(self.folder, organs, without)
        part._scans, part._features, part._lock = self._scans, self._features, self._lock
        part._verified = self._verified
        return part

    def volume_path(self, template: Template) -> Path:
        """Return where the scan of ``template`` should lie."""
        return self.folder / template.volume.path

    def volume(self, template: Template) -> Volume:
        """Return the scan of ``template``; the last few read are kept in memory.

        Raises
        ------
        InputError
            It is gone, cannot be read, or is not the scan that was marked.
        """
        with self._lock:
            return self._scans.get(template.scan, lambda: self._read(template))

    def _verify(self, template: Template) -> None:
        """Read a scan once, and again only when its files changed."""
        path = self._existing(template)
        with self._lock:
            mark = fingerprint(path)
            if self._verified.get(template.scan) != mark:
                self._scans.forget(template.scan)
                self.volume(template)
                self._verified[template.scan] = mark

    def _existing(self, template: Template) -> Path:
        path = self.volume_path(template)
        if not path.exists():
            raise InputError(
                f"The scan of template {template.name} is gone: {path}; put it back, or remove "
                "the template."
            )
        return path

    def _read(self, template: Template) -> Volume:
        path = self._existing(template)
        options: Any = dict(template.volume.reading)
        volume = read_volume(path, **options)
        if volume.identity != template.scan:
            raise InputError(
                f"{path} is not the scan that template {template.name} was marked on (its voxels "
                "or its geometry changed); put the old one back, or mark the organ again."
            )
        return volume

    # -------------------------------------------------------------- features
    def features(
        self, template: Template, model_key: str, make: Callable[[Volume], Arrays]
    ) -> Arrays:
        """Return what a model computed from the scan of ``template``: found, or made now.

        Parameters
        ----------
        template
            Any template of the scan; all of them share the features.
        model_key
            Name and version of what ``make`` does: another key, other features.
        make
            Takes the scan, returns arrays by name.

        Raises
        ------
        InputError
            The scan is needed and gone (see `volume`). Features kept are given without it.
        """
        key = f"{template.scan}-{hashlib.blake2b(model_key.encode(), digest_size=8).hexdigest()}"
        with self._lock:
            return self._features.get(key, lambda: self._find_features(key, template, make))

    def _find_features(
        self, key: str, template: Template, make: Callable[[Volume], Arrays]
    ) -> Arrays:
        places = [self.folder / FEATURES, home() / FEATURES]
        for place in places:
            arrays = load_arrays(place / f"{key}.npz")
            if arrays is not None:
                return arrays
        made = dict(make(self.volume(template)))
        writable = os.access(self.folder, os.W_OK)
        save_arrays(made, places[0 if writable else 1] / f"{key}.npz")
        return made

    # -------------------------------------------------------------- changing
    def add(
        self,
        organ: str,
        points: npt.ArrayLike,
        volume: Volume,
        *,
        parts: npt.ArrayLike = (),
        code: str = "",
        annotator: str = "",
        date: dt.date | None = None,
        reading: Mapping[str, str | int] | None = None,
        replace_old: bool = False,
    ) -> Template:
        """Write a template.

        Parameters
        ----------
        organ, code
            Name and SNOMED CT code.
        points
            (6, 3) LPS millimetres, any order.
        volume
            The scan. One that has no file is stored in the library.
        parts
            (n, 6, 3) LPS millimetres of the organ's slabs, if known.
        annotator, date
            Who and when; today by default.
        reading
            What `read_volume` needs besides the path of the scan.
        replace_old
            Whether a template of the same organ on the same scan gives way.

        Raises
        ------
        InputError
            A point lies outside the scan, the organ is marked already, or nothing can be
            written.
        """
        ordered = ordered_points(points)
        if not volume.geometry.contains(volume.geometry.world_to_index(ordered)).all():
            raise InputError(f"A point of {organ} lies outside {volume.name}; mark it again.")
        known = replace(volume, modality=likely_modality(volume))
        kept = known if known.source is not None else self._store(known)
        template = Template(
            organ=organ.strip(),
            code=code,
            scan=kept.identity,
            points=ordered,
            annotator=annotator,
            date=date or dt.date.today(),
            volume=reference(kept, self.folder, reading or {}),
            name=_name(organ, kept),
            parts=np.asarray(parts, np.float64),
        )
        if (self.folder / template.name).exists() and not replace_old:
            raise InputError(
                f"{template.organ} is already marked on {volume.name} (template {template.name}); "
                "remove that template first, or replace it."
            )
        write_template(template, self.folder / template.name)
        self.reload()
        return template

    def _store(self, volume: Volume) -> Volume:
        path = self.folder / VOLUMES / f"{volume.identity}.nii.gz"
        if not path.exists():
            write_volume(volume, path)
        return replace(read_volume(path), modality=volume.modality)

    def remove(self, name: str) -> None:
        """Remove a template by name; its scan and what was computed from it go with the last.

        Raises
        ------
        InputError
            There is no such template, or it cannot be removed.
        """
        folder = self.folder / name
        if not (folder / FILE).is_file():
            known = ", ".join(t.name for t in self.templates) or "none"
            raise InputError(f"{self.folder} has no template {name!r}; it has: {known}.")
        removed = next((t for t in self.templates if t.name == name), None)
        try:
            shutil.rmtree(folder)
            self.reload()
            if removed is not None and all(t.scan != removed.scan for t in self.templates):
                self._forget(removed)
        except OSError as error:
            raise InputError(f"{folder} cannot be removed: {error.strerror}.") from error

    def _forget(self, template: Template) -> None:
        """Remove what the library itself keeps of a scan."""
        for kept in (self.folder / FEATURES).glob(f"{template.scan}-*.npz"):
            kept.unlink()
        if _STORED.fullmatch(template.volume.path.as_posix()):
            self.volume_path(template).unlink(missing_ok=True)

    # -------------------------------------------------------------- checking
    def check(self) -> list[Finding]:
        """Look at every template: readable, its scan there and unchanged, its points inside."""
        findings = list(self._unreadable)
        for template in self.templates:
            try:
                self._verify(template)
            except InputError as error:
                findings.append(Finding(template.name, str(error)))
            if template.outside():
                text = f"A point of {template.organ} lies outside its scan; mark the organ again."
                findings.append(Finding(template.name, text))
        return findings

    def usable(self) -> tuple[TemplateLibrary, list[str]]:
        """Return the library less the templates that `check` finds fault with, and why."""
        findings = self.check()
        left = self.without({f.template for f in findings})
        remarks = [f"Template {f.template} is left out. {f.text}" for f in findings]
        lost = sorted(set(self.organs) - set(left.organs))
        remarks += [f"{organ} has no usable template and is left out." for organ in lost]
        return left, remarks


def _name(organ: str, volume: Volume) -> str:
    word = re.sub(r"[^a-z0-9]+", "_", organ.lower()).strip("_") or "organ"
    return f"{word}-{volume.identity[:8]}"
