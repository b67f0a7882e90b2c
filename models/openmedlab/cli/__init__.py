"""The command line. Imports Typer alone; every command imports what it needs when it runs."""


def main() -> None:
    """Run ``openmedlab``."""
    from openmedlab.cli.app import app

    app()
