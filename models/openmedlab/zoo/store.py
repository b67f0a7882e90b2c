"""The weights store: a path given, the models folder, the published place - in this order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psygnal import SignalInstance

from openmedlab.core.errors import InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.engine.home import home
from openmedlab.zoo.card import CardFile, ModelCard, cards
from openmedlab.zoo.checkpoint import Tensors, read_checkpoint, read_metadata, write_safetensors
from openmedlab.zoo.errors import LicenceError, ManualDownloadError, WeightsError
from openmedlab.zoo.files import digests, human, locked, require_room, sha256
from openmedlab.zoo.plans import read_plans
from openmedlab.zoo.recognise import recognise, require_fit
from openmedlab.zoo.records import Records, Stored, changing, read_records
from openmedlab.zoo.registry import signature
from openmedlab.zoo.tuned import forget_card, install_card, outputs, tuned

weights_changed = SignalInstance((str,), name="weights_changed")
"""Emitted with a model's name when its weights came or went, on the thread that did it."""


@dataclass(frozen=True)
class ModelInfo:
    """A card and what the store has of it.

    Attributes
    ----------
    card
        The model's card.
    path
        The weights, or None where they are not here.
    stored
        Where the store made that file itself: its digest and origin.
    licence_accepted
        Whether the licence was accepted.
    """

    card: ModelCard
    path: Path | None
    stored: Stored | None
    licence_accepted: bool

    @property
    def size(self) -> int:
        """Bytes on disk; 0 where the weights are not here."""
        return self.path.stat().st_size if self.path is not None else 0


