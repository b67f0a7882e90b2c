"""The command line. Imports Typer alone; every command imports what it needs when it runs."""

import sys


def main() -> None:
    """Run ``openmedlab``."""
    try:
        from openmedlab.cli.app import app
    except KeyboardInterrupt:
        sys.exit(3)
    app()
