"""What the *Models* widget says of a model, in words and as rich text."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from openmedlab.zoo import CardFile, ModelInfo, model_state
from openmedlab.zoo.files import human

LINK = "#4a9eff"
DIMENSIONS = {2: "slices, carried through the volume", 3: "volumes"}


def state_words(info: ModelInfo) -> tuple[str, str]:
    """Return the state and what belongs to it: ``("needs weights", "402 MB, Apache-2.0")``."""
    card = info.card
    state, detail = model_state(info)
    if state == "needs torch":
        return state, detail
    if state == "ready":
        return state, f"{human(info.size)}, {card.licence}"
    if not card.fetchable:
        return "manual download", card.licence
    return state, f"{human(card.size) if card.size else 'size unknown'}, {card.licence}"


def details(info: ModelInfo) -> str:
    """Return everything known about a model, as rich text."""
    card = info.card
    rows = "".join(
        f"<tr><td style='padding-right: 8px'><b>{name}</b></td><td>{text}</td></tr>"
        for name, text in _rows(info)
        if text
    )
    return f"<h3>{escape(card.title)}</h3><p>{escape(card.notes)}</p><table>{rows}</table>"


def _rows(info: ModelInfo) -> Iterator[tuple[str, str]]:
    card = info.card
    licence = link(card.licence_url, card.licence)
    yield "name", escape(card.name)
    yield "task", f"{escape(card.task)}, {DIMENSIONS[card.dimensionality]}"
    yield "prompts", escape(", ".join(card.prompts))
    yield "classes", str(len(card.classes)) if card.classes else ""
    yield "licence", f"{licence}, accepted" if info.licence_accepted else licence
    yield "memory", escape(card.memory)
    yield "cite", escape(card.citation)
    for file in card.files:
        yield "file", _file(file)
    yield "stored", _stored(info)


def _file(file: CardFile) -> str:
    name = link(file.page, file.name) if file.page else escape(file.name)
    size = human(file.size or file.about) if file.size or file.about else "size not published"
    if file.sha256:
        digest = f"sha256 {file.sha256[:12]}… published"
    elif file.md5:
        digest = f"md5 {file.md5[:12]}… published, sha256 kept from the first download"
    else:
        digest = "no digest published, sha256 kept from the first download"
    return f"{name}, {size}<br>{digest}"


def _stored(info: ModelInfo) -> str:
    if info.path is None:
        return ""
    if info.stored is None:
        return f"{escape(info.path.name)}, put there by hand; Verify checks it"
    stored = info.stored
    published = info.card.files[0]
    if stored.published:
        told = "as published"
    elif published.sha256 or published.md5:
        told = "not the published bytes, but its tensors fit"
    else:
        told = "its tensors fit"
    digest = f"sha256 {stored.source_sha256[:12]}…, {told}"
    return f"{human(info.size)}, from {escape(stored.source)}<br>{digest}"


def link(address: str, text: str) -> str:
    """Return a link that can be read on dark and on light."""
    return f"<a style='color: {LINK}' href='{escape(address)}'>{escape(text)}</a>"


def download_words(info: ModelInfo, kept: int) -> str:
    """Return what the download button says when ``kept`` bytes are here already."""
    if info.path is not None:
        return "Stored"
    size = info.card.size
    if kept:
        return f"Resume ({human(kept)} of {human(size)})" if size else f"Resume ({human(kept)})"
    return f"Download ({human(size)})" if size else "Download"
