"""`Datastore`: a folder of images, and the labels saved for them by tag."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmedlab.core import InputError
from openmedlab.io import volume_suffixes
from openmedlab.io.atomic import replacing
from openmedlab.io.formats import by_suffix, stem

LABELS = "labels"
FINAL, ORIGINAL = "final", "original"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class UnknownImageError(InputError):
    """The datastore has no such image or label."""


@dataclass(frozen=True)
class Datastore:
    """Images directly in ``folder``; labels in ``folder/labels/TAG``.

    Names that clients send are looked up among what is there, never joined to a path.
    """

    folder: Path

    def images(self) -> dict[str, Path]:
        """Return the images by name (without ending); DICOM series are folders."""
        endings = volume_suffixes()
        found = {}
        for path in sorted(self.folder.iterdir()):
            series = path.is_dir() and path.name != LABELS and not path.name.startswith(".")
            if series or (path.is_file() and path.name.lower().endswith(endings)):
                found[stem(path)] = path
        return found

    def image(self, name: str) -> Path:
        """Return the file of an image."""
        found = self.images()
        if name not in found:
            raise UnknownImageError(f"The datastore has no image {name!r}.")
        return found[name]

    def labels(self) -> dict[str, dict[str, Path]]:
        """Return the saved labels by tag and image."""
        tags = sorted(p for p in (self.folder / LABELS).glob("*") if p.is_dir())
        return {
            tag.name: {stem(p): p for p in sorted(tag.iterdir()) if by_suffix(p)} for tag in tags
        }

    def label(self, name: str, tag: str) -> Path:
        """Return the file of a label."""
        found = self.labels().get(tag, {})
        if name not in found:
            raise UnknownImageError(f"The datastore has no label {name!r} with the tag {tag!r}.")
        return found[name]

    def add_image(self, name: str, file: Path) -> str:
        """Keep a copy of an image file; a name that is taken is refused."""
        word = _checked(stem(Path(name)))
        if word in self.images():
            raise InputError(f"The datastore has an image {word!r} already.")
        self._keep(file, self.folder / f"{word}{_ending(file)}")
        return word

    def save_label(self, name: str, file: Path, tag: str) -> str:
        """Keep a label file for an image; an earlier one with that tag gives way."""
        self.image(name)
        folder = self.folder / LABELS / _checked(tag)
        earlier = self.labels().get(tag, {}).get(name)
        target = folder / f"{name}{_ending(file)}"
        self._keep(file, target)
        if earlier is not None and earlier != target:
            earlier.unlink(missing_ok=True)
        return name

    @staticmethod
    def _keep(file: Path, target: Path) -> None:
        with replacing(target) as temporary:
            shutil.copyfile(file, temporary)

    def to_json(self) -> dict[str, Any]:
        """Return everything there is, as MONAI Label's clients read it."""
        saved = self.labels()
        objects = {}
        for name, path in self.images().items():
            ext = path.name[len(name) :]
            labels = {
                tag: {"ext": files[name].name[len(name) :], "info": {}}
                for tag, files in saved.items()
                if name in files
            }
            objects[name] = {"image": {"ext": ext, "info": {}}, "labels": labels}
        return {"name": self.folder.name, "description": "", "objects": objects}

    def status(self) -> dict[str, Any]:
        """Return the counts."""
        images, saved = self.images(), self.labels()
        tags = {tag: len(files) for tag, files in saved.items()}
        done = sum(name in saved.get(FINAL, {}) for name in images)
        return {"total": len(images), "completed": done, "label_tags": tags, "train": []}


def _checked(word: str) -> str:
    """Refuse what could leave the folder or hide in it."""
    if not _WORD.fullmatch(word):
        raise InputError(f"{word!r} is no name for the datastore; use letters, digits and _-.")
    return word


def _ending(file: Path) -> str:
    return file.name[len(stem(file)) :]