class WeightsStore:
    """Weights under ``OPENMEDLAB_HOME`` (or the platform's user data), in ``models/``.

    One safetensors file per model; what could not be finished waits as ``.part`` files in
    ``models/downloads``. Several threads and processes may use one store.

    Parameters
    ----------
    folder
        The models folder; by default the one of `home`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else home() / "models"
        self._records = self.folder / "store.json"
        self._downloads = self.folder / "downloads"

    def find(self, name: str, path: Path | None = None) -> Path | None:
        """Return the weights of a model: ``path`` if given, else those in the models folder.

        A checkpoint put into the models folder by hand under its published name is found too.

        Raises
        ------
        WeightsError
            ``path`` was given and is no file.
        """
        if path is not None:
            return _existing(path)
        published = self._card(name).files[0].name
        places = (self._path(name), self.folder / published)
        return next((place for place in places if place.is_file()), None)

    def require(self, name: str, path: Path | None = None) -> Path:
        """Return what `find` finds, or raise `WeightsError` saying how to get the weights."""
        found = self.find(name, path)
        if found is None:
            card = self._card(name)
            if not card.fetchable:
                raise ManualDownloadError(_by_hand(card))
            raise WeightsError(
                f"{card.title} needs its weights ({told_size(card)}, {card.licence}); get them "
                f"with: openmedlab models fetch {name}."
            )
        return found

    def fetch(
        self, name: str, progress: Progress | None = None, cancel: CancelToken | None = None
    ) -> Path:
        """Return the weights, downloading them first where they are not here yet.

        Raises
        ------
        LicenceError
            The licence was not accepted (`accept_licence`).
        ManualDownloadError
            Only a browser gets the file; the message says how.
        WeightsError
            No network, a wrong size or digest, another model's tensors, or a full disk.
        Cancelled
            ``cancel`` was raised; what came is kept for the next attempt.
        """
        card = self._card(name)
        progress, cancel = progress or Progress(), cancel or CancelToken()
        if (here := self.find(name)) is not None:
            return here
        if not card.fetchable:
            raise ManualDownloadError(_by_hand(card))
        if not self.licence_accepted(name):
            raise LicenceError(
                f"The weights of {card.title} come under {card.licence} ({card.licence_url}); "
                f"read it, then accept it once with: openmedlab models fetch {name} "
                "--accept-licence."
            )
        with locked(self._downloads / f"{name}.lock", cancel):
            if (here := self.find(name)) is not None:
                return here
            return self._fetch(card, progress, cancel)

    def import_checkpoint(
        self, file: Path, name: str | None = None, cancel: CancelToken | None = None
    ) -> ModelInfo:
        """Store a checkpoint downloaded by hand, recognised by its tensors.

        Parameters
        ----------
        file
            Any checkpoint `read_checkpoint` reads; ``file`` + ``.pkl`` beside it is taken
            for nnU-Net's plans. Fine-tuned weights become a model of their own.
        name
            Which model it is, where several share one network; what to call a fine-tuned one.

        Raises
        ------
        WeightsError
            The file is missing, damaged, refused, of no known model, or does not fit in.
        AmbiguousError
            It fits several models and ``name`` was not given.
        """
        found = digests(_existing(file), cancel)
        tensors = read_checkpoint(file)
        name = install_card(file, name) or name
        if name is None:
            card = recognise(tensors, file, found)
        else:
            card = self._card(name)
            require_fit(tensors, card, signature(card.network, outputs(file)), file.name)
        self._keep(card, tensors, file, found)
        weights_changed.emit(card.name)
        return self.info(card.name)

    def verify(self, name: str) -> ModelInfo:
        """Check the stored file's digest and that its tensors fit the network.

        Raises
        ------
        WeightsError
            The weights are not here, changed since they were stored, or do not fit.
        """
        info, path = self.info(name), self.require(name)
        found = digests(path)
        if info.stored is not None and found["sha256"] != info.stored.sha256:
            raise WeightsError(
                f"{path} changed since it was stored; run: openmedlab models remove {name}, "
                "and get it again."
            )
        if info.stored is None:
            self._check_digest(info.card, info.card.files[0], found)
        expected = signature(info.card.network, outputs(path))
        require_fit(read_checkpoint(path), info.card, expected, path.name)
        return info

    def remove(self, name: str) -> int:
        """Delete a model's weights and unfinished downloads; return the bytes freed.

        Raises
        ------
        WeightsError
            The model is being fetched.
        """
        card = self._card(name)
        path = self._path(name)
        with locked(self._downloads / f"{name}.lock"):
            places = [path, *(self.folder / file.name for file in card.files)]
            places += self.folder.glob(f".{path.name}.*.tmp")
            places += [place for file in card.files for place in self._unfinished(file)]
            here = [place for place in dict.fromkeys(places) if place.is_file()]
            freed = sum(place.stat().st_size for place in here)
            for place in here:
                place.unlink()
        with changing(self._records) as records:
            records.weights.pop(name, None)
        forget_card(name)
        weights_changed.emit(name)
        return freed

    def info(self, name: str) -> ModelInfo:
        """Return the card and what the store has of it."""
        return self._info(self._card(name), read_records(self._records))

    def list_models(self) -> list[ModelInfo]:
        """Return `info` of every card."""
        records = read_records(self._records)
        return [self._info(card, records) for card in cards().values()]

    @property
    def changed(self) -> int:
        """When what is stored changed last, in nanoseconds; 0 where nothing ever was."""
        return self._records.stat().st_mtime_ns if self._records.exists() else 0

    def unfinished(self, name: str) -> int:
        """Return the bytes of an unfinished download, which the next `fetch` goes on with."""
        places = [place for file in self._card(name).files for place in self._unfinished(file)]
        return sum(place.stat().st_size for place in places if place.is_file())

    def plans(self, name: str, weights: Path | None = None) -> dict[str, Any] | None:
        """Return nnU-Net's plans that came with the weights, if any did.

        Parameters
        ----------
        name
            A model card's name.
        weights
            A checkpoint used instead of the stored one; its ``.pkl`` lies beside it.

        Raises
        ------
        WeightsError
            The ``.pkl`` is damaged or holds more than plans.
        """
        if weights is not None and (beside := _plans_beside(weights)).is_file():
            return read_plans(beside)
        path = weights if weights is not None else self._path(name)
        if path.suffix != ".safetensors":
            return None
        text = read_metadata(path).get("plans") if path.is_file() else None
        return json.loads(text) if text else None

    def licence_accepted(self, name: str) -> bool:
        """Whether the licence that the card names now was accepted."""
        return _accepted(self._card(name), read_records(self._records))

    def accept_licence(self, name: str) -> None:
        """Remember that the user accepted the licence of a model's weights."""
        card = self._card(name)
        with changing(self._records) as records:
            records.licences[name] = card.licence

    def sha256(self, path: Path) -> str:
        """Return a weights file's digest, from the records where the file is unchanged."""
        stored = read_records(self._records).weights.get(path.stem)
        stat = path.stat()
        if (
            stored is not None
            and path == self._path(path.stem)
            and (stat.st_size, stat.st_mtime_ns) == (stored.size, stored.changed)
        ):
            return stored.sha256
        return sha256(path)

    def _card(self, name: str) -> ModelCard:
        known = cards()
        if name not in known:
            raise InputError(f"There is no model {name!r}; known: {', '.join(known)}.")
        return known[name]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _unfinished(self, file: CardFile) -> tuple[Path, Path]:
        return self._downloads / file.name, self._downloads / f"{file.name}.part"

    def _info(self, card: ModelCard, records: Records) -> ModelInfo:
        path = self.find(card.name)
        stored = records.weights.get(card.name) if path == self._path(card.name) else None
        return ModelInfo(card, path, stored, _accepted(card, records))

    def _fetch(self, card: ModelCard, progress: Progress, cancel: CancelToken) -> Path:
        needed = max(2 * card.size - self.unfinished(card.name), 0)
        require_room(self._downloads, needed, f"Fetching {card.title}")
        found = [self._obtain(card, file, progress, cancel) for file in card.files]
        progress.report(0, 0, f"{card.title}: checking and storing")
        weights, weights_digests = found[0]
        try:
            tensors = read_checkpoint(weights)
            require_fit(tensors, card, signature(card.network), weights.name)
        except WeightsError:
            weights.unlink()
            raise
        self._keep(card, tensors, weights, weights_digests)
        with changing(self._records) as records:
            for path, digest in found:
                records.pins[f"{card.name}/{path.name}"] = digest["sha256"]
        for path, _ in found:
            path.unlink()
        weights_changed.emit(card.name)
        return self._path(card.name)

    def _obtain(
        self, card: ModelCard, file: CardFile, progress: Progress, cancel: CancelToken
    ) -> tuple[Path, dict[str, str]]:
        """Return one published file, downloaded and verified, and its digests."""
        from openmedlab.zoo.download import download

        whole, part = self._unfinished(file)
        if not whole.is_file():
            with progress.stage("prepare"):
                download(file.url, part, size=file.size, progress=progress, cancel=cancel)
            part.replace(whole)
            part.with_name(f"{part.name}.json").unlink(missing_ok=True)
        found = digests(whole, cancel)
        try:
            if file.size and whole.stat().st_size != file.size:
                raise WeightsError(
                    f"{file.name} came with {whole.stat().st_size} bytes, {file.size} were "
                    "published; it was deleted, fetch it again."
                )
            self._check_digest(card, file, found)
        except WeightsError:
            whole.unlink()
            raise
        return whole, found

    def _check_digest(self, card: ModelCard, file: CardFile, found: Mapping[str, str]) -> None:
        pin = read_records(self._records).pins.get(f"{card.name}/{file.name}", "")
        for kind, expected in (("sha256", file.sha256 or pin), ("md5", file.md5)):
            if expected and found[kind] != expected:
                raise WeightsError(
                    f"{file.name} is not the file that was published: its {kind} is "
                    f"{found[kind]}, expected {expected}; it was damaged or replaced on the way."
                )

    def _keep(
        self, card: ModelCard, tensors: Tensors, source: Path, found: Mapping[str, str]
    ) -> None:
        metadata = {"model": card.name, "source": source.name, "source_sha256": found["sha256"]}
        if (plans := _plans_beside(source)).is_file():
            metadata["plans"] = json.dumps(read_plans(plans))
        if tuned(source):
            kept = read_metadata(source)
            metadata |= {key: kept[key] for key in ("plans", "tuned") if key in kept}
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = sum(tensor.nbytes for tensor in tensors.values())
        require_room(self.folder, needed, f"Storing {card.title}")
        path = self._path(card.name)
        write_safetensors(tensors, path, metadata)
        file = card.files[0]
        published = found["sha256"] == file.sha256 or found["md5"] == file.md5
        stat = path.stat()
        with changing(self._records) as records:
            records.weights[card.name] = Stored(
                sha256=sha256(path),
                size=stat.st_size,
                changed=stat.st_mtime_ns,
                source=source.name,
                source_sha256=found["sha256"],
                published=published,
            )


def _plans_beside(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.name}.pkl")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; give the path of a checkpoint.")
    return path


def told_size(card: ModelCard) -> str:
    """Return a card's download size for people."""
    return human(card.size) if card.size else "size not published"


def _accepted(card: ModelCard, records: Records) -> bool:
    return records.licences.get(card.name) == card.licence


def _by_hand(card: ModelCard) -> str:
    steps = "; ".join(
        f"open {file.page} in a browser and download {file.name}" for file in card.files
    )
    return (
        f"{card.title} is published where only a browser gets it: {steps}; then run: "
        f"openmedlab models import FILE. Licence: {card.licence} ({card.licence_url})."
    )
