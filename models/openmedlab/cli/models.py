"""``openmedlab models``: what there is, what is here, and getting it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmedlab.cli.console import interruptible, progress, result, say, table

if TYPE_CHECKING:
    from openmedlab.zoo import ModelInfo

app = typer.Typer(no_args_is_help=True, help="List, fetch, import, verify and remove weights.")
Name = Annotated[str, typer.Argument(help="Stable name, as models list shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List all methods and whether they are ready."""
    from openmedlab.zoo import WeightsStore, methods

    offered = methods()
    rows = [
        _row(name, m.method.title, "promptable", m.state, m.detail, None)
        for name, m in offered.items()
        if m.card is None
    ]
    for found in WeightsStore().list_models():
        card, method = found.card, offered.get(found.card.name)
        state = method.state if method else ("ready" if found.path else "needs weights")
        detail = method.detail if method else card.licence
        rows.append(_row(card.name, card.title, card.task, state, detail, found.path))
    header = ("name", "title", "task", "state", "detail")
    lines = table(header, [tuple(str(row[key]) for key in header) for row in rows])
    result(rows, lines, as_json)


def _row(
    name: str, title: str, task: str, state: str, detail: str, path: Path | None
) -> dict[str, str | None]:
    return {
        "name": name,
        "title": title,
        "task": task,
        "state": state,
        "detail": detail,
        "path": str(path) if path else None,
    }


@app.command("info")
def info(name: Name, as_json: AsJson = False) -> None:
    """Show a model's card: where it is published, size, licence, citation."""
    from openmedlab.zoo import WeightsStore

    record = _record(WeightsStore().info(name))
    width = max(map(len, record))
    lines = (f"{k.ljust(width)}  {_words(v)}" for k, v in record.items() if v not in (None, "", ()))
    result(record, "\n".join(lines), as_json)


@app.command("fetch")
def fetch(
    name: Name,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the weights' licence, once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download a model's weights; a broken download goes on where it stopped."""
    from openmedlab.zoo import WeightsStore

    store = WeightsStore()
    if not store.licence_accepted(name) and (accept_licence or _agreed(store.info(name))):
        store.accept_licence(name)
    with progress(f"Fetching {name}") as report, interruptible() as cancel:
        path = store.fetch(name, report, cancel)
    result(_record(store.info(name)), str(path), as_json)


def _agreed(info: ModelInfo) -> bool:
    """Ask on a terminal; elsewhere nobody can answer."""
    if info.path is not None or not info.card.fetchable or not sys.stdin.isatty():
        return False
    say(f"{info.card.title}: {info.card.licence} ({info.card.licence_url})")
    return typer.confirm("Do you accept this licence?", err=True)


@app.command("import")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="A checkpoint downloaded by hand.")],
    name: Annotated[
        str | None, typer.Option(help="Which model it is, where several share one network.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store a checkpoint downloaded by hand; it is recognised by its tensors."""
    from openmedlab.zoo import WeightsStore

    with interruptible() as cancel:
        found = WeightsStore().import_checkpoint(file, name, cancel)
    result(_record(found), f"{found.card.name}: {found.path}", as_json)


@app.command("verify")
def verify(name: Name, as_json: AsJson = False) -> None:
    """Check that stored weights are unchanged and fit their network."""
    from openmedlab.zoo import WeightsStore

    found = WeightsStore().verify(name)
    result(_record(found), f"{name}: {found.path} is as it was stored and fits.", as_json)


@app.command("remove")
def remove(name: Name, as_json: AsJson = False) -> None:
    """Delete a model's weights and what is left of unfinished downloads."""
    from openmedlab.zoo import WeightsStore

    freed = WeightsStore().remove(name)
    result({"name": name, "freed": freed}, f"{name}: {freed / 1e6:.1f} MB freed", as_json)


def _record(info: ModelInfo) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(info.card),
        "path": str(info.path) if info.path else None,
        "licence_accepted": info.licence_accepted,
        "stored": asdict(info.stored) if info.stored else None,
    }


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(_words(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items() if v)
    return str(value)
