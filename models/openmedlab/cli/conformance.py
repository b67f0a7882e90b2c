"""``openmedlab conformance``: this installation against the published numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openmedlab.cli.console import result, say

if TYPE_CHECKING:
    from openmedlab.zoo.conformance import CaseResult

FAILED = 1


def conformance(
    folder: Annotated[Path, typer.Argument(help="Reference folder with cases.json below it.")],
    only: Annotated[
        list[str] | None, typer.Option(help="System, case or system/case; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run every reference case of FOLDER; exit with 1 if any failed."""
    from dataclasses import asdict

    from openmedlab.zoo.conformance import run

    def report(case: CaseResult) -> None:
        if as_json:
            say(str(case))
        else:
            typer.echo(str(case))

    cases = run(folder, tuple(only or ()), report)
    states = [case.status for case in cases]
    counts = {state: states.count(state) for state in dict.fromkeys(states)}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    result({"summary": counts, "cases": [asdict(c) for c in cases]}, summary, as_json)
    if "failed" in counts:
        raise typer.Exit(FAILED)
