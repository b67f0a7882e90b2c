"""The commands of ``openmedlab``, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from openmedlab.cli import (
    axons,
    conformance,
    demo,
    evaluate,
    files,
    finetune,
    label,
    localize,
    models,
    replay,
    segment,
    serve,
    template,
    view,
)
from openmedlab.cli.console import plain_warnings
from openmedlab.cli.group import Group

app = typer.Typer(
    cls=Group,
    name="openmedlab",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Medical foundation models behind a click: prompts in, a 3D mask out. "
    "Exit codes: 0 done, 2 bad usage or input, 3 cancelled.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from openmedlab import __version__

        typer.echo(f"openmedlab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands."""
    plain_warnings()


app.command("demo")(demo.demo)
app.command("segment")(segment.segment)
app.command("label")(label.label)
app.command("finetune")(finetune.finetune)
app.command("serve")(serve.serve)
app.command("view")(view.view)
app.command("info")(files.info)
app.command("samples")(files.samples)
app.command("evaluate")(evaluate.evaluate)
app.command("replay")(replay.replay)
app.command("conformance")(conformance.conformance)
app.command("localize")(localize.localize)
app.command("medlsam")(localize.medlsam)
app.add_typer(models.app, name="models")
app.add_typer(template.app, name="template")
app.add_typer(axons.app, name="axons")
